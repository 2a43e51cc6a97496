"""A Keras model as a function of images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Array = NDArray[np.float32]
Predict = Callable[[Array], Array]
"""From images `(batch, height, width, channels)`, preprocessed, to scores
`(batch, height, width, classes)`, of the network's size; of a classifier `(batch, classes)`."""


def predicting(model: tf.keras.Model) -> Predict:
    """The scores of a model for batches of any number of images, with the bits of Keras' own.

    Keras' `predict_on_batch` traces the network anew for a batch of another size, as the last one
    of a test set is, which takes seconds. On several replicas it still computes, and each gets the
    same share of a batch.
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
