"""TFDS features whose images stay in the files that they came in.

A dataset of these features holds paths. Under `tfds.decode.SkipDecoding` it yields paths, so that
shuffling moves no pixels, and `decode_example` of the feature turns a path into pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from larq_groupnet.data import VOID
from larq_groupnet.data.masks import opened, read_labels

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
"""Of the image files that are read, in lower case."""

NO_CLASS = -1
"""In a `lookup`: a label that no mask may hold."""

_JPEG = b"\xff\xd8\xff"
_BY_TENSORFLOW = (_JPEG, b"\x89PN", b"GIF")  # How such files begin.
_GREY_8_BIT = b"\x08\x00"  # Depth and colour type in the header of a PNG.


class ImageFile(tfds.features.Image):
    """An image file as `(height, width, 3) uint8`.

    JPEG, PNG and GIF (its first frame) are decoded by TensorFlow, as TFDS does, the rest by
    Pillow. Grey, palette and CMYK become RGB, 16 bits are cut to the upper 8, transparency is
    dropped. An orientation in a JPEG's EXIF is not applied: pixels stay as they are stored.
    """

    def decode_example(self, example: tf.Tensor) -> tf.Tensor:
        """Reads and decodes the file at a path `() string`."""
        data = tf.io.read_file(example)
        image = tf.cond(
            tf.reduce_any(tf.equal(tf.strings.substr(data, 0, 3), _BY_TENSORFLOW)),
            lambda: tf.io.decode_image(data, channels=3, expand_animations=False),
            lambda: tf.numpy_function(_rgb_by_pillow, [example], tf.uint8),
        )
        return tf.ensure_shape(image, (None, None, 3))


class MaskFile(tfds.features.LabeledImage):
    """A palette or index PNG as class map `(height, width, 1) uint8`, void being 255.

    Args:
        names: One per class.
        lookup: `(256,)` integers: what each stored label means; `index_labels` for itself.
    """

    def __init__(self, names: Sequence[str], lookup: np.ndarray):
        super().__init__(labels=list(names), shape=(None, None, 1))
        self.lookup = lookup

    def decode_example(self, example: tf.Tensor) -> tf.Tensor:
        """Reads and decodes the file at a path `() string`."""
        data = tf.io.read_file(example)
        stored = tf.cond(
            tf.equal(tf.strings.substr(data, 24, 2), _GREY_8_BIT),
            lambda: tf.io.decode_png(data, channels=1),
            lambda: tf.numpy_function(read_labels, [example], tf.uint8),
        )
        return translate(tf.ensure_shape(stored, (None, None, 1)), self.lookup)


class TranslatedMask(tfds.features.LabeledImage):
    """A mask that TFDS has written, its labels translated; see `MaskFile`."""

    def __init__(self, names: Sequence[str], lookup: np.ndarray):
        super().__init__(labels=list(names), shape=(None, None, 1))
        self.lookup = lookup

    def decode_example(self, example: tf.Tensor) -> tf.Tensor:
        """Decodes an encoded image `() string`."""
        return translate(super().decode_example(example), self.lookup)


def decode_part(
    feature: tfds.features.Image, example: tf.Tensor, part: Callable[[tf.Tensor], tf.Tensor]
) -> tf.Tensor:
    """A part of an image, which takes half the time of the whole if it is a JPEG.

    Args:
        feature: What the example is one of.
        example: An encoded image, or a path, `() string`; or what else the feature decodes.
        part: From the shape of the image, `(3,) int32`, to top, left, height and width.

    Returns:
        `(height, width, channels) uint8`.
    """

    def any_image() -> tf.Tensor:
        image = feature.decode_example(example)
        return tf.image.crop_to_bounding_box(image, *tf.unstack(part(tf.shape(image))))

    if example.dtype != tf.string:
        return any_image()
    channels = feature.shape[-1]
    data = tf.io.read_file(example) if isinstance(feature, ImageFile) else example
    image = tf.cond(
        tf.strings.substr(data, 0, 3) == _JPEG,
        lambda: tf.io.decode_and_crop_jpeg(
            data, part(tf.io.extract_jpeg_shape(data)), channels=channels
        ),
        any_image,
    )
    return tf.ensure_shape(image, (None, None, channels))


def index_labels(num_classes: int) -> np.ndarray:
    """The lookup of masks whose labels are the classes, and `VOID`."""
    lookup = np.full(256, NO_CLASS)
    lookup[:num_classes] = np.arange(num_classes)
    lookup[VOID] = VOID
    return lookup


def translate(stored: tf.Tensor, lookup: np.ndarray) -> tf.Tensor:
    """Looks labels up, `uint8` both; a label that no mask may hold becomes void."""
    table = np.where(lookup == NO_CLASS, VOID, lookup).astype(np.uint8)
    if np.array_equal(table, np.arange(256)):
        return stored
    return tf.gather(tf.constant(table), tf.cast(stored, tf.int32))


def _rgb_by_pillow(path: bytes) -> np.ndarray:
    with opened(path) as image:
        return np.asarray(image.convert("RGB"))
