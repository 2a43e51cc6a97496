"""ImageNet images in, ImageNet class names out."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from larq_groupnet.data.reading import Reading
from larq_groupnet.errors import DatasetError

READING = Reading((224, 224), "imagenet", central_crop=224 / 256)
"""How ImageNet classifiers read an image in evaluation: equivalent to resizing the shorter side to
256 pixels and cropping the central 224 x 224."""


def preprocess_input(image: NDArray | tf.Tensor) -> NDArray | tf.Tensor:
    """Prepares one image for the networks: central crop, 224 x 224, mean 0, variance 1.

    Reads images exactly as evaluation does: a central square of 7/8 of the shorter side, resized
    with antialiasing. larq-zoo's function of the same name uses bicubic interpolation without
    antialiasing; its models take either.

    Args:
        image: `(height, width, 3)`, uint8 or float, pixels of 0 to 255; an array or a tensor, whose
            height and width may be unknown in `tf.data`.

    Returns:
        `(224, 224, 3) float32`, an array for an array, otherwise a tensor.

    Raises:
        DatasetError: For any other shape.
    """
    pixels = tf.convert_to_tensor(image)
    if not pixels.shape.is_compatible_with((None, None, 3)):
        raise DatasetError(
            "preprocess_input: expected one image of shape (height, width, 3); map over the images "
            f"of a batch. Received: image.shape={tuple(pixels.shape)}"
        )
    pixels = READING(tf.ensure_shape(pixels, (None, None, 3)))
    return pixels.numpy() if isinstance(image, np.ndarray) else pixels


def decode_predictions(
    predictions: ArrayLike | tf.Tensor, top: int = 5
) -> list[list[tuple[str, str, float]]]:
    """Names the most likely ImageNet classes of each image.

    Keras downloads the names (35 kB) to `~/.keras/models` on the first call.

    Args:
        predictions: `(batch, 1000)` probabilities of a model with `num_classes=1000`.
        top: How many classes to name for each image.

    Returns:
        For each image, `top` tuples `(WordNet id, name, probability)`, most likely first.

    Raises:
        DatasetError: For any other shape.
    """
    scores = np.asarray(predictions)
    if scores.ndim != 2 or scores.shape[1] != 1000:
        raise DatasetError(
            "decode_predictions: expected probabilities of the 1000 ImageNet classes, of shape "
            f"(batch, 1000). Received: predictions.shape={scores.shape}"
        )
    return tf.keras.applications.imagenet_utils.decode_predictions(scores, top=top)
