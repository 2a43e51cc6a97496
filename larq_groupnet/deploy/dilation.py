"""Writes dilated convolutions in a form that the converter recognises.

TensorFlow writes a dilated convolution as SpaceToBatch, a plain convolution and BatchToSpace, and
the converter fuses the three again. It fails if several convolutions with one dilation rate read
one tensor, because it merges their equal SpaceToBatch first. The signs are then unpacked and the
convolutions stay real. This happens if K bases read one aggregate (LCE 0.16).
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
    """Within the context, the model computes each dilated binary convolution as one operation.

    TensorFlow has no gradient of this operation on a CPU.
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
