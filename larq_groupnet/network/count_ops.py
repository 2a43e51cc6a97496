"""Counts what each layer of a configuration costs, without TensorFlow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from larq_groupnet.errors import ConfigError
from larq_groupnet.network import names
from larq_groupnet.network.config import GroupNetConfig
from larq_groupnet.network.counts import Counts
from larq_groupnet.network.ops import Ops
from larq_groupnet.network.precision import bits_of


class Map(NamedTuple):
    """What `CountOps` knows about a tensor.

    Attributes:
        height: In pixels.
        width: In pixels.
        channels: Length of the last axis.
        node: Number of the node that computes it.
        field: Side of the receptive field of one pixel, in image pixels.
        step: Distance between neighbouring pixels, in image pixels.
    """

    height: int
    width: int
    channels: int
    node: int = 0
    field: int = 1
    step: int = 1


Cost = tuple[int, int, int, int, int, int, bool]
"""Parameters and their bits; MACs and their bits; multiplications; additions; True if the twin has
them, too."""

Node = tuple[str, Sequence[int], int, Sequence[Cost]]
"""One operation or one whole base: its name, the numbers of its input nodes, its receptive field,
its costs. A plain tuple, because a network has hundreds."""

FREE: tuple[Cost, ...] = ()


class Tally:
    """Running sums for one part of a network; `counts` returns them."""

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
    """Counts what each operation costs. `Ops` says what the operations do.

    Like Keras, `tallies` leaves out operations that the network's output does not depend on.
    """

    def __init__(self, config: GroupNetConfig):
        super().__init__(config)
        self._nodes: list[Node] = [("image", (), 1, FREE)]
        self._bits = 32, 32
        self._repeats = False
        if config.binary:
            inputs = bits_of(config.input_quantizer)
            kernel = bits_of(config.kernel_quantizer) if config.binary is True else 32
            self._bits = kernel, max(kernel, inputs)

    def tallies(self, output: Map) -> dict[str, Tally]:
        """The costs of every part of the network that `output` needs, by `names.part`."""
        tallies: dict[str, Tally] = defaultdict(Tally)
        by_start: dict[str, Tally] = {}
        for node in self._needed(output.node, 1):
            name, _, field, costs = node
            start = name[:7]  # "stage2_" says the part.
            tally = by_start.get(start) or by_start.setdefault(start, tallies[names.part(name)])
            if field > tally.field:
                tally.field = field
            for params, bits, macs, mac_bits, products, sums, in_twin in costs:
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
        y = self._joined(tensors, name, same=2)
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

    def each_base(
        self,
        streams: Sequence[Map],
        rates: Sequence[Sequence[int]],
        build: Callable[[int, Map], Map],
    ) -> list[Map]:
        outputs: list[Map] = []
        built: dict[tuple, tuple[Map, str, list[Cost]]] = {}
        for base, (x, rate) in enumerate(zip(streams, rates, strict=False)):
            # The first base differs from the others: the twin has it.
            alike = (base > 0, rate, x._replace(node=0))
            if alike not in built:
                start = len(self._nodes)
                self._repeats = base > 0
                y = build(base, x)
                self._repeats = False
                name = self._nodes[-1][0]  # A shared layer, which names no base, may come first.
                built[alike] = y, name, self._condensed(start, y.node)
                del self._nodes[start:]
            y, name, costs = built[alike]
            outputs.append(y._replace(node=len(self._nodes)))
            self._nodes.append((name, (x.node,), y.field, costs))
        return outputs

    def max_pool(self, x: Map, size: int, stride: int, name: str, *, padding: str = "same") -> Map:
        return self._pool(x, size, stride, name)

    def average_pool(self, x: Map, size: int, name: str) -> Map:
        return self._pool(x, size, size, name)

    def global_pool(self, x: Map, name: str, *, keepdims: bool = False) -> Map:
        return x._replace(height=1, width=1)

    def broadcast(self, pixel: Map, like: Map, name: str) -> Map:
        return self._joined([like, pixel], name, same=0)._replace(channels=pixel.channels)

    def resize(self, x: Map, to: Map | int, name: str, *, final: bool = False) -> Map:
        size = (x.height * to, x.width * to) if isinstance(to, int) else to[:2]
        return x._replace(height=size[0], width=size[1])

    def dense(self, x: Map, units: int, name: str, *, final: bool = False) -> Map:
        return self.conv(x, units, 1, name, bias=True)

    def dropout(self, x: Map, name: str) -> Map:
        return x

    def softmax(self, x: Map, name: str) -> Map:
        return x

    def _needed(self, output: int, start: int) -> Iterator[Node]:
        """The nodes from `start` on that the node `output` depends on, last first."""
        needed = bytearray(output + 1)
        needed[output] = True
        # Each node comes after its inputs.
        for number in range(output, start - 1, -1):
            if needed[number]:
                node = self._nodes[number]
                for each in node[1]:
                    needed[each] = True
                yield node

    def _condensed(self, start: int, output: int) -> list[Cost]:
        """The costs of the nodes from `start` on, summed by kind."""
        sums: dict[tuple[int, int, bool], list[int]] = {}
        for node in self._needed(output, start):
            for params, bits, macs, mac_bits, products, additions, in_twin in node[3]:
                total = sums.setdefault((bits, mac_bits, in_twin), [0, 0, 0, 0])
                total[0] += params
                total[1] += macs
                total[2] += products
                total[3] += additions
        return [
            (params, bits, macs, mac_bits, products, additions, in_twin)
            for (bits, mac_bits, in_twin), (params, macs, products, additions) in sums.items()
        ]

    def _pool(self, x: Map, size: int, stride: int, name: str) -> Map:
        height, width, channels, node, field, step = x
        field += (size - 1) * step
        self._nodes.append((name, (node,), field, FREE))
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
        params *= not self._repeated(name)
        field += (kernel - 1) * rate * step
        cost = (params, bits[0], macs, bits[1], 0, 0, True)
        self._nodes.append((name, (node,), field, (cost,)))
        return Map(height, width, filters, len(self._nodes) - 1, field, step * stride)

    def _vector(self, x: Map, length: int, name: str) -> Map:
        """Counts a bias or a normalisation. The twin has these parameters too."""
        height, width, channels, node, field, step = x
        length *= not self._repeated(name)
        self._nodes.append((name, (node,), field, ((length, 32, 0, 32, 0, 0, True),)))
        return Map(height, width, channels, len(self._nodes) - 1, field, step)

    def _repeated(self, name: str) -> bool:
        """True for a shared layer that the first base has called: it adds only work."""
        return self._repeats and "_base" not in name

    def _joined(
        self,
        tensors: Sequence[Map],
        name: str,
        params: int = 0,
        multiplications: int = 0,
        additions: int = 0,
        same: int = 3,
    ) -> Map:
        """Joins tensors; counts work per element of the first.

        The first `same` of height, width and channels must be equal in all tensors.
        """
        if len({x[:same] for x in tensors}) > 1:
            raise ConfigError(
                f"{name}: expected maps of one size. Received: "
                + ", ".join(f"{x.height} x {x.width} x {x.channels}" for x in tensors)
            )
        height, width, channels, _, _, step = tensors[0]
        elements = height * width * channels
        field = max([x.field for x in tensors])
        inputs = [x.node for x in tensors]
        products, sums = multiplications * elements, additions * elements
        cost = (params, 32, 0, 32, products, sums, False)
        self._nodes.append((name, inputs, field, (cost,)))
        return Map(height, width, channels, len(self._nodes) - 1, field, step)
