"""The configurations of the named models, without TensorFlow."""

from __future__ import annotations

from typing import Any

from larq_groupnet.config import DEPTHS, GroupNetConfig, check_choice

Shape = tuple[int | None, int | None, int]

SMALL_IMAGE = 64
"""Below this height or width a classifier's stem is a 3x3 convolution of stride 1, no pooling."""


def dsp(
    input_shape: Shape | None = None,
    num_classes: int = 21,
    backbone: str = "resnet18",
    atrous: str | tuple[int | tuple[int, ...] | str, ...] | None = "bpac",
    **options: Any,
) -> GroupNetConfig:
    """`GroupNetDSP` with the same arguments.

    `backbone` is `GroupNetConfig`'s layout and `atrous` its atrous_rates, which may be given by
    these names, too.
    """
    check_choice("backbone", backbone, DEPTHS)
    defaults = {
        "input_shape": input_shape or (512, 512, 3),
        "num_classes": num_classes,
        "layout": backbone,
        "head": "fcn32s",
        "atrous_rates": atrous,
        "output_stride": 8,
    }
    return GroupNetConfig().replace(**{**defaults, **options})


def classifier(
    layout: str,
    input_shape: Shape | None = None,
    include_top: bool = True,
    num_classes: int = 1000,
    head: str | None = "classifier",
    stem_stride: int | None = None,
    output_stride: int | None = None,
    **options: Any,
) -> GroupNetConfig:
    """`GroupNetResNet18`, `34` or `50` with the same arguments; `layout` says which."""
    input_shape = input_shape or (224, 224, 3)
    small = min(size or SMALL_IMAGE for size in input_shape[:2]) < SMALL_IMAGE
    return GroupNetConfig().replace(
        layout=layout,
        input_shape=input_shape,
        num_classes=num_classes,
        head=head if include_top else None,
        stem_stride=stem_stride or (1 if small else 4),
        output_stride=output_stride or (8 if small else 32),
        **options,
    )


def resnet(layout: str, input_shape: Shape | None = None, **options: Any) -> GroupNetConfig:
    """The plain real-valued ResNet of a layout; other arguments as `classifier`."""
    defaults = {"decomposition": "none", "num_bases": 1, "binary": False}
    return classifier(layout, input_shape, **{**defaults, **options})


def birealnet(layout: str, input_shape: Shape | None = None, **options: Any) -> GroupNetConfig:
    """One binary branch with a shortcut around every convolution: Group-Net at K=1.

    Its blocks are wired as Bi-Real Net's (Liu et al., ECCV 2018), with the gradient of that paper
    for the activations; order of ReLU and normalisation, and binary shortcuts, are Group-Net's.
    """
    defaults = {"decomposition": "group", "aggregation": "mean", "num_bases": 1}
    options = {**defaults, "input_quantizer": "approx_sign", **options}
    return classifier(layout, input_shape, **options)
