"""What every dataset has, wherever its examples come from."""

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
"""Opens a dataset. It takes by name what it needs of `place`, what follows the colon in the name of
the dataset, `data_dir` and `on_bad_image`; what else it takes are options, as text."""


class Examples(Protocol):
    """The examples of one role, not decoded, in an order that is stored or drawn.

    Both orders yield a handle of each example: a number, or a serialised record.
    """

    @property
    def count(self) -> int:
        """How many there are."""

    def stored(self) -> tf.data.Dataset:
        """The handles once, as they are stored."""

    def shuffled(self, seed: int, first: int) -> tf.data.Dataset:
        """Endless passes over the handles, each in an order that follows from seed and pass.

        Args:
            seed: Of the order.
            first: How many handles to leave out, without reading the passes before.
        """

    def fetch(self, handle: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Image and target of one example, as `Dataset.decode` takes them."""


class Dataset(abc.ABC):
    """Images with labels or with masks.

    Attributes:
        name: By which it was opened.
        classes: Names, in the order of their labels.
        target: `"label"` or `"mask"`, or what a task from outside calls its truth.
        channels: Of the images, 1 or 3.
        left_out: What lies there and does not count, in one line; empty for nothing.
    """

    name: str
    classes: tuple[str, ...]
    target: str
    channels: int
    left_out: str = ""

    @property
    @abc.abstractmethod
    def sizes(self) -> Mapping[str, int]:
        """How many examples `"train"`, `"validation"` and, where there is one, `"test"` have."""

    def digest(self) -> str:
        """Changes with the images of a role and with their labels; empty if it is not known."""
        return ""

    @abc.abstractmethod
    def examples(self, role: str) -> Examples:
        """The examples of one role.

        Without a test split with labels, `"test"` is the validation split, as in publications.
        """

    def largest(self, count: int) -> images.Size | None:
        """Largest height and width of the first training images; `None` where none is written."""
        shapes = self.shapes(count)
        return (max(h for h, _ in shapes), max(w for _, w in shapes)) if shapes else None

    def shapes(self, count: int) -> list[images.Size]:
        """Height and width of the first training images; empty where none is written."""
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
            image: As it came from `Examples.fetch`.
            part: Which part of it is wanted; the whole by default.
        """

    @abc.abstractmethod
    def decode_target(self, target: tf.Tensor) -> tf.Tensor:
        """A label, `() int32`, or a class map, `(height, width, 1) int32`, or other numbers.

        Args:
            target: As it came from `Examples.fetch`.
        """
