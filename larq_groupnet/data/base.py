"""The interface of every dataset."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from larq_groupnet.autograph import as_written
from larq_groupnet.data import images
from larq_groupnet.lazy import Lazy

if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = Lazy("tensorflow")

ROLES = ("train", "validation", "test")

Opener = Callable[..., "Dataset"]
"""Opens a dataset. It may take `place` (the text after the colon in the name of the dataset),
`data_dir` and `on_bad_image` by name. Its other arguments are options, passed as text."""


class Examples(Protocol):
    """The undecoded examples of one role, in stored or shuffled order.

    Both orders yield one handle per example: a number or a serialised record.
    """

    @property
    def count(self) -> int:
        """Number of examples."""

    def stored(self) -> tf.data.Dataset:
        """One pass over the handles in stored order."""

    def shuffled(self, seed: int, first: int) -> tf.data.Dataset:
        """Endless passes over the handles, each in an order that depends on the seed and the pass.

        Args:
            seed: Seed of the order.
            first: How many handles to skip; skipped passes are not read.
        """

    def fetch(self, handle: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Image and target of one example, for `Dataset.decode_image` and `decode_target`."""


class Dataset(abc.ABC):
    """Images with labels or with masks.

    Attributes:
        name: The name that it was opened by.
        classes: Class names in label order.
        target: `"label"` or `"mask"`, or the target of a custom task.
        channels: Number of image channels, 1 or 3.
        left_out: One line about the files that are ignored; empty if there are none.
    """

    name: str
    classes: tuple[str, ...]
    target: str
    channels: int
    left_out: str = ""

    @property
    @abc.abstractmethod
    def sizes(self) -> Mapping[str, int]:
        """Number of examples in `"train"`, `"validation"` and, if there is one, `"test"`."""

    def digest(self) -> str:
        """A hash that changes with the images and labels of each role; empty if unknown."""
        return ""

    @abc.abstractmethod
    def examples(self, role: str) -> Examples:
        """The examples of one role.

        Without a labelled test split, `"test"` is the validation split, as in publications.
        """

    def largest(self, count: int) -> images.Size | None:
        """Largest height and width of the first training images; `None` if not written yet."""
        shapes = self.shapes(count)
        return (max(h for h, _ in shapes), max(w for _, w in shapes)) if shapes else None

    def shapes(self, count: int) -> list[images.Size]:
        """Height and width of the first training images; empty if not written yet."""
        if not self.sizes:
            return []
        examples = self.examples("train")

        def shape(handle: tf.Tensor) -> tf.Tensor:
            return tf.shape(self.decode_image(examples.fetch(handle)[0]))[:2]

        first = examples.stored().take(count)
        shapes = first.map(as_written(shape, self, examples), tf.data.AUTOTUNE)
        return [(int(height), int(width)) for height, width in shapes.as_numpy_iterator()]

    @abc.abstractmethod
    def decode_image(self, image: tf.Tensor, part: images.Part | None = None) -> tf.Tensor:
        """The pixels of an image, `(height, width, channels) uint8`.

        Args:
            image: From `Examples.fetch`.
            part: Picks the part to decode; the whole image by default.
        """

    @abc.abstractmethod
    def decode_target(self, target: tf.Tensor) -> tf.Tensor:
        """A label, `() int32`, a class map, `(height, width, 1) int32`, or other numbers.

        Args:
            target: From `Examples.fetch`.
        """
