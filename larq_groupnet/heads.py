"""What stands on the last aggregate: a classifier, or a score per pixel. All real-valued."""

from __future__ import annotations

import tensorflow as tf

from larq_groupnet.blocks import batch_norm
from larq_groupnet.config import GroupNetConfig

layers = tf.keras.layers


def classifier(x: tf.Tensor, config: GroupNetConfig) -> tf.Tensor:
    """Global average -> dense -> softmax: `(batch, num_classes) float32` probabilities."""
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    x = layers.Dense(config.num_classes, name="logits")(x)
    return layers.Activation("softmax", dtype="float32", name="probabilities")(x)


def fcn32s(x: tf.Tensor, config: GroupNetConfig) -> tf.Tensor:
    """Convolution 3x3 (C -> C/4) -> BN -> ReLU -> dropout -> 1x1 -> bilinear upsampling.

    Args:
        x: Last aggregate, `(batch, height / output_stride, width / output_stride, C)`.
        config: Gives `num_classes`, `dropout` and `output_stride`.

    Returns:
        Logits `(batch, height, width, num_classes) float32`.
    """
    x = layers.Conv2D(
        max(x.shape[-1] // 4, 1), 3, padding="same", use_bias=False, name="head_conv1"
    )(x)
    x = batch_norm(x, config, "head_conv1_bn")
    x = layers.ReLU(name="head_conv1_relu")(x)
    x = layers.Dropout(config.dropout, name="head_dropout")(x)
    x = layers.Conv2D(config.num_classes, 1, name="head_conv2")(x)
    return layers.UpSampling2D(
        config.output_stride, interpolation="bilinear", dtype="float32", name="logits"
    )(x)
