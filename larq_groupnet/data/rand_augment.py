"""RandAugment (Cubuk et al., 2020): a few random changes of one magnitude, for classification.

The changes follow the paper, as Pillow defines them, on pixels of 0 to 255. Seeds work as in
`larq_groupnet.data.augment`.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from larq_groupnet.autograph import as_written
from larq_groupnet.data.augment import MEAN_COLOUR, Augmentation, Size
from larq_groupnet.data.images import warp

HIGHEST = 10
"""The largest magnitude."""

# Far from the numbers that the augmentations fold into the same seed.
_FIRST = 2000

Change = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""Changes an image, given a magnitude in [0, 1] and a random sign."""


def rand_augment(before: Augmentation, number: int, magnitude: int) -> Augmentation:
    """Adds RandAugment to another augmentation.

    Args:
        before: Applied first; gives the image its size.
        number: Number of changes, drawn with replacement.
        magnitude: 0 to `HIGHEST`.
    """
    level = tf.constant(magnitude / HIGHEST, tf.float32)

    def augment(
        image: tf.Tensor, target: tf.Tensor, size: Size, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        image, target = before.change(image, target, size, seed)
        image = tf.ensure_shape(image, (*size, image.shape[-1]))
        image = tf.round(tf.clip_by_value(image, 0, 255))
        for step in range(number):
            draw = tf.random.experimental.stateless_fold_in(seed, _FIRST + step)
            image = _one(image, level, draw)
        return image, target

    augment.__module__ = before.__module__  # Whose code runs in it.
    return Augmentation(augment, targets=("label",), part=before.part, detail=before.detail)


@as_written
def _one(image: tf.Tensor, level: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    chosen, negative = tf.unstack(tf.random.stateless_uniform((2,), seed))
    sign = tf.where(negative < 0.5, -1.0, 1.0)
    branches = [lambda change=change: change(image, level, sign) for change in CHANGES.values()]
    index = tf.cast(chosen * len(branches), tf.int32)
    return tf.clip_by_value(tf.switch_case(index, branches), 0, 255)


def _blend(image: tf.Tensor, other: tf.Tensor, level: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
    """Moves an image away from `other` or towards it, by a factor of 0.1 to 1.9."""
    return other + (1 + 0.9 * level * sign) * (image - other)


def grey(image: tf.Tensor) -> tf.Tensor:
    """Perceived brightness `(height, width, 1)`, in whole levels."""
    if image.shape[-1] == 1:
        return image
    return tf.floor(tf.reduce_sum(image * (0.299, 0.587, 0.114), -1, keepdims=True) + 0.5)


def _smooth(image: tf.Tensor) -> tf.Tensor:
    """Pillow's SMOOTH; leaves the border unchanged."""
    kernel = tf.constant([[1, 1, 1], [1, 5, 1], [1, 1, 1]], tf.float32)[..., None, None] / 13
    kernel = tf.tile(kernel, (1, 1, image.shape[-1], 1))
    inner = tf.nn.depthwise_conv2d(image[None], kernel, (1, 1, 1, 1), "VALID")[0]
    edges = ((1, 1), (1, 1), (0, 0))
    return tf.where(tf.pad(tf.ones_like(inner), edges) > 0, tf.pad(inner, edges), image)


def autocontrast(image: tf.Tensor) -> tf.Tensor:
    """Stretches each channel to 0 to 255."""
    low = tf.reduce_min(image, (0, 1), keepdims=True)
    high = tf.reduce_max(image, (0, 1), keepdims=True)
    return tf.where(high > low, tf.math.divide_no_nan(image - low, high - low) * 255, image)


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Flattens the histogram of each channel by Pillow's integer rule."""
    levels = tf.cast(image, tf.int32)

    def channel(index: int) -> tf.Tensor:
        values = levels[..., index]
        counts = tf.math.bincount(tf.reshape(values, (-1,)), minlength=256, maxlength=256)
        last = tf.gather(counts, tf.reduce_max(values))
        step = (tf.reduce_sum(counts) - last) // 255
        table = (tf.cumsum(counts, exclusive=True) + step // 2) // tf.maximum(step, 1)
        table = tf.where(step > 0, tf.minimum(table, 255), tf.range(256))
        return tf.gather(table, values)

    channels = [channel(index) for index in range(image.shape[-1])]
    return tf.cast(tf.stack(channels, -1), tf.float32)


def posterize(image: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Keeps only the upper `bits` of 8."""
    step = tf.cast(2 ** (8 - bits), tf.float32)
    return tf.floor(image / step) * step


def _about_the_centre(image: tf.Tensor, matrix: list[list[tf.Tensor | float]]) -> tf.Tensor:
    """Applies a linear map of (x, y) that keeps the centre fixed."""
    (a, b), (c, d) = matrix
    y, x = ((side - 1) / 2 for side in image.shape[:2])
    rows = [a, b, x - a * x - b * y, c, d, y - c * x - d * y]
    return warp(image, rows, image.shape[:2], MEAN_COLOUR)


def _rotate(image: tf.Tensor, level: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
    angle = 0.5236 * level * sign  # 30 degrees.
    return _about_the_centre(
        image, [[tf.cos(angle), -tf.sin(angle)], [tf.sin(angle), tf.cos(angle)]]
    )


def _shift(image: tf.Tensor, axis: int, level: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
    move = 0.45 * level * sign * image.shape[axis]
    rows = [1.0, 0.0, move * axis, 0.0, 1.0, move * (1 - axis)]
    return warp(image, rows, image.shape[:2], MEAN_COLOUR)


CHANGES: dict[str, Change] = {
    "identity": lambda image, level, sign: image,
    "autocontrast": lambda image, level, sign: autocontrast(image),
    "equalize": lambda image, level, sign: equalize(image),
    "posterize": lambda image, level, sign: posterize(
        image, 8 - tf.cast(tf.round(4 * level), tf.int32)
    ),
    "solarize": lambda image, level, sign: tf.where(image < 256 * (1 - level), image, 255 - image),
    "colour": lambda image, level, sign: _blend(image, grey(image), level, sign),
    "contrast": lambda image, level, sign: _blend(
        image, tf.round(tf.reduce_mean(grey(image))), level, sign
    ),
    "brightness": lambda image, level, sign: _blend(image, tf.zeros_like(image), level, sign),
    "sharpness": lambda image, level, sign: _blend(image, _smooth(image), level, sign),
    "rotate": _rotate,
    "shear_x": lambda image, level, sign: _about_the_centre(
        image, [[1.0, 0.3 * level * sign], [0.0, 1.0]]
    ),
    "shear_y": lambda image, level, sign: _about_the_centre(
        image, [[1.0, 0.0], [0.3 * level * sign, 1.0]]
    ),
    "shift_x": lambda image, level, sign: _shift(image, 1, level, sign),
    "shift_y": lambda image, level, sign: _shift(image, 0, level, sign),
}
"""Name -> change, with the ranges of the paper; all are equally likely."""
