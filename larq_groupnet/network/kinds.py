"""What varies between networks and can be added from outside: layouts, decompositions, heads.

Each is registered where it is defined, by a decorator of this module. The registries feed the
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
    """A backbone: the convolutions of a block, and the blocks and channels of each stage.

    Attributes:
        convolutions: What one block consists of.
        blocks: Blocks of each stage.
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
        uses: Options of `GroupNetConfig` that mean something here; see `Option.optional`.
        binary: False for a network without bases or binary layers.
    """

    wire: Wiring
    uses: frozenset[str]
    binary: bool


Top = Callable[["Ops", Mapping[int, "Tensor"]], "Tensor"]
"""Operations and the last aggregate of each stage (from 0) -> the output of the network."""


@dataclasses.dataclass(frozen=True)
class Head:
    """What stands on the aggregates of the stages.

    Attributes:
        build: Builds it.
        task: Name of the task that trains and judges it.
        output: What it gives if `GroupNetConfig.output` is `None`: `"probabilities"` or
            `"logits"` of the classes, or any other word for a head that does not classify.
        uses: Options of `GroupNetConfig` that mean something here; see `Option.optional`.
        check: Raises a `ConfigError` for a configuration that this head does not go with.
    """

    build: Top
    task: str
    output: str
    uses: frozenset[str]
    check: Callable[[GroupNetConfig], None]


BLOCK_OPTIONS = ("aggregation", "shortcut", "projection", "relu")
"""Optional options that the binary blocks have a use for."""

LAYOUTS: Registry[Layout] = Registry("layout", ConfigError)
DECOMPOSITIONS: Registry[Decomposition] = Registry("decomposition", ConfigError)
HEADS: Registry[Head] = Registry("head", ConfigError)


def layout(
    name: str, *, blocks: tuple[int, ...], channels: tuple[int, ...] = (64, 128, 256, 512)
) -> Callable[[Convolutions], Convolutions]:
    """Registers a block as the layout `name`.

    Args:
        name: Value of `GroupNetConfig.layout`.
        blocks: Blocks of each stage. Every stage but the first starts with a block of stride 2,
            unless `output_stride` is reached.
        channels: Channels of each stage at width 1, as many as `blocks`.

    Returns:
        The decorator of a function of the stage's channels and the block's stride, which returns
        the block's convolutions.
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
            f"layout: expected blocks and channels of the same stages. Received: {blocks} and "
            f"{channels} for {name!r}."
        )

    return LAYOUTS.wrapping(name, lambda function: Layout(function, blocks, channels))


def decomposition(
    name: str, *, uses: Iterable[str] = BLOCK_OPTIONS, binary: bool = True
) -> Callable[[Wiring], Wiring]:
    """Registers a wiring as the decomposition `name`.

    Args:
        name: Value of `GroupNetConfig.decomposition`.
        uses: Options that mean something with it; others must keep their default.
        binary: False if it has neither bases nor binary layers.

    Returns:
        The decorator of a generator of `ops` and the output of the stem, which yields the number of
        the stage (from 0) with each aggregate.
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
    """Registers a function as the head `name`; the arguments are those of `Head`.

    Returns:
        The decorator of a function of `ops` and the aggregate of each stage, which returns the
        output of the network.
    """
    used = _options(f"head {name!r}", uses)
    HEADS.check_function(name, check)
    if not isinstance(output, str) or not output:
        raise ConfigError(
            f"head {name!r}: expected output as a word for what it gives, such as 'logits'. "
            f"Received: output={output!r}"
        )
    return HEADS.wrapping(name, lambda top: Head(top, task, output, used, check))


def _options(owner: str, uses: Iterable[str]) -> frozenset[str]:
    """The names of options; whether there are such, `config.unused_options` checks."""
    if isinstance(uses, str) or not isinstance(uses, Iterable):
        raise ConfigError(
            f"{owner}: expected uses as a tuple of options, such as ('relu',). "
            f"Received: uses={uses!r}"
        )
    return frozenset(uses)


def of_task(task: str) -> list[str]:
    """The heads that a task trains, in the order of registration."""
    return [name for name, found in HEADS.items() if found.task == task]
