"""Tasks: everything that differs between classification and segmentation, and their losses.

Importing this package registers them and does not import TensorFlow.
"""

from larq_groupnet.tasks import classification, segmentation  # noqa: F401
