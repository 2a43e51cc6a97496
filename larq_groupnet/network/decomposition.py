"""How K bases are wired: layer-wise, group-wise, gated; and the real-valued network without bases.

A decomposition takes the operations and the output of the stem, `(batch, height, width,
stage_channels[0])`. It yields each aggregate with the number of its stage (from 0), in the order of
the network. Heads read the last aggregate of each stage.
"""

from __future__ import annotations

from collections.abc import Iterator

from larq_groupnet.network import names
from larq_groupnet.network.blocks import aggregate, bases, block, blocks
from larq_groupnet.network.kinds import BLOCK_OPTIONS, decomposition
from larq_groupnet.network.ops import Ops, Tensor

Aggregates = Iterator[tuple[int, Tensor]]


@decomposition("layer")
def layer_wise(ops: Ops, x: Tensor) -> Aggregates:
    """Every convolution is the aggregate of K binary ones on the same input (LBD)."""
    for stage, index in blocks(ops.config):
        x = block(ops, x, stage, index, base=None)
        yield stage, x


@decomposition("group", uses=(*BLOCK_OPTIONS, "blocks_per_group", "shared_shortcut"))
def group_wise(ops: Ops, x: Tensor) -> Aggregates:
    """K chains of `blocks_per_group` blocks on the same input, aggregated (GBD)."""
    config = ops.config
    total = sum(config.blocks)
    streams: list[Tensor] = []
    for done, (stage, index) in enumerate(blocks(config), 1):
        streams = streams or [x] * config.bases_per_stage[stage]
        streams = bases(ops, streams, stage, index)
        if done % config.blocks_per_group == 0 or done == total:
            x = aggregate(ops, streams, stage, index)
            yield stage, x
            streams = []


@decomposition("gated", uses=(*BLOCK_OPTIONS, "gate", "first_base_sums", "shared_shortcut"))
def gated(ops: Ops, x: Tensor) -> Aggregates:
    """Each base reads a learned mixture of its own last output and the aggregate (Group-Net)."""
    config = ops.config
    total = sum(config.blocks)
    own: list[Tensor] = []
    for done, (stage, index) in enumerate(blocks(config), 1):
        count = config.bases_per_stage[stage]
        place = names.block(stage, index)
        streams = ops.gate(x, own[:count], names.gate(place)) if own else []
        # Bases without a predecessor (first block, or a stage with more of them) read x.
        streams += [x] * (count - len(streams))
        own = bases(ops, streams, stage, index)
        x = aggregate(ops, own, stage, index)
        yield stage, x
        # Nothing reads the outputs of the last block's bases.
        if config.first_base_sums and count > 1 and done < total:
            own[0] = ops.add(own, f"{place}_sum")


@decomposition("none", uses=(), binary=False)
def plain(ops: Ops, x: Tensor) -> Aggregates:
    """The real-valued ResNet that Group-Net approximates (He et al., CVPR 2016), for comparison.

    Convolution -> batch normalisation -> ReLU, one shortcut around each block. Kernel sizes, stem
    and widths are those of the Group-Net with the same layout.
    """
    x = ops.relu(x, "stem_relu")
    for stage, index in blocks(ops.config):
        x = _plain_block(ops, x, stage, index)
        yield stage, x


def _plain_block(ops: Ops, x: Tensor, stage: int, index: int) -> Tensor:
    name = names.block(stage, index)
    convolutions = ops.config.convolutions(stage, index)
    filters, stride = convolutions[-1].filters, max(conv.stride for conv in convolutions)
    shortcut = x
    if stride > 1 or ops.channels(x) != filters:
        shortcut = real_unit(ops, x, filters, 1, f"{name}_shortcut", stride)
    rates = ops.config.dilations(stage, index)
    for number, (conv, (rate, *_)) in enumerate(zip(convolutions, rates, strict=True), 1):
        x = real_unit(ops, x, conv.filters, conv.kernel, f"{name}_conv{number}", conv.stride, rate)
        if number < len(convolutions):
            x = ops.relu(x, f"{name}_conv{number}_relu")
    return ops.relu(ops.add([x, shortcut], f"{name}_add"), f"{name}_relu")


def real_unit(
    ops: Ops, x: Tensor, filters: int, kernel: int, name: str, stride: int = 1, rate: int = 1
) -> Tensor:
    """A real convolution without bias, then batch normalisation."""
    x = ops.conv(x, filters, kernel, name, stride=stride, rate=rate, initializer="he_normal")
    return ops.norm(x, names.norm(name))
