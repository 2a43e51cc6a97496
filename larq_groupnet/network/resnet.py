"""The real-valued ResNet that Group-Net approximates (He et al., CVPR 2016), to compare with.

`GroupNetConfig(decomposition="none")`: convolution -> batch normalisation -> ReLU, one shortcut
around each block. Kernels, stem and widths are those of the Group-Net of the same layout.
"""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf

from larq_groupnet.config import BOTTLENECK_EXPANSION, GroupNetConfig
from larq_groupnet.network.blocks import batch_norm

layers = tf.keras.layers

Aggregates = Iterator[tuple[int, tf.Tensor]]
"""Stage (from 0) and the output of one of its groups, in the order of the network."""


def residual_stages(x: tf.Tensor, config: GroupNetConfig) -> Aggregates:
    """All residual stages, one block after the other; arguments as `decomposition.decompose`."""
    x = layers.ReLU(name="stem_relu")(x)
    for stage, count in enumerate(config.blocks):
        for index in range(count):
            x = _block(x, config, stage, index)
            yield stage, x


def _block(x: tf.Tensor, config: GroupNetConfig, stage: int, index: int) -> tf.Tensor:
    name = f"stage{stage + 1}_block{index + 1}"
    filters = config.stage_channels[stage]
    stride = config.stage_strides[stage] if index == 0 else 1
    rate = config.rate(stage, 0)
    if config.block_kind == "basic":
        convolutions = [(filters, 3, stride), (filters, 3, 1)]
    else:
        convolutions = [(filters, 1, 1), (filters, 3, stride)]
        convolutions += [(filters * BOTTLENECK_EXPANSION, 1, 1)]
    shortcut = x
    last = convolutions[-1][0]
    if stride > 1 or x.shape[-1] != last:
        shortcut = convolution(x, last, 1, stride, 1, config, f"{name}_shortcut")
    for number, (outputs, kernel, step) in enumerate(convolutions, 1):
        dilation = rate if kernel > 1 and step == 1 else 1
        x = convolution(x, outputs, kernel, step, dilation, config, f"{name}_conv{number}")
        if number < len(convolutions):
            x = layers.ReLU(name=f"{name}_conv{number}_relu")(x)
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, shortcut]))


def convolution(
    x: tf.Tensor,
    filters: int,
    kernel: int,
    stride: int,
    rate: int,
    config: GroupNetConfig,
    name: str,
) -> tf.Tensor:
    """A real convolution without bias, then batch normalisation."""
    x = layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        dilation_rate=rate,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)
    return batch_norm(x, config, f"{name}_bn")
