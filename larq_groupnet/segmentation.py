"""`GroupNetDSP`: Group-Net for dense semantic prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_groupnet import presets
from larq_groupnet.models import build
from larq_groupnet.weights.resolve import adopt


def GroupNetDSP(
    *,
    input_shape: tuple[int | None, int | None, int] | None = None,
    input_tensor: tf.Tensor | None = None,
    weights: str | Path | None = None,
    num_classes: int = 21,
    **options: Any,
) -> tf.keras.Model:
    """Group-Net with BPAC at output stride 8 and an FCN-32s head, for semantic segmentation.

    Source: Zhuang et al., CVPR 2019, section on semantic segmentation. "DSP" is this project's
    name for it.

    Args:
        input_shape: `(height, width, channels)`, `None` for (512, 512, 3); height and width must be
            multiples of the output stride, or `None` for any such size.
        input_tensor: Keras tensor to read from; its shape then is the input shape.
        weights: Path of an `.h5` weights file of the same network, or `None`.
        num_classes: Classes including background.
        **options: Any other field of `GroupNetConfig`, such as `num_bases`, `width`, `atrous_rates`
            or `binary`.

    Returns:
        A `tf.keras.Model` from images `(batch, height, width, channels) float32` to logits
        `(batch, height, width, num_classes) float32`.

    Raises:
        ConfigError: If the options describe no network.
        TypeError: If an option is unknown.
    """
    if input_tensor is not None:
        input_shape = tuple(input_tensor.shape[1:])
    config = presets.dsp(input_shape, num_classes, **options)
    config = adopt(weights, "groupnet_dsp", config)
    return build(config, input_tensor=input_tensor, weights=weights, name="groupnet_dsp")
