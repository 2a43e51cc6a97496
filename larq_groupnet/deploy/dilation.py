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

import larq as lq
import tensorflow as tf

from larq_groupnet.deploy.replaced import replaced


@contextlib.contextmanager
def directly_dilated(model: tf.keras.Model) -> Iterator[None]:
    """Meanwhile the model computes each dilated binary convolution by one operation.

    On a CPU, TensorFlow has no gradient of that operation.
    """
    with contextlib.ExitStack() as stack:
        for layer in model.layers:
            if type(layer) is lq.layers.QuantConv2D and max(layer.dilation_rate) > 1:
                directly = functools.partial(_directly, layer)
                stack.enter_context(replaced(layer, "convolution_op", directly))
        yield


def _directly(layer: lq.layers.QuantConv2D, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    rates, padding = layer.dilation_rate, layer.padding.upper()
    return tf.nn.conv2d(inputs, kernel, layer.strides, padding, dilations=rates)
