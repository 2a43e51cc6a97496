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
        field: Side in pixels of the image of what one of its pixels depends on.
        step: Pixels of the image from one of its pixels to the next.
    """

    height: int
    width: int
    channels: int
    field: int = 1
    step: int = 1


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
    """Adds up what each operation costs; the methods say what each does in `Ops`.

    Attributes:
        tallies: Part of the network, as `names.part` gives it -> its sums.
    """

    def __init__(self, config: GroupNetConfig):
        super().__init__(config)
        self.tallies: dict[str, Tally] = defaultdict(Tally)
        self._by_start: dict[str, Tally] = {}
        self._bits = 32, 32
        if config.binary:
            inputs = bits_of(config.input_quantizer)
            kernel = bits_of(config.kernel_quantizer) if config.binary is True else 32
            self._bits = kernel, max(kernel, inputs)

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
        if bias:
            self._vector(filters, name)
        return y

    def binary_conv(
        self, x: Map, filters: int, kernel: int, name: str, *, stride: int = 1, rate: int = 1
    ) -> Map:
        return self._convolution(x, filters, kernel, name, stride, rate, self._bits)

    def norm(self, x: Map, name: str) -> Map:
        self._vector(2 * x.channels, name)
        return x

    def relu(self, x: Map, name: str) -> Map:
        return x

    def add(self, tensors: Sequence[Map], name: str) -> Map:
        y = _joined(tensors)
        self._tally(name).additions += (len(tensors) - 1) * _elements(y)
        return y

    def concatenate(self, tensors: Sequence[Map], name: str) -> Map:
        return _joined(tensors)._replace(channels=sum(x.channels for x in tensors))

    def gate(self, x: Map, own: Sequence[Map], name: str) -> list[Map]:
        y = _joined([x, *own])
        tally, elements = self._tally(name), len(own) * _elements(y)
        tally.params[32] += len(own) if self.config.gate == "base" else 1
        tally.multiplications += 2 * elements
        tally.additions += elements
        return [y] * len(own)

    def aggregate(self, tensors: Sequence[Map], name: str) -> Map:
        y = _joined(tensors)
        tally, elements, bases = self._tally(name), _elements(y), len(tensors)
        learned = self.config.aggregation == "scales"
        if learned:
            tally.params[32] += bases
        tally.multiplications += (bases if learned else 1) * elements
        tally.additions += (bases - 1) * elements
        return y

    def max_pool(self, x: Map, size: int, stride: int, name: str, *, padding: str = "same") -> Map:
        return self._pool(x, size, stride, name)

    def average_pool(self, x: Map, size: int, name: str) -> Map:
        return self._pool(x, size, size, name)

    def global_pool(self, x: Map, name: str, *, keepdims: bool = False) -> Map:
        return x._replace(height=1, width=1)

    def broadcast(self, pixel: Map, like: Map, name: str) -> Map:
        return like._replace(channels=pixel.channels)

    def resize(self, x: Map, factor: int, name: str, *, final: bool = False) -> Map:
        return x._replace(height=x.height * factor, width=x.width * factor)

    def dense(self, x: Map, units: int, name: str, *, final: bool = False) -> Map:
        return self.conv(x, units, 1, name, bias=True)

    def dropout(self, x: Map, name: str) -> Map:
        return x

    def softmax(self, x: Map, name: str) -> Map:
        return x

    def _tally(self, name: str) -> Tally:
        start = name[:7]  # "stage2_" says it, and a thousand look-ups are half of the time.
        if start not in self._by_start:
            self._by_start[start] = self.tallies[names.part(name)]
        return self._by_start[start]

    def _pool(self, x: Map, size: int, stride: int, name: str) -> Map:
        field = x.field + (size - 1) * x.step
        tally = self._tally(name)
        tally.field = max(tally.field, field)
        height, width = -(-x.height // stride), -(-x.width // stride)
        return Map(height, width, x.channels, field, x.step * stride)

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
        height, width, channels, field, step = x
        if stride > 1:
            height, width = -(-height // stride), -(-width // stride)
        weights = kernel * kernel * channels * filters
        macs = weights * height * width
        tally = self._tally(name)
        tally.params[bits[0]] += weights
        tally.macs[bits[1]] += macs
        if not names.is_extra_base(name):
            tally.twin_params += weights
            tally.twin_macs += macs
        field += (kernel - 1) * rate * step
        if field > tally.field:
            tally.field = field
        return Map(height, width, filters, field, step * stride)

    def _vector(self, length: int, name: str) -> None:
        """Real parameters that the twin has too: a bias, or the two of a normalisation."""
        tally = self._tally(name)
        tally.params[32] += length
        if not names.is_extra_base(name):
            tally.twin_params += length


def _elements(x: Map) -> int:
    return x.height * x.width * x.channels


def _joined(tensors: Sequence[Map]) -> Map:
    """A tensor that depends on all of these, of which each has the same size."""
    first = tensors[0]
    field = max([x.field for x in tensors])
    return first if first.field == field else first._replace(field=field)
