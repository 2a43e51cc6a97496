"""Dilated convolutions written so that the converter sees them.

TensorFlow writes a dilated convolution as SpaceToBatch, a plain convolution and BatchToSpace, which
the converter puts together again; but not where several convolutions of one rate read one tensor,
because it first makes one of their equal SpaceToBatch. Then signs are unpacked, and the
convolutions stay real: found with K bases that read one aggregate (LCE 0.16).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import larq as lq
import tensorflow as tf


@contextlib.contextmanager
def directly_dilated(model: tf.keras.Model) -> Iterator[None]:
    """Meanwhile the model computes each dilated binary convolution by one operation.

    On a CPU, TensorFlow has no gradient of that operation.

    Args:
        model: A functional model.
    """
    dilated = [layer for layer in model.layers if _is_dilated(layer)]
    for layer in dilated:
        # Past Keras, which tracks what an attribute is set to.
        vars(layer)["convolution_op"] = functools.partial(_directly, layer)
    try:
        yield
    finally:
        for layer in dilated:
            del vars(layer)["convolution_op"]


def _is_dilated(layer: Any) -> bool:
    return type(layer) is lq.layers.QuantConv2D and max(layer.dilation_rate) > 1


def _directly(layer: lq.layers.QuantConv2D, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    rates, padding = layer.dilation_rate, layer.padding.upper()
    return tf.nn.conv2d(inputs, kernel, layer.strides, padding, dilations=rates)
