"""What stands on the aggregates of the stages: a classifier, or a score per pixel.

Real-valued, but for the branches of DeepLabv3. Each head takes the last aggregate of each stage, as
`decomposition.decompose` gives them, and the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf

from larq_groupnet.config import NUM_STAGES, GroupNetConfig
from larq_groupnet.network.blocks import aggregate, batch_norm, binary_conv
from larq_groupnet.network.layers import Broadcast
from larq_groupnet.network.resnet import convolution

layers = tf.keras.layers

Stages = Mapping[int, tf.Tensor]

_LAST = NUM_STAGES - 1


def none(stages: Stages, config: GroupNetConfig) -> tf.Tensor:
    """The last aggregate itself: `(batch, height / output_stride, width / output_stride, C)`."""
    return stages[_LAST]


def classifier(stages: Stages, config: GroupNetConfig) -> tf.Tensor:
    """Global average -> dense -> softmax: `(batch, num_classes) float32` probabilities."""
    x = layers.GlobalAveragePooling2D(name="head_pool")(stages[_LAST])
    x = layers.Dense(config.num_classes, name="logits")(x)
    return layers.Activation("softmax", dtype="float32", name="probabilities")(x)


def fcn32s(stages: Stages, config: GroupNetConfig) -> tf.Tensor:
    """Convolution 3x3 (C -> C/4) -> BN -> ReLU -> dropout -> 1x1 -> bilinear upsampling.

    Returns:
        Logits `(batch, height, width, num_classes) float32`.
    """
    return _enlarged(_fcn_scores(stages[_LAST], config), config.output_stride)


def fcn16s(stages: Stages, config: GroupNetConfig) -> tf.Tensor:
    """FCN-32s, to whose scores those of the third stage are added before they are enlarged.

    The third stage is scored by one 1x1 convolution (Long et al., CVPR 2015, where it has stride
    16). That it is the third, whatever its stride here, is this project's reading of the paper:
    at output stride 32 its map is twice as large and the last scores are enlarged to it first; at
    8 and 16 the last stage is dilated instead, and the two maps have one size.

    Returns:
        Logits `(batch, height, width, num_classes) float32`.
    """
    x = _fcn_scores(stages[_LAST], config)
    stride = config.stage_strides[_LAST]
    if stride > 1:
        x = layers.UpSampling2D(stride, interpolation="bilinear", name="head_conv2_up")(x)
    skip = layers.Conv2D(config.num_classes, 1, name="head_skip")(stages[_LAST - 1])
    x = layers.Add(name="head_sum")([x, skip])
    return _enlarged(x, config.output_stride // stride)


def deeplabv3(stages: Stages, config: GroupNetConfig) -> tf.Tensor:
    """Atrous spatial pyramid pooling (Chen et al., 2017), binary, each branch of K bases.

    A 1x1 branch, a 3x3 branch for each of `config.aspp_rates` and the global average, each with as
    many channels as the third stage (256 at width 1) and K as in the last stage, side by side;
    once more 1x1 with K bases, dropout, and the only real-valued layer, a 1x1 convolution.

    Returns:
        Logits `(batch, height, width, num_classes) float32`.
    """
    x = stages[_LAST]
    branches = [_bases(x, 1, 1, config, "head_aspp1")]
    for number, rate in enumerate(config.aspp_rates, 2):
        branches.append(_bases(x, 3, rate, config, f"head_aspp{number}"))
    pooled = layers.GlobalAveragePooling2D(keepdims=True, name="head_pool")(x)
    pooled = _bases(pooled, 1, 1, config, "head_image")
    branches.append(Broadcast(name="head_image_map")([pooled, branches[0]]))
    x = layers.Concatenate(name="head_concat")(branches)
    x = _bases(x, 1, 1, config, "head_project")
    x = layers.Dropout(config.dropout, name="head_dropout")(x)
    x = layers.Conv2D(config.num_classes, 1, name="head_scores")(x)
    return _enlarged(x, config.output_stride)


HEADS: Mapping[str | None, Callable[[Stages, GroupNetConfig], tf.Tensor]] = {
    None: none,
    "classifier": classifier,
    "fcn32s": fcn32s,
    "fcn16s": fcn16s,
    "deeplabv3": deeplabv3,
}
"""By the value of `GroupNetConfig.head`."""


def _fcn_scores(x: tf.Tensor, config: GroupNetConfig) -> tf.Tensor:
    x = layers.Conv2D(
        max(x.shape[-1] // 4, 1), 3, padding="same", use_bias=False, name="head_conv1"
    )(x)
    x = batch_norm(x, config, "head_conv1_bn")
    x = layers.ReLU(name="head_conv1_relu")(x)
    x = layers.Dropout(config.dropout, name="head_dropout")(x)
    return layers.Conv2D(config.num_classes, 1, name="head_conv2")(x)


def _enlarged(scores: tf.Tensor, factor: int) -> tf.Tensor:
    return layers.UpSampling2D(factor, interpolation="bilinear", dtype="float32", name="logits")(
        scores
    )


def _bases(x: tf.Tensor, kernel: int, rate: int, config: GroupNetConfig, name: str) -> tf.Tensor:
    """A group of one layer: K times convolution -> ReLU -> BN on the same input, aggregated.

    With `decomposition="none"` the plain real layer: convolution -> BN -> ReLU.
    """
    filters = config.stage_channels[_LAST - 1]
    if config.decomposition == "none":
        x = convolution(x, filters, kernel, 1, rate, config, f"{name}_conv")
        return layers.ReLU(name=f"{name}_conv_relu")(x)
    outputs = []
    for base in range(1, config.bases_per_stage[_LAST] + 1):
        prefix = f"{name}_base{base}_conv"
        y = binary_conv(x, filters, kernel, config, prefix, rate=rate)
        y = layers.ReLU(name=f"{prefix}_relu")(y)
        outputs.append(batch_norm(y, config, f"{prefix}_bn"))
    return aggregate(outputs, config, f"{name}_aggregate")
