"""Random changes of one training example, each a pure function of the example and a seed.

Every function takes an image `(height, width, channels) float32` in [0, 255], a target (a label, or
a class map `(height, width, 1) int32`), the size of the model's input and a seed of two integers,
and returns image and target; the image has that size.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from larq_groupnet.data import VOID

Size = tuple[int, int]
Augmentation = Callable[[tf.Tensor, tf.Tensor, Size, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

MEAN_COLOUR = 128.0
"""What stands where there is no image."""


def resize(image: tf.Tensor, target: tf.Tensor, size: Size) -> tuple[tf.Tensor, tf.Tensor]:
    """Squeezes both into `size`: bilinear with antialiasing, class maps by nearest neighbour."""
    if tuple(image.shape[:2]) == tuple(size):
        return image, target
    image = tf.image.resize(image, size, antialias=True)
    if target.shape.rank:
        target = tf.image.resize(target, size, method="nearest")
    return image, target


def central_crop(image: tf.Tensor, share: float) -> tf.Tensor:
    """The central square whose side is `share` of the shorter side."""
    height, width = tf.unstack(tf.shape(image)[:2])
    side = tf.cast(share * tf.cast(tf.minimum(height, width), tf.float32), tf.int32)
    return tf.image.crop_to_bounding_box(
        image, (height - side) // 2, (width - side) // 2, side, side
    )


def unchanged(
    image: tf.Tensor, target: tf.Tensor, size: Size, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Only resizes."""
    del seed
    return resize(image, target, size)


def colour(strength: float) -> Augmentation:
    """Contrast (a factor) and brightness of each colour channel, each changed by up to `strength`.

    Args:
        strength: In units of half the range of pixels.
    """

    def augment(
        image: tf.Tensor, target: tf.Tensor, size: Size, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        image, target = resize(image, target, size)
        change = tf.random.stateless_uniform((2, image.shape[-1]), seed, -strength, strength)
        return ((image / 127.5 - 1) * (1 + change[0]) + change[1] + 1) * 127.5, target

    return augment


def shift(
    image: tf.Tensor, target: tf.Tensor, size: Size, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Moves the image by up to an eighth of its size; what comes in is the border, repeated."""
    image, target = resize(image, target, size)
    return _padded_crop(image, size, seed, "SYMMETRIC"), target


def cifar(
    image: tf.Tensor, target: tf.Tensor, size: Size, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Padding by an eighth with mid-grey, random crop, random flip: CIFAR's usual one."""
    image, target = resize(image, target, size)
    image = _padded_crop(image, size, seed, "CONSTANT")
    return tf.image.stateless_random_flip_left_right(image, _other(seed, 1)), target


def imagenet(
    image: tf.Tensor, target: tf.Tensor, size: Size, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """A random part of 8 to 100 % of the area and aspect 3:4 to 4:3, resized, flipped or not.

    As the authors' code trains on ImageNet.
    """
    image = tf.image.crop_to_bounding_box(image, *tf.unstack(random_part(tf.shape(image), seed)))
    return scaled_and_flipped(image, target, size, seed)


def random_part(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """The part of an image of a shape `(3,)` that `imagenet` looks at.

    Returns:
        `(4,) int32`: top, left, height and width.
    """
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        tf.zeros((1, 0, 4)),
        seed,
        min_object_covered=0.0,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        max_attempts=10,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.concat([begin[:2], extent[:2]], 0)


def scaled_and_flipped(
    image: tf.Tensor, target: tf.Tensor, size: Size, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The rest of `imagenet`, for the part of the image."""
    image = tf.ensure_shape(_scaled(image, size), (*size, image.shape[-1]))
    return tf.image.stateless_random_flip_left_right(image, _other(seed, 1)), target


def segmentation(mean: float | tuple[float, ...], base_size: int = 0) -> Augmentation:
    """Scale by 0.5 to 2, random crop, flip; padded by the mean and by void, which counts nowhere.

    As the authors' code trains on VOC, with a base size of 520 and crops of 480.

    Args:
        mean: Pixel value, or one per channel, that the model reads as 0.
        base_size: Longer side of an image at scale 1; 0 for that of the model's input.
    """

    def augment(
        image: tf.Tensor, target: tf.Tensor, size: Size, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        image, mask = _rescaled(image, target, base_size or max(size), seed)
        # Void is what is left where there is no image, once both are padded with 0.
        both = tf.concat([image - mean, tf.cast(mask, tf.float32) - VOID], axis=-1)
        short = tf.maximum(tf.constant(size) - tf.shape(both)[:2], 0)
        both = tf.pad(both, [[0, short[0]], [0, short[1]], [0, 0]])
        channels = image.shape[-1]
        both = tf.image.stateless_random_crop(both, (*size, channels + 1), _other(seed, 1))
        both = tf.image.stateless_random_flip_left_right(both, _other(seed, 2))
        mask = tf.cast(both[..., channels:] + VOID, tf.int32)
        return both[..., :channels] + mean, mask

    return augment


def _rescaled(
    image: tf.Tensor, mask: tf.Tensor, base_size: int, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Both, the longer side 0.5 to 2 times the base size; the mask by nearest neighbour."""
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    factor = tf.random.stateless_uniform((), seed, 0.5, 2.0) * base_size / tf.reduce_max(size)
    scaled = tf.maximum(tf.cast(tf.round(size * factor), tf.int32), 1)
    image = tf.image.resize(image, scaled, antialias=True)
    return image, tf.image.resize(mask, scaled, method="nearest")


def _scaled(image: tf.Tensor, size: Size) -> tf.Tensor:
    """Area averages to shrink, bilinear to enlarge.

    The first is antialiased as well, in a third of the time of TensorFlow's antialiased bilinear.
    """
    shrinks = tf.reduce_all(tf.shape(image)[:2] >= tf.constant(size))
    return tf.cond(
        shrinks,
        lambda: tf.image.resize(image, size, method="area"),
        lambda: tf.image.resize(image, size),
    )


def _padded_crop(image: tf.Tensor, size: Size, seed: tf.Tensor, mode: str) -> tf.Tensor:
    channels = image.shape[-1]
    rows, columns = (max(side // 8, 1) for side in size)
    paddings = [[rows, rows], [columns, columns], [0, 0]]
    padded = tf.pad(image - MEAN_COLOUR, paddings, mode) + MEAN_COLOUR
    return tf.image.stateless_random_crop(padded, (*size, channels), seed)


def _other(seed: tf.Tensor, number: int) -> tf.Tensor:
    """A seed of its own for one more draw."""
    return tf.random.experimental.stateless_fold_in(seed, number)
