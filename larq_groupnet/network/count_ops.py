"""The structure as counts: what each layer of a configuration costs, without TensorFlow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from larq_groupnet.network import names
from larq_groupnet.network.config import GroupNetConfig
from larq_groupnet.network.counts import Counts
from larq_groupnet.network.ops import Ops
from larq_groupnet.network.precision import bits_of


class Map(NamedTuple):
    """What is known of a tensor.

    Attributes:
        height: In pixels.
        width: In pixels.
        channels: Length of the last axis.
        node: Which of `CountOps` gave it.
        field: Side in pixels of the image of what one of its pixels depends on.
        step: Pixels of the image from one of its pixels to the next.
    """

    height: int
    width: int
    channels: int
    node: int = 0
    field: int = 1
    step: int = 1


Node = tuple[str, Sequence[int], int, int, int, int, int, int, int, bool]
"""One operation: its name, the numbers of the nodes that it reads, its receptive field; parameters
and their bits, MACs and theirs; multiplications, additions; whether the twin has it, too. A plain
tuple, because a network has a thousand."""


class Tally:
    """Running sums for one part of a network; `counts` gives them."""

    def __init__(self) -> None:
        self.params: dict[int, int] = defaultdict(int)
        self.macs: dict[int, int] = defaultdict(int)
        self.multiplications = self.additions = self.field = 0
        self.twin_params = self.twin_macs = 0

    def counts(self, with_field: bool) -> Counts:
        """The sums; the head has no receptive field."""
        return Counts(
            dict(sorted(self.params.items())),
            dict(sorted(self.macs.items())),
            self.multiplications,
            self.additions,
            self.field if with_field else 0,
            self.twin_params,
            self.twin_macs,
        )


class CountOps(Ops):
    """Notes what each operation costs; the methods say what each does in `Ops`.

    Like Keras, `tallies` leaves out what the output of the network does not depend on.
    """

    def __init__(self, config: GroupNetConfig):
        super().__init__(config)
        self._nodes: list[Node] = [("image", (), 1, 0, 32, 0, 32, 0, 0, False)]
        self._bits = 32, 32
        if config.binary:
            inputs = bits_of(config.input_quantizer)
            kernel = bits_of(config.kernel_quantizer) if config.binary is True else 32
            self._bits = kernel, max(kernel, inputs)

    def tallies(self, output: Map) -> dict[str, Tally]:
        """Part of the network, as `names.part` gives it -> the sums of what `output` needs."""
        tallies: dict[str, Tally] = defaultdict(Tally)
        by_start: dict[str, Tally] = {}
        seen: set[tuple[str, bool]] = set()
        needed = bytearray(len(self._nodes))
        needed[output.node] = True
        # Each node stands behind its inputs.
        for number in range(output.node, 0, -1):
            if not needed[number]:
                continue
            node = self._nodes[number]
            name, inputs, field, params, bits, macs, mac_bits, products, sums, in_twin = node
            for each in inputs:
                needed[each] = True
            start = name[:7]  # "stage2_" says the part.
            tally = by_start.get(start) or by_start.setdefault(start, tallies[names.part(name)])
            if field > tally.field:
                tally.field = field
            if self.config.shared_shortcut:
                if (name, macs > 0) in seen:  # The same layer again: work, and no parameter.
                    params, in_twin = 0, False
                seen.add((name, macs > 0))  # A bias has the name of its convolution.
            if params:
                tally.params[bits] += params
            if macs:
                tally.macs[mac_bits] += macs
            tally.multiplications += products
            tally.additions += sums
            if in_twin and not names.is_extra_base(name):
                tally.twin_params += params
                tally.twin_macs += macs
        return tallies

    def channels(self, x: Map) -> int:
        return x.channels

    def conv(
        self,
        x: Map,
        filters: int,
        kernel: int,
        name: str,
        *,
        stride: int = 1,
        rate: int = 1,
        bias: bool = False,
        padding: str = "same",
        initializer: str = "",
    ) -> Map:
        if padding == "valid":
            lost = (kernel - 1) * rate
            x = x._replace(height=x.height - lost, width=x.width - lost)
        y = self._convolution(x, filters, kernel, name, stride, rate, (32, 32))
        return self._vector(y, filters, name) if bias else y

    def binary_conv(
        self, x: Map, filters: int, kernel: int, name: str, *, stride: int = 1, rate: int = 1
    ) -> Map:
        return self._convolution(x, filters, kernel, name, stride, rate, self._bits)

    def norm(self, x: Map, name: str) -> Map:
        return self._vector(x, 2 * x.channels, name)

    def relu(self, x: Map, name: str) -> Map:
        return x

    def add(self, tensors: Sequence[Map], name: str) -> Map:
        return self._joined(tensors, name, additions=len(tensors) - 1)

    def concatenate(self, tensors: Sequence[Map], name: str) -> Map:
        y = self._joined(tensors, name)
        return y._replace(channels=sum(x.channels for x in tensors))

    def gate(self, x: Map, own: Sequence[Map], name: str) -> list[Map]:
        bases = len(own)
        params = bases if self.config.gate == "base" else 1
        y = self._joined([x, *own], name, params, 2 * bases, bases)
        return [y] * bases

    def aggregate(self, tensors: Sequence[Map], name: str) -> Map:
        bases = len(tensors)
        learned = bases if self.config.aggregation == "scales" else 0
        return self._joined(tensors, name, learned, learned or 1, bases - 1)

    def max_pool(self, x: Map, size: int, stride: int, name: str, *, padding: str = "same") -> Map:
        return self._pool(x, size, stride, name)

    def average_pool(self, x: Map, size: int, name: str) -> Map:
        return self._pool(x, size, size, name)

    def global_pool(self, x: Map, name: str, *, keepdims: bool = False) -> Map:
        return x._replace(height=1, width=1)

    def broadcast(self, pixel: Map, like: Map, name: str) -> Map:
        return self._joined([like, pixel], name)._replace(channels=pixel.channels)

    def resize(self, x: Map, to: Map | int, name: str, *, final: bool = False) -> Map:
        size = (x.height * to, x.width * to) if isinstance(to, int) else to[:2]
        return x._replace(height=size[0], width=size[1])

    def dense(self, x: Map, units: int, name: str, *, final: bool = False) -> Map:
        return self.conv(x, units, 1, name, bias=True)

    def dropout(self, x: Map, name: str) -> Map:
        return x

    def softmax(self, x: Map, name: str) -> Map:
        return x

    def _pool(self, x: Map, size: int, stride: int, name: str) -> Map:
        height, width, channels, node, field, step = x
        field += (size - 1) * step
        self._nodes.append((name, (node,), field, 0, 32, 0, 32, 0, 0, False))
        height, width = -(-height // stride), -(-width // stride)
        return Map(height, width, channels, len(self._nodes) - 1, field, step * stride)

    def _convolution(
        self,
        x: Map,
        filters: int,
        kernel: int,
        name: str,
        stride: int,
        rate: int,
        bits: tuple[int, int],
    ) -> Map:
        height, width, channels, node, field, step = x
        if stride > 1:
            height, width = -(-height // stride), -(-width // stride)
        params = kernel * kernel * channels * filters
        macs = params * height * width
        field += (kernel - 1) * rate * step
        self._nodes.append((name, (node,), field, params, bits[0], macs, bits[1], 0, 0, True))
        return Map(height, width, filters, len(self._nodes) - 1, field, step * stride)

    def _vector(self, x: Map, length: int, name: str) -> Map:
        """Real parameters that the twin has too: a bias, or the two of a normalisation."""
        height, width, channels, node, field, step = x
        self._nodes.append((name, (node,), field, length, 32, 0, 32, 0, 0, True))
        return Map(height, width, channels, len(self._nodes) - 1, field, step)

    def _joined(
        self,
        tensors: Sequence[Map],
        name: str,
        params: int = 0,
        multiplications: int = 0,
        additions: int = 0,
    ) -> Map:
        """Of tensors of one size; the work is per element."""
        height, width, channels, _, _, step = tensors[0]
        elements = height * width * channels
        field = max([x.field for x in tensors])
        inputs = [x.node for x in tensors]
        products, sums = multiplications * elements, additions * elements
        self._nodes.append((name, inputs, field, params, 32, 0, 32, products, sums, False))
        return Map(height, width, channels, len(self._nodes) - 1, field, step)
