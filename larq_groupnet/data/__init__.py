"""TFDS builders and input pipelines. Importing this package does not import TensorFlow."""

DATASETS = ("digit_scenes",)
"""What a recipe may train on."""
