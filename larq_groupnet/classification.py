"""`GroupNetResNet18`, `34` and `50`: Group-Net for image classification."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_groupnet import presets
from larq_groupnet.models import build


def GroupNetResNet18(
    *,
    input_shape: tuple[int | None, int | None, int] | None = None,
    input_tensor: tf.Tensor | None = None,
    weights: str | Path | None = None,
    include_top: bool = True,
    num_classes: int = 1000,
    num_bases: int | tuple[int, ...] = 5,
    **options: Any,
) -> tf.keras.Model:
    """Group-Net with the layout of ResNet-18 (Zhuang et al., CVPR 2019).

    Args:
        input_shape: `(height, width, channels)`, `None` for (224, 224, 3). Images smaller than
            64 pixels get a 3x3 stride-1 stem without pooling and output stride 8, as is usual for
            CIFAR; larger ones the ImageNet stem and output stride 32. The output stride must
            divide height and width, unless they are `None`.
        input_tensor: Keras tensor to read from; its shape then is the input shape.
        weights: `str` or `Path` of an `.h5` weights file of the same network, or `None`.
        include_top: Add average pooling, the dense layer and softmax.
        num_classes: Length of the output, with `include_top`.
        num_bases: K, the number of binary branches, or one per stage.
        **options: Any other field of `GroupNetConfig`.

    Returns:
        A `tf.keras.Model` from images `(batch, height, width, channels) float32` to probabilities
        `(batch, num_classes) float32`, or to the last aggregate
        `(batch, height / output_stride, width / output_stride, channels)`. The layer `logits` has
        the scores before the softmax.

    Raises:
        ConfigError: If the options describe no network.
        TypeError: If an option is unknown.
        FileNotFoundError: If `weights` names no file.
    """
    if input_tensor is not None:
        input_shape = tuple(input_tensor.shape[1:])
    config = presets.classifier(
        **{
            "layout": "resnet18",
            "input_shape": input_shape,
            "include_top": include_top,
            "num_classes": num_classes,
            "num_bases": num_bases,
            **options,
        }
    )
    name = f"groupnet_{config.layout}"
    return build(config, input_tensor=input_tensor, weights=weights, name=name)


def GroupNetResNet34(**options: Any) -> tf.keras.Model:
    """Group-Net with the layout of ResNet-34; arguments as `GroupNetResNet18`."""
    return GroupNetResNet18(**{**options, "layout": "resnet34"})


def GroupNetResNet50(**options: Any) -> tf.keras.Model:
    """Group-Net with the bottleneck layout of ResNet-50; arguments as `GroupNetResNet18`.

    The stride of a stage is on the 3x3 convolution of its first block. The authors published
    numbers for this network and no code.
    """
    return GroupNetResNet18(**{**options, "layout": "resnet50"})
