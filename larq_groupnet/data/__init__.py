"""Datasets, and the batches that a network reads. Importing this does not import TensorFlow.

The steps from a name to a batch, and the module of each:

| step | module |
|---|---|
| open a dataset by name | `opening`; the kinds are `folders`, `arrays`, `records` (TFDS) |
| find files, their splits and classes | `listing`, `layouts`, `splits`, `masks` |
| order the examples | `order` |
| decode files, and prepare a network's input | `images`, as configured by a `reading` |
| change training examples at random | `augment`, `rand_augment`, `mixing` |
| make batches | `pipeline` |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from larq_groupnet.errors import DatasetError as DatasetError
from larq_groupnet.registries import Registry

if TYPE_CHECKING:
    from larq_groupnet.data.augment import Augmentation
    from larq_groupnet.data.base import Opener

VOID = 255
"""The label of pixels that are not evaluated, as in Pascal VOC and Cityscapes."""

dataset: Registry[Opener] = Registry("dataset", DatasetError, "a function", callable, ":?")
"""Decorates a function that opens a dataset; see `larq_groupnet.data.opening.open_dataset`."""

ABOUT: Registry[str] = Registry("dataset", DatasetError)
"""Description and terms of a dataset, for the card of weights; TFDS describes its own datasets."""

AUGMENTATIONS: Registry[Augmentation] = Registry("augmentation", DatasetError)
"""Filled by `larq_groupnet.data.augment.augmentation`."""


class DatasetWarning(UserWarning):
    """Part of a dataset is missing or left out; says what and why, in one line."""
