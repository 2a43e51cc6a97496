"""A Keras model as a function of images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Array = NDArray[np.float32]
Predict = Callable[[Array], Array]
"""Maps preprocessed images `(batch, height, width, channels)` of the network's size to scores
`(batch, height, width, classes)`, or `(batch, classes)` for a classifier."""


def predicting(model: tf.keras.Model) -> Predict:
    """Returns a function that computes a model's scores for any batch size, bit for bit like Keras.

    Keras' `predict_on_batch` traces the network again for a new batch size, such as the last batch
    of a test set, which takes seconds. Several replicas still use it, with equal shares of a batch.
    """
    replicas = model.distribute_strategy.num_replicas_in_sync
    if replicas == 1:
        spec = tf.TensorSpec((None, *model.input_shape[1:]), model.inputs[0].dtype)
        network = tf.function(lambda images: model(images, training=False), input_signature=[spec])
        return lambda images: network(tf.cast(images, spec.dtype)).numpy()

    def predict(images: Array) -> Array:
        filler = np.repeat(images[-1:], -len(images) % replicas, axis=0)
        scores: Array = model.predict_on_batch(np.concatenate([images, filler]))
        return scores[: len(images)]

    return predict
