"""Stem and residual blocks as functions on tensors, built from plain `larq.layers.QuantConv2D`.

Where it pads and does not dilate it is `OnePaddedConv2D`, which trains in less time.

One unit is always convolution -> ReLU -> batch normalisation (Zhuang et al., CVPR 2019), the order
that Larq Compute Engine fuses into one binary kernel.
"""

from __future__ import annotations

from typing import Any

import larq as lq
import tensorflow as tf

from larq_groupnet.config import BOTTLENECK_EXPANSION, GroupNetConfig
from larq_groupnet.network.convolution import OnePaddedConv2D
from larq_groupnet.network.layers import Aggregate, ConstantPad2D
from larq_groupnet.network.quantizers import of_clipped_kernels, of_inputs

layers = tf.keras.layers

_VERY_SMALL = -65504.0  # The least float16, so that max-pooling never picks it at any precision.


def batch_norm(
    x: tf.Tensor, config: GroupNetConfig, name: str, fused: bool | None = None
) -> tf.Tensor:
    """Batch normalisation with the authors' constants, over the last axis of `x`.

    Within a `tf.distribute` strategy of several replicas its moments are those of the whole batch.
    """
    several = tf.distribute.get_strategy().num_replicas_in_sync > 1
    options: dict[str, Any] = {"synchronized": True} if several else {"fused": fused}
    return layers.BatchNormalization(
        epsilon=config.batch_norm_epsilon,
        momentum=config.batch_norm_momentum,
        name=name,
        **options,
    )(x)


def symmetric_pad(x: tf.Tensor, kernel: int, stride: int, value: float, name: str) -> tf.Tensor:
    """Pads as PyTorch's `padding=kernel // 2` does, less the rows that a stride never reads.

    Unread rows must go because the converter takes a symmetric pad before a strided convolution
    for TensorFlow's "same", which pads the other side. For a 7x7/2 convolution on an even size
    this gives ((3, 2), (3, 2)), for 3x3/2 ((1, 0), (1, 0)), for 1x1 nothing.
    """
    before = kernel // 2
    padding = []
    for size in x.shape[1:3]:
        outputs = (size + 2 * before - kernel) // stride + 1
        padding.append((before, max((outputs - 1) * stride + kernel - size - before, 0)))
    if not any(map(any, padding)):
        return x
    return ConstantPad2D(padding, value, name=name)(x)


def stem(x: tf.Tensor, config: GroupNetConfig) -> tf.Tensor:
    """The real-valued first layers: convolution, max-pool at stride 4, BN, no ReLU.

    Args:
        x: Images `(batch, height, width, channels)`.
        config: Gives `stem_stride`, `stem_bias`, `padding` and the width.

    Returns:
        `(batch, height / stem_stride, width / stem_stride, stage_channels[0])`.
    """
    kernel, stride = (3, 1) if config.stem_stride == 1 else (7, 2)
    torch = config.padding == "torch"
    if torch:
        x = symmetric_pad(x, kernel, stride, 0.0, "stem_conv_pad")
    x = layers.Conv2D(
        config.stage_channels[0],
        kernel,
        strides=stride,
        padding="valid" if torch else "same",
        use_bias=config.stem_bias,
        name="stem_conv",
    )(x)
    if config.stem_stride == 4:
        if torch:
            x = symmetric_pad(x, 3, 2, _VERY_SMALL, "stem_pool_pad")
        x = layers.MaxPool2D(3, 2, "valid" if torch else "same", name="stem_pool")(x)
    # TensorFlow merges convolution, fused normalisation and tanh into an operation that it does not
    # have ("Fusion is not implemented: [FusedBatchNorm,Tanh]").
    meets_tanh = config.binary is False and config.stem_stride < 4
    return batch_norm(x, config, "stem_bn", fused=False if meets_tanh else None)


def binary_conv(
    x: tf.Tensor,
    filters: int,
    kernel: int,
    config: GroupNetConfig,
    name: str,
    stride: int = 1,
    rate: int = 1,
) -> tf.Tensor:
    """One binary convolution of `x`, padded with +1; with `config.binary=False` its real twin.

    With `config.binary="activations"` only `x` is binary.

    Returns:
        `(batch, ceil(height / stride), ceil(width / stride), filters)`.
    """
    quantizers: dict[str, Any] = {}
    kernels = config.binary is True
    if config.binary:
        quantizers = {
            "input_quantizer": of_inputs(config.input_quantizer),
            "kernel_quantizer": of_clipped_kernels(config.kernel_quantizer) if kernels else None,
            "kernel_constraint": "weight_clip",
        }
    else:
        x = layers.Activation("tanh", name=f"{name}_tanh")(x)
    # At stride 1 "same" is symmetric already.
    torch = config.padding == "torch" and stride > 1
    if torch:
        x = symmetric_pad(x, kernel, stride, 1.0, f"{name}_pad")
    faster = not torch and kernel > 1 and rate == 1
    return (OnePaddedConv2D if faster else lq.layers.QuantConv2D)(
        filters,
        kernel,
        strides=stride,
        dilation_rate=rate,
        padding="valid" if torch else "same",
        pad_values=1.0,
        use_bias=False,
        name=name,
        **quantizers,
    )(x)


class Block:
    """One residual block of one base, or of all bases at once with layer-wise decomposition.

    Args:
        config: The network.
        stage: Stage, from 0.
        index: Block in the stage, from 0.
        base: Base, from 0; `None` rebuilds every convolution from K of them on the same input.
    """

    def __init__(self, config: GroupNetConfig, stage: int, index: int, base: int | None):
        self.config = config
        self.stage = stage
        self.base = base
        self.filters = config.stage_channels[stage]
        self.stride = config.stage_strides[stage] if index == 0 else 1
        self.block = f"stage{stage + 1}_block{index + 1}"
        self.prefix = self.block if base is None else f"{self.block}_base{base + 1}"

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Maps `(batch, height, width, in)` to `(batch, height / stride, width / stride, out)`."""
        return self._basic(x) if self.config.block_kind == "basic" else self._bottleneck(x)

    def _basic(self, x: tf.Tensor) -> tf.Tensor:
        shortcut = self._shortcut(x, self.filters)
        h = self._unit(x, self.filters, 3, "conv1", self.stride)
        if self.config.shortcut == "conv":
            h = self._add(h, shortcut, "conv1")
            shortcut = h
        return self._add(self._unit(h, self.filters, 3, "conv2"), shortcut, "conv2")

    def _bottleneck(self, x: tf.Tensor) -> tf.Tensor:
        out = self.filters * BOTTLENECK_EXPANSION
        h = self._unit(x, self.filters, 1, "conv1")
        wide = self._unit(h, self.filters, 3, "conv2", self.stride)
        # The other convolutions change the width; at stride 2 this one has no identity either.
        if self.config.shortcut == "conv" and self.stride == 1:
            wide = self._add(wide, h, "conv2")
        h = self._unit(wide, out, 1, "conv3")
        return self._add(h, self._shortcut(x, out), "conv3")

    def _shortcut(self, x: tf.Tensor, filters: int) -> tf.Tensor:
        if self.stride == 1 and x.shape[-1] == filters:
            return x
        return self._unit(x, filters, 1, "shortcut", self.stride, relu=False)

    def _unit(
        self, x: tf.Tensor, filters: int, kernel: int, name: str, stride: int = 1, relu: bool = True
    ) -> tf.Tensor:
        x = self._convolve(x, filters, kernel, name, stride)
        if relu:
            x = layers.ReLU(name=f"{self.prefix}_{name}_relu")(x)
        return batch_norm(x, self.config, f"{self.prefix}_{name}_bn")

    def _convolve(
        self, x: tf.Tensor, filters: int, kernel: int, name: str, stride: int
    ) -> tf.Tensor:
        bases = range(self.config.bases_per_stage[self.stage]) if self.base is None else [self.base]
        outputs = [
            binary_conv(
                x,
                filters,
                kernel,
                self.config,
                f"{self.block}_base{k + 1}_{name}",
                stride,
                self.config.rate(self.stage, k) if kernel > 1 and stride == 1 else 1,
            )
            for k in bases
        ]
        if self.base is not None:
            return outputs[0]
        return aggregate(outputs, self.config, f"{self.block}_{name}_aggregate")

    def _add(self, x: tf.Tensor, shortcut: tf.Tensor, name: str) -> tf.Tensor:
        return layers.Add(name=f"{self.prefix}_{name}_add")([x, shortcut])


def aggregate(tensors: list[tf.Tensor], config: GroupNetConfig, name: str) -> tf.Tensor:
    """The aggregate of K bases, each `(batch, height, width, channels)`."""
    return Aggregate(config.aggregation == "scales", name=name)(tensors)
