"""Stem and residual blocks, written against `Ops`.

A unit is always convolution -> ReLU -> batch normalisation (Zhuang et al., CVPR 2019), the order
that Larq Compute Engine fuses into one binary kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from larq_groupnet.network import names
from larq_groupnet.network.config import GroupNetConfig
from larq_groupnet.network.kinds import Conv
from larq_groupnet.network.ops import Ops, Tensor


def stem(ops: Ops, x: Tensor) -> Tensor:
    """The real-valued first layers: convolution, max-pool (at stride 4), BN, no ReLU.

    Args:
        ops: The operations.
        x: Images `(batch, height, width, channels)`.

    Returns:
        `(batch, height / stem_stride, width / stem_stride, stage_channels[0])`.
    """
    config = ops.config
    kernel, stride = (3, 1) if config.stem_stride == 1 else (7, 2)
    padding = "torch" if config.padding == "torch" else "same"
    x = ops.conv(
        x,
        config.stage_channels[0],
        kernel,
        names.STEM_CONV,
        stride=stride,
        bias=config.stem_bias,
        padding=padding,
    )
    pools = config.stem_stride == 4
    if pools and config.stem_pool == "before_norm":
        x = ops.max_pool(x, 3, 2, "stem_pool", padding=padding)
    x = ops.norm(x, names.STEM_NORM)
    if pools and config.stem_pool == "after_norm":
        x = ops.max_pool(x, 3, 2, "stem_pool", padding=padding)
    return x


def blocks(config: GroupNetConfig) -> Iterator[tuple[int, int]]:
    """Stage of each block and its place in the stage, both from 0, in the network's order."""
    for stage, count in enumerate(config.blocks):
        for index in range(count):
            yield stage, index


def bases(ops: Ops, streams: Sequence[Tensor], stage: int, index: int) -> list[Tensor]:
    """Builds each base of a block on its own stream."""
    rates = list(zip(*ops.config.dilations(stage, index), strict=True))
    return ops.each_base(streams, rates, lambda base, x: block(ops, x, stage, index, base))


def aggregate(ops: Ops, streams: Sequence[Tensor], stage: int, index: int) -> Tensor:
    """Aggregates the bases after a block."""
    return ops.aggregate(streams, names.aggregate(names.block(stage, index)))


def block(ops: Ops, x: Tensor, stage: int, index: int, base: int | None) -> Tensor:
    """One residual block.

    Args:
        ops: The operations.
        x: `(batch, height, width, in)`.
        stage: Stage, from 0.
        index: Block in the stage, from 0.
        base: Base, from 0; `None` for layer-wise decomposition, where K binary convolutions
            on the same input replace each convolution.

    Returns:
        `(batch, height / stride, width / stride, out)`.
    """
    return _Block(ops, stage, index, base)(x)


class _Block:
    """One residual block of one base, or of all bases at once. Arguments: see `block`."""

    def __init__(self, ops: Ops, stage: int, index: int, base: int | None):
        self.ops = ops
        self.config = config = ops.config
        self.block = names.block(stage, index)
        self.prefix = self.block if base is None else names.base(self.block, base)
        self.bases = range(config.bases_per_stage[stage]) if base is None else (base,)
        self.whole = base is None
        self.rates = config.dilations(stage, index)
        self.convolutions = config.convolutions(stage, index)
        self.filters = self.convolutions[-1].filters
        self.stride = 1
        for conv in self.convolutions:
            self.stride *= conv.stride

    def __call__(self, x: Tensor) -> Tensor:
        """Inner shortcuts go around convolutions that keep the shape (`GroupNetConfig.shortcut`).

        These are every stride-1 convolution as wide as the one before it, and the first one if its
        output has the shape of the block's output.
        """
        last = len(self.convolutions)
        first = self.convolutions[0]
        early = (first.filters, first.stride) == (self.filters, self.stride)
        skip = self._shortcut(x) if early else None
        h = x
        for number, conv in enumerate(self.convolutions, 1):
            before, name = h, f"conv{number}"
            h = self._unit(h, conv, number)
            if number == last:
                return self._add(h, self._shortcut(x) if skip is None else skip, name)
            if self.config.shortcut != "conv":
                continue
            if number == 1 and early:
                h = skip = self._add(h, skip, name)
            elif number > 1 and conv[::2] == (self.convolutions[number - 2].filters, 1):
                h = self._add(h, before, name)
                skip = h if early else None
        raise AssertionError("a block without convolutions")

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.stride == 1 and self.ops.channels(x) == self.filters:
            return x
        # A shared shortcut has no base in its name.
        prefix = self.block if self.config.shared_shortcut else self.prefix
        name = f"{prefix}_shortcut"
        if self.config.projection == "real":
            if self.stride > 1:
                x = self.ops.average_pool(x, self.stride, f"{self.prefix}_shortcut_pool")
            x = self.ops.conv(x, self.filters, 1, name)
        elif self.config.shared_shortcut:
            x = self.ops.binary_conv(x, self.filters, 1, name, stride=self.stride)
        else:
            x = self._convolve(x, Conv(self.filters, 1, self.stride), "shortcut")
        return self.ops.norm(x, names.norm(name))

    def _unit(self, x: Tensor, conv: Conv, number: int) -> Tensor:
        x = self._convolve(x, conv, f"conv{number}", self.rates[number - 1])
        name = f"{self.prefix}_conv{number}"
        if self.config.relu:
            x = self.ops.relu(x, f"{name}_relu")
        return self.ops.norm(x, names.norm(name))

    def _convolve(
        self, x: Tensor, conv: Conv, name: str, rates: Sequence[int] | None = None
    ) -> Tensor:
        outputs = [
            self.ops.binary_conv(
                x,
                conv.filters,
                conv.kernel,
                f"{names.base(self.block, base)}_{name}",
                stride=conv.stride,
                rate=rates[base] if rates else 1,
            )
            for base in self.bases
        ]
        if not self.whole:
            return outputs[0]
        return self.ops.aggregate(outputs, names.aggregate(f"{self.block}_{name}"))

    def _add(self, x: Tensor, shortcut: Tensor, name: str) -> Tensor:
        return self.ops.add([x, shortcut], f"{self.prefix}_{name}_add")
