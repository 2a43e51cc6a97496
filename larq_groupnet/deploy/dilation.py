"""Dilated convolutions written so that the converter sees them.

TensorFlow writes a dilated convolution as SpaceToBatch, a plain convolution and BatchToSpace, which
the converter puts together again; but not where several convolutions of one rate read one tensor,
because it first makes one of their equal SpaceToBatch. Then signs are unpacked, and the
convolutions stay real: found with K bases that read one aggregate (LCE 0.16).
"""

from __future__ import annotations

from typing import Any

import larq as lq
import tensorflow as tf


def directly_dilated(model: tf.keras.Model) -> tf.keras.Model:
    """The same model, with one operation for each dilated binary convolution.

    On a CPU, TensorFlow has no gradient of that operation.

    Args:
        model: A functional model.

    Returns:
        A model with copies of the weights; `model` itself if it dilates nothing.
    """
    if not any(_is_dilated(layer) for layer in model.layers):
        return model
    copy = tf.keras.models.clone_model(model, clone_function=_clone)
    copy.set_weights(model.get_weights())
    return copy


class _Direct(lq.layers.QuantConv2D):
    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return tf.nn.conv2d(
            inputs, kernel, self.strides, self.padding.upper(), dilations=self.dilation_rate
        )


def _is_dilated(layer: Any) -> bool:
    return type(layer) is lq.layers.QuantConv2D and max(layer.dilation_rate) > 1


def _clone(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
    kind = _Direct if _is_dilated(layer) else type(layer)
    return kind.from_config(layer.get_config())
