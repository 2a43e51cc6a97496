"""Decodes mask files in `tf.data`."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from larq_groupnet.data import VOID
from larq_groupnet.data.images import bytes_of
from larq_groupnet.data.labels import NO_CLASS, Meaning

_GREY_8_BIT = b"\x08\x00"  # Depth and colour type in the header of a PNG.


def decode_mask(path: tf.Tensor, meaning: Meaning) -> tf.Tensor:
    """The class map in a mask file, `(height, width, 1) uint8`; 255 is void."""

    def by_pillow() -> tf.Tensor:
        return tf.numpy_function(read, [path], tf.uint8, stateful=False)

    def read(name: bytes | np.ndarray) -> np.ndarray:
        return _without_holes(meaning.read(bytes_of(name)))

    data = tf.io.read_file(path)
    png = tf.equal(tf.strings.substr(data, 0, 4), b"\x89PNG")
    grey = tf.equal(tf.strings.substr(data, 24, 2), _GREY_8_BIT)
    fast = tf.reduce_all([png, grey, not meaning.colours])
    classes = tf.cond(
        fast, lambda: translate(tf.io.decode_png(data, channels=1), meaning.lookup), by_pillow
    )
    return tf.ensure_shape(classes, (None, None, 1))


def translate(stored: tf.Tensor, lookup: np.ndarray) -> tf.Tensor:
    """Maps stored labels `uint8` to classes `uint8`; a label that is not a class becomes void."""
    table = _without_holes(lookup)
    if np.array_equal(table, np.arange(256)):
        return stored
    return tf.gather(tf.constant(table), tf.cast(stored, tf.int32))


def _without_holes(classes: np.ndarray) -> np.ndarray:
    return np.where(classes == NO_CLASS, VOID, classes).astype(np.uint8)
