"""Training images, read once and kept in memory at the resolution that training needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf
from tqdm import tqdm

from larq_groupnet.autograph import as_written
from larq_groupnet.data import images
from larq_groupnet.data.base import Dataset, Examples
from larq_groupnet.data.images import Part, crop
from larq_groupnet.data.order import columns

MOST_BYTES = 2**30
"""Limit for all copies together; a larger set is read again in every pass."""


_TARGETS = ("label", "mask", "segmentation_mask")
"""Targets that are integers."""


class Copies(Dataset):
    """The training examples of a dataset, with images of at most `longest` pixels per side.

    Decoding and shrinking a photo of 1600 x 1200 pixels takes 40 ms in every pass; a copy needs
    neither.
    """

    def __init__(self, dataset: Dataset, longest: int):
        self.name, self.classes = dataset.name, dataset.classes
        self.target, self.channels = dataset.target, dataset.channels
        source = dataset.examples("train")

        def small(handle: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            image, target = source.fetch(handle)
            image, target = dataset.decode_image(image), dataset.decode_target(target)
            size = images.fitted(image, (longest, longest))
            if target.shape.rank:
                target = _smaller(target, size, images.resize_mask)
            image = _smaller(tf.cast(image, tf.float32), size, images.resize)
            pixels = tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)
            return tf.io.serialize_tensor(pixels), tf.io.serialize_tensor(tf.cast(target, tf.int32))

        small = as_written(small, dataset, source)
        found = source.stored().map(small, tf.data.AUTOTUNE, deterministic=True)
        progress = tqdm(found, "Reading photos", source.count, unit="photo")
        kept, targets = zip(*progress, strict=True)
        self._examples = columns(tf.stack(kept), tf.stack(targets))

    @property
    def sizes(self) -> Mapping[str, int]:
        return {"train": self._examples.count}

    def examples(self, role: str) -> Examples:
        """Only `"train"` is available."""
        assert role == "train", role  # noqa: S101
        return self._examples

    def decode_image(self, image: tf.Tensor, part: Part | None = None) -> tf.Tensor:
        pixels = tf.io.parse_tensor(image, tf.uint8)
        return crop(tf.ensure_shape(pixels, (None, None, self.channels)), part)

    def decode_target(self, target: tf.Tensor) -> tf.Tensor:
        shape = () if self.target == "label" else (None, None, 1)
        return tf.ensure_shape(tf.io.parse_tensor(target, tf.int32), shape)


def with_copies(dataset: Dataset, longest: int) -> Dataset:
    """`Copies` of a dataset; the dataset itself if they are too large or its target is custom."""
    bytes_each = longest**2 * (dataset.channels + (0 if dataset.target == "label" else 4))
    small = dataset.sizes["train"] * bytes_each <= MOST_BYTES
    return Copies(dataset, longest) if small and dataset.target in _TARGETS else dataset


def _smaller(
    image: tf.Tensor, size: tf.Tensor, resize: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
) -> tf.Tensor:
    """An image, shrunk to a size if it is larger."""
    shape = image.shape
    smaller = tf.cond(
        tf.reduce_any(size < tf.shape(image)[:2]), lambda: resize(image, size), lambda: image
    )
    return tf.ensure_shape(smaller, (None, None, shape[-1]))
