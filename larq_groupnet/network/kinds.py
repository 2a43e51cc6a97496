"""Parts of networks that can be added from outside: layouts, decompositions, heads.

A decorator of this module registers each of them where it is defined. The registries feed the
choices of `GroupNetConfig`, its error messages, the command lines and the search.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from larq_groupnet.errors import ConfigError
from larq_groupnet.registries import Registry
from larq_groupnet.values import is_count, native

if TYPE_CHECKING:
    from larq_groupnet.network.config import GroupNetConfig
    from larq_groupnet.network.ops import Ops, Tensor


class Conv(NamedTuple):
    """One convolution of a block: output channels, side of the kernel, stride."""

    filters: int
    kernel: int
    stride: int = 1


Convolutions = Callable[[int, int], Sequence[Conv]]
"""Channels of the stage and stride of the block -> the convolutions of the block, in order."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """A backbone: the convolutions of a block, and the number of blocks and channels per stage.

    Attributes:
        convolutions: Gives the convolutions of a block.
        blocks: Number of blocks in each stage.
        channels: Channels of each stage at width 1.
    """

    convolutions: Convolutions
    blocks: tuple[int, ...]
    channels: tuple[int, ...]


Wiring = Callable[["Ops", "Tensor"], Iterator[tuple[int, "Tensor"]]]
"""Operations and the output of the stem -> stage (from 0) and aggregate, group by group."""


@dataclasses.dataclass(frozen=True)
class Decomposition:
    """How the K bases of a network are wired.

    Attributes:
        wire: Builds all residual stages.
        uses: Options of `GroupNetConfig` that it uses; see `Option.optional`.
        binary: False for a network without bases or binary layers.
    """

    wire: Wiring
    uses: frozenset[str]
    binary: bool


Top = Callable[["Ops", Mapping[int, "Tensor"]], "Tensor"]
"""Operations and the last aggregate of each stage (from 0) -> the output of the network."""


@dataclasses.dataclass(frozen=True)
class Head:
    """The last part of a network, which reads the aggregates of the stages.

    Attributes:
        build: Builds it.
        task: Name of the task that trains and judges it.
        output: Kind of output if `GroupNetConfig.output` is `None`: `"probabilities"` or
            `"logits"` of the classes, or any other word for a head that does not classify.
        uses: Options of `GroupNetConfig` that it uses; see `Option.optional`.
        check: Raises a `ConfigError` for a configuration that does not fit this head.
    """

    build: Top
    task: str
    output: str
    uses: frozenset[str]
    check: Callable[[GroupNetConfig], None]


BLOCK_OPTIONS = ("aggregation", "shortcut", "projection", "relu")
"""Optional options that the binary blocks use."""

LAYOUTS: Registry[Layout] = Registry("layout", ConfigError)
DECOMPOSITIONS: Registry[Decomposition] = Registry("decomposition", ConfigError)
HEADS: Registry[Head] = Registry("head", ConfigError)


def layout(
    name: str, *, blocks: tuple[int, ...], channels: tuple[int, ...] = (64, 128, 256, 512)
) -> Callable[[Convolutions], Convolutions]:
    """Registers a block as the layout `name`.

    Args:
        name: Value of `GroupNetConfig.layout`.
        blocks: Number of blocks in each stage. Every stage except the first starts with a block of
            stride 2, until `output_stride` is reached.
        channels: Channels of each stage at width 1, as many as `blocks`.

    Returns:
        The decorator of a function that takes the stage's channels and the block's stride and
        returns the block's convolutions.
    """
    blocks, channels = native(blocks), native(channels)
    for sizes in (blocks, channels):
        if not (isinstance(sizes, tuple) and sizes and all(map(is_count, sizes))):
            raise ConfigError(
                "layout: expected blocks and channels as integers of at least 1, one per stage. "
                f"Received: {sizes!r} for {name!r}."
            )
    if len(blocks) != len(channels):
        raise ConfigError(
            f"layout: expected as many blocks as channels. Received: {blocks} and "
            f"{channels} for {name!r}."
        )

    return LAYOUTS.wrapping(name, lambda function: Layout(function, blocks, channels))


def decomposition(
    name: str, *, uses: Iterable[str] = BLOCK_OPTIONS, binary: bool = True
) -> Callable[[Wiring], Wiring]:
    """Registers a wiring as the decomposition `name`.

    Args:
        name: Value of `GroupNetConfig.decomposition`.
        uses: Optional options that it uses; the others must keep their defaults.
        binary: False if it has neither bases nor binary layers.

    Returns:
        The decorator of a generator that takes `ops` and the output of the stem, and yields each
        aggregate with the number of its stage (from 0).
    """
    used = _options(f"decomposition {name!r}", uses)
    return DECOMPOSITIONS.wrapping(name, lambda wire: Decomposition(wire, used, binary))


def head(
    name: str,
    *,
    task: str,
    output: str = "logits",
    uses: Iterable[str] = (),
    check: Callable[[GroupNetConfig], None] = lambda config: None,
) -> Callable[[Top], Top]:
    """Registers a function as the head `name`. See `Head` for the other arguments.

    Returns:
        The decorator of a function that takes `ops` and the last aggregate of each stage, and
        returns the output of the network.
    """
    used = _options(f"head {name!r}", uses)
    HEADS.check_function(name, check)
    if not isinstance(output, str) or not output:
        raise ConfigError(
            f"head {name!r}: expected a word for the kind of output, such as 'logits'. "
            f"Received: output={output!r}"
        )
    return HEADS.wrapping(name, lambda top: Head(top, task, output, used, check))


def _options(owner: str, uses: Iterable[str]) -> frozenset[str]:
    """The names of options. `config.unused_options` checks that they exist."""
    if isinstance(uses, str) or not isinstance(uses, Iterable):
        raise ConfigError(
            f"{owner}: expected uses as a tuple of options, such as ('relu',). "
            f"Received: uses={uses!r}"
        )
    return frozenset(uses)


def of_task(task: str) -> list[str]:
    """The heads that a task trains, in the order of registration."""
    return [name for name, found in HEADS.items() if found.task == task]
