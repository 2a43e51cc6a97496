"""The operations that the structure of a network is written in.

`KerasOps` makes a layer for each, `CountOps` counts its cost. A decomposition or a head that uses
only these can be built, counted, folded and converted without further code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from larq_groupnet.network.config import GroupNetConfig

Tensor = Any
"""`(batch, height, width, channels)`: a Keras tensor, or a `Map` of `CountOps`."""


class Ops(ABC):
    """An interpreter of the structure. Every operation takes the name of its layer.

    With `shared_shortcut`, convolutions and normalisations of the same name are one layer, called
    several times with the same weights.

    Args:
        config: The network.

    Attributes:
        image: The input of the network, `(batch, height, width, channels)`.
    """

    def __init__(self, config: GroupNetConfig):
        self.config = config
        self.image: Tensor = None

    @abstractmethod
    def channels(self, x: Tensor) -> int:
        """Length of the last axis."""

    @abstractmethod
    def conv(
        self,
        x: Tensor,
        filters: int,
        kernel: int,
        name: str,
        *,
        stride: int = 1,
        rate: int = 1,
        bias: bool = False,
        padding: str = "same",
        initializer: str = "glorot_uniform",
    ) -> Tensor:
        """A real convolution, padded with zeros: `"same"`, `"torch"` (symmetric) or `"valid"`."""

    @abstractmethod
    def binary_conv(
        self, x: Tensor, filters: int, kernel: int, name: str, *, stride: int = 1, rate: int = 1
    ) -> Tensor:
        """A binary convolution of the signs of `x`, padded as `config.padding` says.

        `config.binary=False` gives its real twin, on the tanh of `x`; `"activations"` keeps the
        kernel real.
        """

    @abstractmethod
    def norm(self, x: Tensor, name: str) -> Tensor:
        """Batch normalisation over the last axis, with the constants of `config`."""

    @abstractmethod
    def relu(self, x: Tensor, name: str) -> Tensor:
        """`max(x, 0)`."""

    @abstractmethod
    def add(self, tensors: Sequence[Tensor], name: str) -> Tensor:
        """The sum of tensors of the same shape."""

    @abstractmethod
    def concatenate(self, tensors: Sequence[Tensor], name: str) -> Tensor:
        """Concatenates tensors along the last axis."""

    @abstractmethod
    def gate(self, x: Tensor, own: Sequence[Tensor], name: str) -> list[Tensor]:
        """For each base, a learned mixture of its own output and the aggregate `x`."""

    @abstractmethod
    def aggregate(self, tensors: Sequence[Tensor], name: str) -> Tensor:
        """The sum of the bases with learned scales, or their mean: `config.aggregation`."""

    def each_base(
        self,
        streams: Sequence[Tensor],
        rates: Sequence[Sequence[int]],
        build: Callable[[int, Tensor], Tensor],
    ) -> list[Tensor]:
        """`build(base, x)` for each base and its stream `x`, the only tensor it may read.

        Bases with the same rates must build the same layers, except for the base in their names.
        """
        return [build(base, x) for base, x in enumerate(streams)]

    @abstractmethod
    def max_pool(
        self, x: Tensor, size: int, stride: int, name: str, *, padding: str = "same"
    ) -> Tensor:
        """The maximum of each window."""

    @abstractmethod
    def average_pool(self, x: Tensor, size: int, name: str) -> Tensor:
        """The mean of each `size` x `size` window, without overlap."""

    @abstractmethod
    def global_pool(self, x: Tensor, name: str, *, keepdims: bool = False) -> Tensor:
        """The mean over height and width: `(batch, channels)`, or `(batch, 1, 1, channels)`."""

    @abstractmethod
    def broadcast(self, pixel: Tensor, like: Tensor, name: str) -> Tensor:
        """One pixel, repeated over a map of the same size as `like`."""

    @abstractmethod
    def resize(self, x: Tensor, to: Tensor | int, name: str, *, final: bool = False) -> Tensor:
        """Resizes bilinearly to the height and width of another tensor, or by a factor.

        `config.align_corners` says how the maps align; `final` computes at least in float32.
        """

    @abstractmethod
    def dense(self, x: Tensor, units: int, name: str, *, final: bool = False) -> Tensor:
        """A real dense layer with bias on `(batch, channels)`."""

    @abstractmethod
    def dropout(self, x: Tensor, name: str) -> Tensor:
        """Drops values, or channels with `config.spatial_dropout`, at the rate `config.dropout`."""

    @abstractmethod
    def softmax(self, x: Tensor, name: str) -> Tensor:
        """Softmax over the last axis, at least in float32."""
