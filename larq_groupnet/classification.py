"""`GroupNetResNet18`, `34` and `50`: Group-Net for image classification."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_groupnet.network.build import build_named
from larq_groupnet.signatures import arguments_of


def GroupNetResNet18(  # noqa: D417 (GroupNetConfig explains the others)
    *,
    input_shape: tuple[int | None, int | None, int] | None = None,
    input_tensor: tf.Tensor | None = None,
    weights: str | Path | None = None,
    include_top: bool = True,
    num_classes: int = 1000,
    num_bases: int | tuple[int, ...] = 5,
    stage_blocks: tuple[int, ...] | None = None,
    head: str | None = "classifier",
    width: float = 1.0,
    decomposition: str = "gated",
    blocks_per_group: int = 1,
    gate: str = "block",
    aggregation: str = "scales",
    first_base_sums: bool = False,
    shortcut: str = "conv",
    stem_stride: int | None = None,
    stem_bias: bool = False,
    output_stride: int | None = None,
    atrous_rates: str | tuple[int | tuple[int, ...] | str, ...] | None = None,
    padding: str = "same",
    binary: bool | str = True,
    input_quantizer: str | Mapping | Any = "ste_sign",
    kernel_quantizer: str | Mapping | Any = "ste_sign",
    dropout: float = 0.1,
    batch_norm_epsilon: float = 1e-5,
    batch_norm_momentum: float = 0.9,
) -> tf.keras.Model:
    """Group-Net with the layout of ResNet-18 (Zhuang et al., CVPR 2019).

    The arguments not listed here are fields of `GroupNetConfig`, explained there.

    Args:
        input_shape: `(height, width, channels)`, `None` for (224, 224, 3). Images smaller than
            64 pixels get a 3x3 stride-1 stem without pooling and output stride 8, as is usual for
            CIFAR; larger ones the ImageNet stem and output stride 32. The output stride must
            divide height and width, unless they are `None`.
        input_tensor: Keras tensor to read from; its shape then is the input shape.
        weights: Name of a registered set (`larq_groupnet.list_weights()`), such as `"imagenet"`,
            whose options the network then gets, except those given here; `str` or `Path` of a
            `.safetensors`, `.h5` or `.keras` file of the same network; or `None` for random ones.
        include_top: Add the head, which is average pooling, the dense layer and softmax; `False`
            gives the last aggregate.
        num_classes: Length of the output, with `include_top`.
        num_bases: K, the number of binary branches, or one per stage.
        head: `"classifier"`, or another head of `GroupNetConfig`, with `include_top`.
        stem_stride: `None` for that of the size of the images, as above.
        output_stride: `None` for that of the size of the images, as above.

    Returns:
        A `tf.keras.Model` from images `(batch, height, width, channels) float32` to probabilities
        `(batch, num_classes) float32`, or to the last aggregate
        `(batch, height / output_stride, width / output_stride, channels)`. The layer `logits` has
        the scores before the softmax.

    Raises:
        ConfigError: If the options describe no network.
        TypeError: If an argument is unknown.
        FileNotFoundError: If `weights` names no file.
    """
    return build_named("groupnet_resnet18", **locals())


@arguments_of(GroupNetResNet18)
def GroupNetResNet34(**arguments: Any) -> tf.keras.Model:
    """Group-Net with the layout of ResNet-34; arguments as `GroupNetResNet18`."""
    return build_named("groupnet_resnet34", **arguments)


@arguments_of(GroupNetResNet18)
def GroupNetResNet50(**arguments: Any) -> tf.keras.Model:
    """Group-Net with the bottleneck layout of ResNet-50; arguments as `GroupNetResNet18`.

    The stride of a stage is on the 3x3 convolution of its first block. The authors published
    numbers for this network and no code.
    """
    return build_named("groupnet_resnet50", **arguments)
