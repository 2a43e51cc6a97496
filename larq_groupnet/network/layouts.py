"""The backbones: the convolutions of a block and the number of blocks in each stage."""

from __future__ import annotations

from larq_groupnet.network.kinds import Conv, layout

NUM_STAGES = 4
"""Stages of a ResNet."""

BOTTLENECK_EXPANSION = 4


@layout("resnet18", blocks=(2, 2, 2, 2))
@layout("resnet34", blocks=(3, 4, 6, 3))
def basic(filters: int, stride: int) -> list[Conv]:
    """Two 3x3 convolutions (He et al., CVPR 2016)."""
    return [Conv(filters, 3, stride), Conv(filters, 3)]


@layout("resnet50", blocks=(3, 4, 6, 3))
def bottleneck(filters: int, stride: int) -> list[Conv]:
    """1x1, 3x3 and 1x1, the last four times as wide; the 3x3 has the stride."""
    return [Conv(filters, 1), Conv(filters, 3, stride), Conv(filters * BOTTLENECK_EXPANSION, 1)]
