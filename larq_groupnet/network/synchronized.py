"""Batch normalisation over several replicas that equals Keras' own on one device."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


@tf.keras.utils.register_keras_serializable("larq_groupnet")
class SynchronizedNorm(tf.keras.layers.BatchNormalization):
    """Keras' synchronized batch normalisation, with the moving variance of one device.

    On one device, TensorFlow's fused operation moves towards the unbiased variance, `n / (n - 1)`
    times the variance that normalises the batch. Keras' synchronized layer moves towards the biased
    variance. On small maps, every validation shows the difference.
    """

    def __init__(self, **options: Any):
        super().__init__(**{**options, "synchronized": True})

    def get_config(self) -> dict[str, Any]:
        """Without the option that is always on."""
        config = super().get_config()
        config.pop("synchronized", None)
        return config

    def call(self, inputs: tf.Tensor, training: Any = None, mask: Any = None) -> tf.Tensor:
        """Normalises, and computes the correction of the moving variance."""
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        values = tf.cast(tf.size(inputs) // inputs.shape[-1] * replicas, tf.float32)
        self._correction = values / tf.maximum(values - 1, 1)
        return super().call(inputs, training, mask)

    def _assign_moving_average(
        self, variable: tf.Variable, value: tf.Tensor, momentum: float, inputs_size: Any
    ) -> Any:
        """Overrides a private method of Keras, the only place that tells mean from variance."""
        if variable is self.moving_variance and value.dtype != tf.float64:  # Never fused.
            value = value * tf.cast(self._correction, value.dtype)
        return super()._assign_moving_average(variable, value, momentum, inputs_size)
