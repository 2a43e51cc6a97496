"""Where configurations by name were before: `larq_groupnet.family.get_config` gives them."""

# TODO(lead): drop, when nothing imports it.

from __future__ import annotations

from typing import Any

from larq_groupnet.family import SMALL_IMAGE, Shape, get_config
from larq_groupnet.network.config import GroupNetConfig

__all__ = ["SMALL_IMAGE", "Shape", "birealnet", "classifier", "dsp", "resnet"]


def dsp(input_shape: Shape | None = None, num_classes: int = 21, **options: Any) -> GroupNetConfig:
    """Of `groupnet_dsp`."""
    return get_config("groupnet_dsp", input_shape=input_shape, num_classes=num_classes, **options)


def classifier(layout: str, input_shape: Shape | None = None, **options: Any) -> GroupNetConfig:
    """Of `groupnet_resnet18`, `34` or `50`."""
    return get_config(f"groupnet_{layout}", input_shape=input_shape, **options)


def resnet(layout: str, input_shape: Shape | None = None, **options: Any) -> GroupNetConfig:
    """The plain real-valued ResNet of a layout."""
    plain = {"decomposition": "none", "num_bases": 1, "binary": False}
    return classifier(layout, input_shape, **{**plain, **options})


def birealnet(layout: str, input_shape: Shape | None = None, **options: Any) -> GroupNetConfig:
    """Of `birealnet18`."""
    return get_config("birealnet18", input_shape=input_shape, **options)
