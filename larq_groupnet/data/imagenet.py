"""ImageNet images in, ImageNet class names out, as larq-zoo does both."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

IMAGE_SIZE = 224
CROP_PADDING = 32
"""The central crop leaves out what a border of this many pixels is to an image of 256."""

MEAN_RGB = (123.675, 116.28, 103.53)
STDDEV_RGB = (58.395, 57.12, 57.375)
"""Of the ImageNet training set, for pixels of 0 to 255 (0.485, ... and 0.229, ... times 255)."""


def preprocess_input(image: NDArray | tf.Tensor) -> NDArray | tf.Tensor:
    """One image as the networks read it: central crop, 224 x 224, mean 0, variance 1.

    The crop is a square of 7/8 of the shorter side. The same as larq-zoo's function of this name,
    so that either serves a model of the other.

    Args:
        image: `(height, width, 3)`, uint8 or float, pixels of 0 to 255; an array or a tensor, also
            one of unknown height and width in `tf.data`.

    Returns:
        `(224, 224, 3) float32`, an array for an array and a tensor for a tensor.

    Raises:
        ValueError: For any other shape.
    """
    pixels = tf.convert_to_tensor(image)
    if not pixels.shape.is_compatible_with((None, None, 3)):
        raise ValueError(
            "preprocess_input: expected one image of shape (height, width, 3); map over the images "
            f"of a batch. Received: image.shape={tuple(pixels.shape)}"
        )
    pixels = tf.ensure_shape(pixels, (None, None, 3))
    size = tf.shape(pixels)[:2]
    crop = tf.reduce_min(size) * IMAGE_SIZE // (IMAGE_SIZE + CROP_PADDING)
    top, left = tf.unstack((size - crop + 1) // 2)
    pixels = tf.image.crop_to_bounding_box(pixels, top, left, crop, crop)
    # TensorFlow 1's bicubic kernel, as larq-zoo: tf.image.resize reads between other pixels.
    pixels = tf.raw_ops.ResizeBicubic(images=pixels[None], size=(IMAGE_SIZE, IMAGE_SIZE))[0]
    pixels = (pixels - MEAN_RGB) / STDDEV_RGB
    return pixels.numpy() if isinstance(image, np.ndarray) else pixels


def decode_predictions(
    predictions: ArrayLike | tf.Tensor, top: int = 5
) -> list[list[tuple[str, str, float]]]:
    """The likeliest ImageNet classes of each image, by name.

    Keras downloads the names (35 kB) to `~/.keras/models` at the first call.

    Args:
        predictions: `(batch, 1000)` probabilities of a model with `num_classes=1000`.
        top: How many classes to name for each image.

    Returns:
        For each image `top` tuples `(WordNet id, name, probability)`, likeliest first.

    Raises:
        ValueError: For any other shape.
    """
    scores = np.asarray(predictions)
    if scores.ndim != 2 or scores.shape[1] != 1000:
        raise ValueError(
            "decode_predictions: expected probabilities of the 1000 ImageNet classes, of shape "
            f"(batch, 1000). Received: predictions.shape={scores.shape}"
        )
    return tf.keras.applications.imagenet_utils.decode_predictions(scores, top=top)
