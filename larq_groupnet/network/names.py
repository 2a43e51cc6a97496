"""Names of layers. A contract: weights, snapshots, checkpoints and reports find layers by name.

    stem_conv, stem_pool, stem_bn                       the real-valued first layers
    stage2_block1_base3_conv1[_relu, _bn, _add]         a convolution of a base, and what follows it
    stage2_block1_base3_shortcut[_bn]                   where stride or width changes
    stage2_block1_shortcut[_bn]                         the same, if all bases share it
    stage2_block1_gate, stage2_block1_aggregate         what connects the bases
    head_..., logits, probabilities                     the head

Stages, blocks, bases and convolutions count from 1 in a name and from 0 in the code. Layers
without a base (`decomposition="layer"` after its convolutions, `"none"`) leave that part out. A
weight is called `LAYER/kernel:0`.
"""

from __future__ import annotations

IMAGE = "image"
STEM_CONV = "stem_conv"
STEM_NORM = "stem_bn"
LOGITS = "logits"
PROBABILITIES = "probabilities"

HEAD = ("head_", f"{LOGITS}/")
"""Prefixes of the names of a head's weights."""


def block(stage: int, index: int) -> str:
    """Name of a block: its stage, and its place in the stage."""
    return f"stage{stage + 1}_block{index + 1}"


def base(block: str, number: int) -> str:
    """Name of one base of a block, or of a part of a head."""
    return f"{block}_base{number + 1}"


def aggregate(place: str) -> str:
    """Name of the aggregate after a block or a convolution."""
    return f"{place}_aggregate"


def gate(block: str) -> str:
    """Name of the gate before a block."""
    return f"{block}_gate"


def norm(convolution: str) -> str:
    """Name of the batch normalisation after a convolution."""
    return f"{convolution}_bn"


def part(layer: str) -> str:
    """The part that a layer belongs to: `"stem"`, `"stage1"`, `"stage2"` ... or `"head"`."""
    first = layer.partition("_")[0]
    return first if first == "stem" or first.startswith("stage") else "head"


def is_extra_base(layer: str) -> bool:
    """True if a layer belongs to a base other than the first."""
    return "_base" in layer and "_base1_" not in layer


def is_of_head(weight: str) -> bool:
    """True if a weight belongs to the head."""
    return weight.startswith(HEAD)
