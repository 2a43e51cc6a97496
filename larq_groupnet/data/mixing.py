"""mixup and CutMix: mix pairs of images of a batch, and their labels."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

# Far from the numbers that the augmentations fold into the same seed.
_MIXING = 1000


class Mixing(NamedTuple):
    """The strength of mixup and CutMix.

    Attributes:
        mixup: Both parameters of the beta distribution of the shares (Zhang et al., ICLR 2018);
            0 for no mixup.
        cutmix: The same for CutMix (Yun et al., ICCV 2019). With both, each image draws one of
            them.
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __bool__(self) -> bool:
        """True if images are mixed."""
        return self.mixup > 0 or self.cutmix > 0

    def own(self, size: tuple[int, int], seed: tf.Tensor) -> tf.Tensor:
        """How much of each pixel an image keeps.

        Args:
            size: Height and width.
            seed: Seed of the image, `(2,)` integers.

        Returns:
            `(height, width, 1) float32` in [0, 1]: the same number everywhere for mixup; for
            CutMix 0 in a rectangle with the aspect of the image and 1 outside.
        """
        seeds = tf.unstack(
            tf.random.experimental.stateless_split(
                tf.random.experimental.stateless_fold_in(seed, _MIXING), 4
            )
        )
        blended = tf.fill((*size, 1), _beta(self.mixup, seeds[0])) if self.mixup else None
        cut = _rectangle(size, _beta(self.cutmix, seeds[1]), seeds[2]) if self.cutmix else None
        if blended is None or cut is None:
            return cut if blended is None else blended
        return tf.where(tf.random.stateless_uniform((), seeds[3]) < 0.5, blended, cut)


def mix(
    images: tf.Tensor, labels: tf.Tensor, own: tf.Tensor, num_classes: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mixes each image with the image half a batch further on.

    At this distance, workers that share a batch mix the same pairs as a single worker, if each has
    an even number of images.

    Args:
        images: `(batch, height, width, channels) float32`.
        labels: `(batch,) int32`.
        own: `(batch, height, width, 1) float32`; see `Mixing.own`.
        num_classes: Number of classes.

    Returns:
        Images, and the share of each class in their pixels, `(batch, num_classes) float32`.
    """
    shift = tf.shape(images)[0] // 2
    targets = tf.one_hot(labels, num_classes)
    share = tf.reduce_mean(own, (1, 2))
    images = own * images + (1 - own) * tf.roll(images, shift, 0)
    return images, share * targets + (1 - share) * tf.roll(targets, shift, 0)


def _beta(parameter: float, seed: tf.Tensor) -> tf.Tensor:
    """One draw from Beta(parameter, parameter), made of two gamma draws."""
    one, two = tf.unstack(tf.random.stateless_gamma((2,), seed, parameter))
    return tf.math.divide_no_nan(one, one + two)


def _rectangle(size: tuple[int, int], kept: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """0 in a rectangle of `1 - kept` of the area around a random pixel, clipped at the border."""
    centre = tf.random.stateless_uniform((2,), seed) * tf.constant(size, tf.float32)
    half = tf.sqrt(1 - kept) * tf.constant(size, tf.float32) / 2
    inside = [
        tf.abs(tf.range(side, dtype=tf.float32) + 0.5 - centre[axis]) < half[axis]
        for axis, side in enumerate(size)
    ]
    return 1 - tf.cast(inside[0][:, None] & inside[1][None, :], tf.float32)[..., None]
