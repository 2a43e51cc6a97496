"""Datasets, and the batches that a network reads. Importing this does not import TensorFlow.

The way of an example, and the module of each step:

| step | module |
|---|---|
| a name becomes a dataset | `opening`; the kinds are `folders`, `arrays`, `records` (TFDS) |
| which files count, in which split, of which class | `listing`, `layouts`, `splits`, `masks` |
| in which order they come | `order` |
| from a file to pixels, and to a network's input | `images`, as a `reading` says |
| random changes while training | `augment`, `rand_augment`, `mixing` |
| batches | `pipeline` |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from larq_groupnet.errors import DatasetError as DatasetError
from larq_groupnet.registries import Registry

if TYPE_CHECKING:
    from larq_groupnet.data.augment import Augmentation
    from larq_groupnet.data.base import Opener

VOID = 255
"""The label of a pixel that is not judged, as in Pascal VOC and Cityscapes."""

dataset: Registry[Opener] = Registry("dataset", DatasetError, "a function", callable, ":?")
"""Decorator of a function that opens a dataset; see `larq_groupnet.data.opening.open_dataset`."""

ABOUT: Registry[str] = Registry("dataset", DatasetError)
"""What a dataset is, and its terms, for the card of weights; TFDS says it of its own datasets."""

AUGMENTATIONS: Registry[Augmentation] = Registry("augmentation", DatasetError)
"""Filled by `larq_groupnet.data.augment.augmentation`."""


class DatasetWarning(UserWarning):
    """Something of a dataset is left out; says what and why, in one line."""
