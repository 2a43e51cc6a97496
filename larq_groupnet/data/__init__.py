"""TFDS builders and input pipelines. Importing this package does not import TensorFlow."""

from larq_groupnet.errors import DatasetError as DatasetError

OWN_DATASETS = ("digits", "digit_scenes", "voc2012", "voc2012_aug")
"""Datasets of this package; every name that TFDS has, and `folder:PATH`, work too."""

VOID = 255
"""The label of a pixel that is not judged, as in Pascal VOC and Cityscapes."""
