"""`GroupNetConfig`: a frozen description of a whole network.

This module needs no TensorFlow, so a configuration can be made, checked, compared and
written to JSON in milliseconds.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any

from larq_groupnet.errors import ConfigError, UnknownOptionError
from larq_groupnet.hints import did_you_mean
from larq_groupnet.network import atrous
from larq_groupnet.network.kinds import DECOMPOSITIONS, HEADS, LAYOUTS, Conv
from larq_groupnet.network.options import Option, choice, fail, option
from larq_groupnet.network.precision import QUANTIZERS
from larq_groupnet.values import is_count, is_number, is_positive, native

ASPP_RATES = (12, 24, 36)
"""Dilation rates in DeepLabv3's head at output stride 8 (Chen et al., 2017)."""

RENAMED = {"backbone": "layout", "atrous": "atrous_rates"}
"""Old name of an option -> its current name."""

MOST = 1000
"""Maximum of bases, and of blocks per stage. Ten thousand take seconds to count."""

LARGEST = 10**6
"""Largest height, width and channels of images, and most classes. TensorFlow fails far beyond."""

WIDEST = 100
"""Largest `width`: a 3x3 kernel then takes 94 GB."""

_OUTPUTS = ("probabilities", "logits")

_SHARE: dict[str, Any] = {
    "expected": "a number in [0, 1)",
    "is_valid": lambda value: is_number(value, 0, 1),
}
_QUANTIZER: dict[str, Any] = {
    "names": tuple(QUANTIZERS),
    "expected": "a Larq quantizer, or one of " + ", ".join(QUANTIZERS),
    "is_valid": lambda value: (
        value in QUANTIZERS
        if isinstance(value, str)
        else callable(value) or isinstance(value, Mapping)
    ),
}


@dataclasses.dataclass(frozen=True)
class GroupNetConfig:
    """Everything that distinguishes one Group-Net from another.

    Attributes:
        layout: `"resnet18"`, `"resnet34"` or `"resnet50"`: kind and number of blocks.
        stage_blocks: Number of blocks in each stage; `None` for the layout's own numbers.
        input_shape: `(height, width, channels)`. Height and width may be `None` (any size), except
            with `padding="torch"`. The size of a map is that of the image divided by its stride,
            rounded up.
        num_classes: Length of the last axis of the logits; at least 2 if the network gives
            probabilities.
        head: `"classifier"` (global average, dense), `"fcn32s"`, `"fcn16s"` or `"deeplabv3"`
            (dense prediction, see `heads`) or `None` (the last aggregate).
        output: `"probabilities"` or `"logits"`; `None` for the head's default:
            probabilities for `"classifier"`, logits for the others.
        num_bases: K, the number of parallel binary branches: an int, or one per stage.
        width: Factor on the channels of every layer (64 to 512 at 1.0), at most 100.
        decomposition: How the K bases are wired: `"layer"` (LBD), `"group"` (GBD) or `"gated"`
            (Group-Net). `"none"` is the plain real-valued ResNet, for comparison.
        blocks_per_group: Blocks in one group of `decomposition="group"`: 1, 2 and the number of
            blocks of the whole net are the paper's v1, v2 and v3 (as recalled).
        gate: One learned gate per `"block"` (released code) or per `"base"` (paper, as recalled).
        aggregation: `"scales"` (learned, conference paper) or `"mean"` (journal).
        first_base_sums: True if the next gate reads the sum over all bases as the first base's own
            output (only imported weights of one released variant need it).
        shortcut: A shortcut around every `"conv"` (Group-Net**) or around each `"block"`
            (Group-Net); names as recalled from the paper's tables.
        projection: Where stride or width changes, the shortcut is a `"binary"` 1x1 convolution
            (Group-Net), or an average pool and a `"real"` one (Bi-Real Net).
        relu: True for a ReLU between convolution and normalisation (Bi-Real Net has none).
        stem_stride: 4 for a 7x7/2 convolution and a 3x3/2 max-pool; 2 for the 7x7/2 convolution
            alone; 1 for a 3x3/1 convolution.
        stem_bias: True if the first convolution has a bias (only imported weights need it).
        stem_pool: Max-pool `"before_norm"` (Group-Net) or `"after_norm"` (Bi-Real Net).
        output_stride: Image size divided by the size of the last feature map. Stages that would
            exceed it keep stride 1.
        shared_shortcut: True if all bases share the convolution and the normalisation of a shortcut
            where stride or width changes (released code), False if each base has its own.
        atrous_rates: Dilation rates of 3x3 convolutions: `None` (1 everywhere); a name, `"bpac"`,
            `"equal"`, `"released"` or `"released_bpac"`, for the stages that keep stride 1 because
            of `output_stride` (see `atrous.named`); or one entry per stage, each an int for all
            bases, one int per base, or `"low-high"` to spread the bases evenly over an interval,
            whatever K is (as in `BPAC_RATES`). Strided convolutions keep rate 1.
        first_rates: Dilation rates of the first 3x3 convolution of each stage: `"half"` of the
            other rates (rounded down, at least 1); one entry per stage, as in `atrous_rates`; or
            `None` for the same rates as the others (or those that go with the name in
            `atrous_rates`).
        padding: `"same"` (TensorFlow's, with +1 around binary convolutions), `"torch"` (symmetric
            with +1, as the authors' weights need) or `"zero"` (TensorFlow's with 0, Bi-Real Net).
        binary: `False` gives the twin of training phase 1: the same graph and weight names, real
            kernels, tanh instead of sign. `"activations"` has binary activations and real
            kernels.
        input_quantizer: Larq quantizer of the activations.
        kernel_quantizer: Larq quantizer of the kernels.
        dropout: Dropout rate before the last convolution of the segmentation head.
        spatial_dropout: True to drop whole channels (released code), False for single values.
        align_corners: How scores are resized to the image: True aligns the centres of the corner
            pixels (released code), False aligns the corners of the maps, with pixels as squares.
        batch_norm_epsilon: Constant of every batch normalisation.
        batch_norm_momentum: Weight of the old moving average (PyTorch's 0.1 is 0.9 here).
    """

    layout: str = option("resnet18", "weights", choices=lambda: list(LAYOUTS))
    stage_blocks: tuple[int, ...] | None = option(None, "weights")
    input_shape: tuple[int | None, int | None, int] = option(
        (224, 224, 3),
        "weights",  # The channels; weights fit any size.
        of_task=True,
        expected=f"(height, width, channels), integers from 1 to {LARGEST:,}",
        is_valid=lambda shape: (
            isinstance(shape, tuple)
            and len(shape) == 3
            and is_count(shape[2], LARGEST)
            and all(size is None or is_count(size, LARGEST) for size in shape[:2])
        ),
    )
    num_classes: int = option(
        1000,
        "head",
        of_task=True,
        expected=f"an integer from 1 to {LARGEST:,}",
        is_valid=lambda count: is_count(count, LARGEST),
    )
    head: str | None = option("classifier", "head", of_task=True, choices=lambda: [*HEADS, None])
    output: str | None = choice(None, "arithmetic", *_OUTPUTS, None, of_task=True)
    num_bases: int | tuple[int, ...] = option(5, "weights", search=tuple(range(1, 9)))
    width: float = option(1.0, "weights")
    decomposition: str = option(
        "gated", "weights", choices=lambda: list(DECOMPOSITIONS), search=("gated", "group", "layer")
    )
    blocks_per_group: int = option(1, "weights", optional=True)
    gate: str = choice("block", "weights", "block", "base", optional=True, search=("block", "base"))
    aggregation: str = choice(
        "scales", "weights", "scales", "mean", optional=True, search=("scales", "mean")
    )
    first_base_sums: bool = choice(False, "weights", False, True, optional=True)
    shortcut: str = choice(
        "conv", "weights", "conv", "block", optional=True, search=("conv", "block")
    )
    projection: str = choice("binary", "weights", "binary", "real", optional=True)
    shared_shortcut: bool = choice(False, "weights", False, True, optional=True)
    relu: bool = choice(True, "weights", True, False, optional=True)
    stem_stride: int = choice(4, "arithmetic", 1, 2, 4)
    stem_bias: bool = choice(False, "weights", False, True)
    stem_pool: str = choice("before_norm", "weights", "before_norm", "after_norm")
    output_stride: int = option(32, "arithmetic", of_task=True)
    atrous_rates: str | tuple[int | tuple[int, ...] | str, ...] | None = option(
        None, "arithmetic", of_task=True
    )
    first_rates: str | tuple[int | tuple[int, ...] | str, ...] | None = option(
        None, "arithmetic", of_task=True, expected="None, 'half', or one entry per stage"
    )
    padding: str = choice("same", "arithmetic", "same", "torch", "zero")
    binary: bool | str = choice(True, "weights", True, False, "activations")
    input_quantizer: str | Mapping | Any = option("ste_sign", "weights", **_QUANTIZER)
    kernel_quantizer: str | Mapping | Any = option("ste_sign", "weights", **_QUANTIZER)
    dropout: float = option(0.1, "training", of_task=True, optional=True, **_SHARE)
    spatial_dropout: bool = choice(False, "training", False, True, of_task=True, optional=True)
    align_corners: bool = choice(False, "arithmetic", False, True, of_task=True, optional=True)
    batch_norm_epsilon: float = option(
        1e-5, "weights", expected="a positive number", is_valid=is_positive
    )
    batch_norm_momentum: float = option(0.9, "training", **_SHARE)

    def __post_init__(self) -> None:
        for name, about in OPTIONS.items():
            object.__setattr__(self, name, native(getattr(self, name)))
            about.check(name, getattr(self, name))
        self._check_sizes()
        self._check_bases()
        self._check_optional()
        self._check_strides()
        if expected := atrous.expected(self.atrous_rates, self.bases_per_stage, self.stage_strides):
            hint = did_you_mean(self.atrous_rates, atrous.NAMED)
            fail("atrous_rates", expected, self.atrous_rates, hint)
        if self.first_rates != atrous.HALF and (
            expected := atrous.expected_entries(
                self.first_rates, self.bases_per_stage, (atrous.HALF,)
            )
        ):
            fail("first_rates", expected, self.first_rates)
        if self.head is not None:
            HEADS[self.head].check(self)

    def __hash__(self) -> int:
        """Leaves out the quantizers, which may be dictionaries."""
        return hash(tuple(getattr(self, name) for name in OPTIONS if "quantizer" not in name))

    # Derived values, each defined once.

    @functools.cached_property
    def blocks(self) -> tuple[int, ...]:
        """Number of blocks in each stage."""
        return self.stage_blocks or LAYOUTS[self.layout].blocks

    @functools.cached_property
    def bases_per_stage(self) -> tuple[int, ...]:
        """K of each stage."""
        if isinstance(self.num_bases, int):
            return (self.num_bases,) * len(self.blocks)
        return self.num_bases

    @functools.cached_property
    def stage_channels(self) -> tuple[int, ...]:
        """Channels of each stage, before a bottleneck multiplies them."""
        return tuple(int(round(c * self.width)) for c in LAYOUTS[self.layout].channels)

    @functools.cached_property
    def stage_strides(self) -> tuple[int, ...]:
        """Stride of the first block of each stage."""
        strides, total = [], self.stem_stride
        for stage in range(len(self.blocks)):
            natural = 2 if stage else 1
            strides.append(natural if total * natural <= self.output_stride else 1)
            total *= strides[-1]
        return tuple(strides)

    @property
    def aspp_rates(self) -> tuple[int, ...]:
        """Dilation rates in DeepLabv3's head, scaled to reach the same distance in the image."""
        return tuple(max(rate * 8 // self.output_stride, 1) for rate in ASPP_RATES)

    @property
    def gives(self) -> str | None:
        """Kind of output: `"probabilities"`, `"logits"`, ...; `None` without a head."""
        if self.head is None:
            return None
        return self.output or HEADS[self.head].output

    def convolutions(self, stage: int, index: int) -> tuple[Conv, ...]:
        """The convolutions of the block `index` of `stage`, both counted from 0."""
        return self._convolutions[stage][index > 0]

    @functools.cached_property
    def _convolutions(self) -> list[list[tuple[Conv, ...]]]:
        """For each stage, the convolutions of the first block and of the others."""
        sizes = zip(self.stage_channels, self.stage_strides, strict=True)
        return [[self._block(filters, s) for s in (stride, 1)] for filters, stride in sizes]

    def _block(self, filters: int, stride: int) -> tuple[Conv, ...]:
        """The layout's convolutions for the channels of a stage and the stride of a block."""
        found = LAYOUTS[self.layout].convolutions(filters, stride)
        convs = tuple(found) if isinstance(found, Iterable) else ()
        right = all(isinstance(conv, Conv) and all(map(is_count, conv)) for conv in convs)
        if not convs or not right or math.prod(conv.stride for conv in convs) != stride:
            raise ConfigError(
                f"layout: expected {self.layout!r} to return, for {filters} channels and stride "
                f"{stride}, a list of Conv of positive integers, whose strides multiply to "
                f"{stride}. Received: {convs or found!r}"
            )
        return convs

    @functools.cached_property
    def rates(self) -> tuple[tuple[int, ...], ...]:
        """Dilation rates of the 3x3 convolutions except the first: one per stage and base."""
        given = self.atrous_rates
        if given is None:
            given = (1,) * len(self.blocks)
        if isinstance(given, str):
            given = atrous.named(given, self.stage_strides)
        return self._per_base(given)

    @functools.cached_property
    def first_rates_per_base(self) -> tuple[tuple[int, ...], ...]:
        """Dilation rates of the first 3x3 convolution: one per stage and base."""
        given = self.first_rates
        if given is None and isinstance(self.atrous_rates, str):
            given = atrous.NAMED[self.atrous_rates].first
        if given is None:
            return self.rates
        if isinstance(given, str):
            return tuple(tuple(max(rate // 2, 1) for rate in stage) for stage in self.rates)
        return self._per_base(given)

    def _per_base(self, entries: tuple[Any, ...]) -> tuple[tuple[int, ...], ...]:
        return tuple(
            tuple(atrous.rate_of(entry, base, bases) for base in range(bases))
            for entry, bases in zip(entries, self.bases_per_stage, strict=True)
        )

    def rate(self, stage: int, base: int) -> int:
        """Dilation rate of `base` in `stage` (both from 0), except in the first 3x3 convolution."""
        return self.rates[stage][base]

    def dilations(self, stage: int, index: int) -> list[tuple[int, ...]]:
        """For each convolution of a block, the rate of each base; stage and block from 0."""
        return self._dilations[stage][index > 0]

    @functools.cached_property
    def _dilations(self) -> list[list[list[tuple[int, ...]]]]:
        """For each stage, the dilation rates of the first block and of the others."""
        found = []
        for stage, bases in enumerate(self.bases_per_stage):
            blocks = []
            for block, first in zip(self._convolutions[stage], (True, False), strict=True):
                rates: list[tuple[int, ...]] = []
                for conv in block:
                    chosen = self.first_rates_per_base if first else self.rates
                    dilates = conv.kernel > 1 and conv.stride == 1
                    rates.append(chosen[stage] if dilates else (1,) * bases)
                    first = first and conv.kernel == 1
                blocks.append(rates)
            found.append(blocks)
        return found

    def replace(self, **changes: Any) -> GroupNetConfig:
        """A copy with other values, checked like a new one."""
        unknown = sorted(set(changes) - set(OPTIONS))
        if unknown:
            renamed = [f"{name} is now {RENAMED[name]}. " for name in unknown if name in RENAMED]
            raise UnknownOptionError(
                f"GroupNetConfig has no option {', '.join(unknown)}. {''.join(renamed)}"
                f"Options: {', '.join(OPTIONS)}"
            )
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GroupNetConfig:
        """The inverse of `to_dict`, also after a trip through JSON.

        Reads values of earlier versions, too: it renames old options and drops those that their
        network does not use.
        """
        values = {RENAMED.get(name, name): value for name, value in values.items()}
        unused = unused_options(
            values.get("decomposition", cls.decomposition), values.get("head", cls.head)
        )
        return cls().replace(**{k: v for k, v in values.items() if k not in unused})

    def _check_sizes(self) -> None:
        blocks, stages = self.stage_blocks, len(LAYOUTS[self.layout].blocks)
        blocks_ok = isinstance(blocks, tuple) and len(blocks) == stages
        if blocks is not None and not (blocks_ok and all(is_count(n, MOST) for n in blocks)):
            fail("stage_blocks", f"None or {stages} integers from 1 to {MOST}", blocks)
        if self.padding == "torch" and None in self.input_shape:
            fail("input_shape", "a fixed height and width with padding='torch'", self.input_shape)
        channels = LAYOUTS[self.layout].channels[0]
        wide = is_number(self.width) and self.width <= WIDEST
        if not wide or min(self.stage_channels) < 1:
            expected = f"a number of at most {WIDEST} that leaves 1 of {channels} channels or more"
            fail("width", expected, self.width)

    def _check_bases(self) -> None:
        bases, stages = self.num_bases, len(self.blocks)
        per_stage = bases if isinstance(bases, tuple) else (bases,) * stages
        if len(per_stage) != stages or not all(is_count(k, MOST) for k in per_stage):
            fail("num_bases", f"an integer from 1 to {MOST}, or {stages} of them", bases)
        real = not DECOMPOSITIONS[self.decomposition].binary
        if real and (set(per_stage) != {1} or self.binary is not False):
            fail(
                "decomposition",
                f"one that has bases, or num_bases=1 and binary=False with "
                f"{self.decomposition!r}, which is the plain real-valued network "
                f"(num_bases={bases}, binary={self.binary})",
                self.decomposition,
            )
        if real and self.padding != "same":
            fail("padding", f"'same' with decomposition={self.decomposition!r}", self.padding)
        total = sum(self.blocks)
        if not is_count(self.blocks_per_group) or self.blocks_per_group > total:
            fail("blocks_per_group", f"an integer from 1 to {total}", self.blocks_per_group)
        if len(set(per_stage)) > 1 and self.blocks_per_group > 1:
            fail(
                "num_bases",
                "one K for all stages with blocks_per_group > 1 (a chain of blocks cannot change "
                "its number of bases half-way)",
                bases,
            )

    def _check_optional(self) -> None:
        for name in unused_options(self.decomposition, self.head):
            default = getattr(type(self), name)
            if getattr(self, name) != default:
                fail(
                    name,
                    f"{default!r} with decomposition={self.decomposition!r} and "
                    f"head={self.head!r} (used by {_users(name)} only)",
                    getattr(self, name),
                )
        classifies = self.head is not None and HEADS[self.head].output in _OUTPUTS
        if self.output is not None and not classifies:
            fail("output", f"None with head={self.head!r}, which scores no classes", self.output)
        if self.gives == "probabilities" and self.num_classes < 2:
            fail(
                "num_classes",
                f"at least 2 with probabilities of head={self.head!r}, which are 1 for one class; "
                "a class and all else are two",
                self.num_classes,
            )

    def _check_strides(self) -> None:
        strides = [self.stem_stride * 2**i for i in range(len(self.blocks))]
        if type(self.output_stride) is not int or self.output_stride not in strides:
            fail(
                "output_stride",
                f"one of {strides} with stem_stride={self.stem_stride}",
                self.output_stride,
            )


OPTIONS: dict[str, Option] = {
    field.name: field.metadata["option"] for field in dataclasses.fields(GroupNetConfig)
}
"""Every option of a network and its description."""


def fields_affecting(*kinds: str) -> tuple[str, ...]:
    """The options that affect one of `kinds`; see `options.AFFECTS`."""
    return tuple(name for name, about in OPTIONS.items() if about.affects in kinds)


def fields_of_task() -> tuple[str, ...]:
    """The options that belong to the task and keep their value with weights of another task."""
    return tuple(name for name, about in OPTIONS.items() if about.of_task)


def search_values() -> dict[str, tuple[Any, ...]]:
    """Option -> the values worth searching."""
    return {name: about.search for name, about in OPTIONS.items() if about.search}


def unused_options(decomposition: str, head: str | None) -> set[str]:
    """The options that neither the decomposition nor the head uses."""
    used = DECOMPOSITIONS.find(decomposition).uses
    if head is not None:
        used = used | HEADS.find(head).uses
    optional = {name for name, about in OPTIONS.items() if about.optional}
    for name in sorted(used - optional):
        expected = f"options that not every network has ({', '.join(sorted(optional))})"
        received = f"uses={name!r} of decomposition={decomposition!r} or head={head!r}"
        raise ConfigError(
            f"uses: expected {expected}. Received: {received}.{did_you_mean(name, optional)}"
        )
    return optional - used


def parents() -> dict[str, tuple[str, str]]:
    """Option -> `("decomposition", NAME)`, if only one decomposition uses it."""
    found = {}
    for name in (name for name, about in OPTIONS.items() if about.optional):
        wirings = [value for value, known in DECOMPOSITIONS.items() if name in known.uses]
        if len(wirings) == 1:
            found[name] = ("decomposition", wirings[0])
    return found


def _users(name: str) -> str:
    """The decompositions and heads that use an option."""
    kinds: list[tuple[str, Any]] = [*DECOMPOSITIONS.items(), *HEADS.items()]
    return ", ".join(repr(user) for user, found in kinds if name in found.uses)
