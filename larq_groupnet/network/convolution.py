"""A faster convolution for training, with the same values as Larq's `QuantConv2D`."""

from __future__ import annotations

from typing import Any

import larq as lq
import numpy as np
import tensorflow as tf

from larq_groupnet.autograph import as_written
from larq_groupnet.network.devices import only_cpus

SMALL_MAP = 16
"""Up to this many output pixels per image, a convolution is one matrix product: oneDNN would spend
more time on reordering the kernel than on multiplying (`benchmarks/README.md`)."""


@tf.keras.utils.register_keras_serializable("larq_groupnet")
class OnePaddedConv2D(lq.layers.QuantConv2D):
    """`QuantConv2D` with `padding="same"` and `pad_values=1.0`, faster in training.

    At inference (so also for conversion) and on accelerators, it runs the operations of
    `QuantConv2D`. In training on a CPU, the values are the same, but the gradient of the padding is
    not computed.
    """

    @as_written
    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Maps `(batch, height, width, in)` to `(batch, height / stride, width / stride, out)`."""
        known = inputs.shape[1:].is_fully_defined()
        padded = (self.padding, self.pad_values) == ("same", 1)
        # TensorFlow's own gradient of a dilated convolution needs oneDNN.
        plain = (
            self.dilation_rate == (1, 1)
            and len({*self.kernel_size}) == len({*self.strides}) == self.groups == 1
            and self.data_format == "channels_last"
            and self.activation in (None, tf.keras.activations.linear)
            and not self.use_bias
        )
        if training is not True or not (known and padded and plain and only_cpus()):
            quantizes = lq.context.should_quantize()
            try:
                return super().call(inputs)
            except BaseException:
                # After an error, such as too little memory, Larq leaves its scope open. Saving a
                # model would then save signs instead of latent weights.
                lq.context.quantized_scope(quantizes).__enter__()
                raise
        if self.input_quantizer:
            inputs = self.input_quantizer(inputs)
        with lq.context.quantized_scope(True):
            kernel = tf.convert_to_tensor(self.kernel)
        return _one_padded(inputs, kernel, self.strides[0])


def _one_padded(x: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    """Convolves `x`, padded with +1 on the sides that TensorFlow's "same" pads."""
    side = kernel.shape[0]
    sizes = [-(-size // stride) for size in x.shape[1:3]]
    padding = [(0, 0)]  # The batch.
    for size, out in zip(x.shape[1:3], sizes, strict=True):
        total = max((out - 1) * stride + side - size, 0)
        padding.append((total // 2, total - total // 2))
    padding.append((0, 0))
    strides = [1, stride, stride, 1]
    small = sizes[0] * sizes[1] <= SMALL_MAP

    @tf.custom_gradient
    def convolve(x: tf.Tensor, kernel: tf.Tensor) -> Any:
        padded = tf.pad(x, padding, constant_values=1.0)
        if small:
            patches = _patches(padded, sizes, side, stride)
            y = tf.matmul(patches, tf.reshape(kernel, (-1, kernel.shape[-1])))
            y = tf.reshape(y, (-1, *sizes, kernel.shape[-1]))
        else:
            y = tf.nn.conv2d(padded, kernel, strides, "VALID")

        def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # A constant padding has no gradient, so it may as well be zeros here.
            dx = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(x),
                filter=kernel,
                out_backprop=dy,
                strides=strides,
                padding="SAME",
            )
            if small:
                rows = tf.reshape(dy, (-1, kernel.shape[-1]))
                return dx, tf.reshape(tf.matmul(patches, rows, transpose_a=True), kernel.shape)
            return dx, tf.raw_ops.Conv2DBackpropFilter(
                input=padded,
                filter_sizes=kernel.shape,
                out_backprop=dy,
                strides=strides,
                padding="VALID",
            )

        return y, gradient

    return convolve(x, kernel)


def _patches(padded: tf.Tensor, sizes: list[int], side: int, stride: int) -> tf.Tensor:
    """The patch under each output pixel: `(batch * height * width, side * side * channels)`."""
    _, height, width, channels = padded.shape
    pixels = np.arange(height * width).reshape(height, width)
    taps = np.lib.stride_tricks.sliding_window_view(pixels, (side, side))
    taps = taps[: sizes[0] * stride : stride, : sizes[1] * stride : stride]
    read = tf.gather(tf.reshape(padded, (-1, height * width, channels)), taps.ravel(), axis=1)
    return tf.reshape(read, (-1, side * side * channels))
