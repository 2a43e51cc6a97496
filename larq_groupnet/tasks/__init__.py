"""Tasks: all that differs between classification and segmentation, and the losses of both.

Importing this package registers them and does not import TensorFlow.
"""

from larq_groupnet.tasks import classification, segmentation  # noqa: F401
