"""`GroupNetConfig`: one frozen value that says everything about a network.

This module knows nothing of TensorFlow, so a configuration can be made, checked, compared and
written to JSON in milliseconds.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from larq_groupnet.errors import ConfigError, UnknownOptionError
from larq_groupnet.hints import did_you_mean
from larq_groupnet.network import atrous
from larq_groupnet.network.atrous import BPAC_RATES, EQUAL_RATES

__all__ = ["BPAC_RATES", "EQUAL_RATES", "ConfigError", "GroupNetConfig"]

DEPTHS = {
    "resnet18": ("basic", (2, 2, 2, 2)),
    "resnet34": ("basic", (3, 4, 6, 3)),
    "resnet50": ("bottleneck", (3, 4, 6, 3)),
}
"""Layout name -> (kind of block, blocks per stage)."""

STAGE_CHANNELS = (64, 128, 256, 512)
BOTTLENECK_EXPANSION = 4
NUM_STAGES = len(STAGE_CHANNELS)

DENSE_HEADS = ("fcn32s", "fcn16s", "deeplabv3")
"""Heads that give a score per pixel."""

ASPP_RATES = (12, 24, 36)
"""Dilation in DeepLabv3's head at output stride 8 (Chen et al., 2017)."""

NOT_BINARY_QUANTIZERS = ("ste_tern", "ste_heaviside", "dorefa_quantizer")
"""Larq quantizers that Larq Compute Engine has no binary kernel for."""

_QUANTIZERS = (
    "ste_sign",
    "approx_sign",
    "swish_sign",
    "magnitude_aware_sign",
    *NOT_BINARY_QUANTIZERS,
)

_CHOICES = {
    "layout": tuple(DEPTHS),
    "decomposition": ("layer", "group", "gated", "none"),
    "binary": (True, False, "activations"),
    "gate": ("block", "base"),
    "aggregation": ("scales", "mean"),
    "shortcut": ("conv", "block"),
    "padding": ("same", "torch"),
    "stem_stride": (1, 2, 4),
    "head": ("classifier", *DENSE_HEADS, None),
}


def _fail(field: str, expected: str, received: Any, hint: str = "") -> None:
    raise ConfigError(f"{field}: expected {expected}. Received: {field}={received!r}.{hint}")


def check_choice(field: str, value: Any, choices: Collection[Any]) -> None:
    """Raises a `ConfigError` unless the value is one of the choices, and of its type."""
    if not any(type(value) is type(c) and value == c for c in choices):
        expected = "one of " + ", ".join(repr(c) for c in choices)
        _fail(field, expected, value, did_you_mean(value, choices))


def _is_number(value: Any) -> bool:
    """Finite, and no truth value."""
    return isinstance(value, int | float) and type(value) is not bool and math.isfinite(value)


def _is_positive_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


@dataclasses.dataclass(frozen=True)
class GroupNetConfig:
    """Everything that distinguishes one Group-Net from another.

    Attributes:
        layout: `"resnet18"`, `"resnet34"` or `"resnet50"`: kind and number of blocks.
        stage_blocks: Blocks in each stage, four of them; `None` means the layout's own number.
        input_shape: `(height, width, channels)`. Height and width may be `None` (any size that
            `output_stride` divides), except with `padding="torch"`.
        num_classes: Length of the last axis of the logits.
        head: `"classifier"` (global average, dense), `"fcn32s"`, `"fcn16s"` or `"deeplabv3"`
            (dense prediction, see `heads`) or `None` (the last aggregate).
        num_bases: K, the number of parallel binary branches: an int, or one per stage.
        width: Factor on the channels of every layer (64 to 512 at 1.0).
        decomposition: How the K bases are wired: `"layer"` (LBD), `"group"` (GBD) or `"gated"`
            (Group-Net). `"none"` is the plain real-valued ResNet, to compare with.
        blocks_per_group: Blocks in one group of `decomposition="group"`: 1, 2 and the number of
            blocks of the whole net are the paper's v1, v2 and v3 (as recalled).
        gate: One learned gate per `"block"` (released code) or per `"base"` (paper, as recalled).
        aggregation: `"scales"` (learned, conference paper) or `"mean"` (journal).
        first_base_sums: Whether the first base's own output, as the next gate reads it, is the sum
            over all bases (only imported weights of one released variant need it).
        shortcut: Around every `"conv"` (Group-Net**) or around each `"block"` (Group-Net);
            names of the paper's tables as recalled.
        stem_stride: 4 is convolution 7x7/2 and max-pool 3x3/2; 2 the convolution 7x7/2 alone; 1 a
            convolution 3x3/1.
        stem_bias: Whether the first convolution has a bias (only imported weights need it).
        output_stride: Input size over size of the last feature map. Stages that would exceed it
            keep stride 1.
        atrous_rates: Dilation of the 3x3 convolutions: `None` (1 everywhere); `"bpac"` or
            `"equal"`, for the stages that keep stride 1 because of `output_stride` (see
            `atrous.named`); or one entry per stage, each an int for all bases, one int per base,
            or `"low-high"` to spread the bases evenly over an interval, whatever K is (as in
            `BPAC_RATES`). The convolution that strides keeps rate 1.
        padding: `"same"` (TensorFlow's) or `"torch"` (symmetric, as the authors' weights need).
        binary: `False` gives the twin of training phase 1: the same graph and weight names, real
            kernels, tanh where sign will be. `"activations"` has binary activations and real
            kernels.
        input_quantizer: Larq quantizer of the activations.
        kernel_quantizer: Larq quantizer of the kernels.
        dropout: Rate before the last convolution of the segmentation head.
        batch_norm_epsilon: Constant of every batch normalisation.
        batch_norm_momentum: Weight of the old moving average (PyTorch's 0.1 is 0.9 here).
    """

    layout: str = "resnet18"
    stage_blocks: tuple[int, ...] | None = None
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3)
    num_classes: int = 1000
    head: str | None = "classifier"
    num_bases: int | tuple[int, ...] = 5
    width: float = 1.0
    decomposition: str = "gated"
    blocks_per_group: int = 1
    gate: str = "block"
    aggregation: str = "scales"
    first_base_sums: bool = False
    shortcut: str = "conv"
    stem_stride: int = 4
    stem_bias: bool = False
    output_stride: int = 32
    atrous_rates: str | tuple[int | tuple[int, ...] | str, ...] | None = None
    padding: str = "same"
    binary: bool | str = True
    input_quantizer: str | Mapping | Any = "ste_sign"
    kernel_quantizer: str | Mapping | Any = "ste_sign"
    dropout: float = 0.1
    batch_norm_epsilon: float = 1e-5
    batch_norm_momentum: float = 0.9

    def __post_init__(self) -> None:
        for field in ("stage_blocks", "input_shape", "num_bases", "atrous_rates"):
            object.__setattr__(self, field, _as_tuple(getattr(self, field)))
        self._check_choices()
        self._check_sizes()
        self._check_bases()
        self._check_strides()
        self._check_rates()
        self._check_head()

    # Derived values, one place each.

    @property
    def block_kind(self) -> str:
        """`"basic"` or `"bottleneck"`."""
        return DEPTHS[self.layout][0]

    @property
    def blocks(self) -> tuple[int, ...]:
        """Blocks in each stage."""
        return self.stage_blocks or DEPTHS[self.layout][1]

    @property
    def bases_per_stage(self) -> tuple[int, ...]:
        """K of each stage."""
        if isinstance(self.num_bases, int):
            return (self.num_bases,) * NUM_STAGES
        return self.num_bases

    @property
    def stage_channels(self) -> tuple[int, ...]:
        """Channels of the convolutions of each stage (before a bottleneck's expansion)."""
        return tuple(int(round(c * self.width)) for c in STAGE_CHANNELS)

    @property
    def stage_strides(self) -> tuple[int, ...]:
        """Stride of the first block of each stage."""
        strides, total = [], self.stem_stride
        for natural in (1, 2, 2, 2):
            strides.append(natural if total * natural <= self.output_stride else 1)
            total *= strides[-1]
        return tuple(strides)

    @property
    def aspp_rates(self) -> tuple[int, ...]:
        """Dilation in the branches of DeepLabv3's head: the same reach in pixels of the image."""
        return tuple(max(rate * 8 // self.output_stride, 1) for rate in ASPP_RATES)

    def rate(self, stage: int, base: int) -> int:
        """Dilation of the 3x3 convolutions of `base` in `stage` (both counted from 0)."""
        rates = self.atrous_rates
        if rates is None:
            return 1
        if isinstance(rates, str):
            rates = atrous.named(rates, self.stage_strides)
        return atrous.rate_of(rates[stage], base, self.bases_per_stage[stage])

    def replace(self, **changes: Any) -> GroupNetConfig:
        """A copy with other values, checked like a new one."""
        unknown = sorted(set(changes) - {f.name for f in dataclasses.fields(self)})
        if unknown:
            raise UnknownOptionError(
                f"GroupNetConfig has no option {', '.join(unknown)}. Options: "
                + ", ".join(f.name for f in dataclasses.fields(self))
            )
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GroupNetConfig:
        """The inverse of `to_dict`, also after a trip through JSON."""
        return cls().replace(**values)

    def _check_choices(self) -> None:
        for field, choices in _CHOICES.items():
            check_choice(field, getattr(self, field), choices)
        for field in ("input_quantizer", "kernel_quantizer"):
            value = getattr(self, field)
            known = value in _QUANTIZERS if isinstance(value, str) else callable(value)
            if not known and not isinstance(value, Mapping):
                expected = "a Larq quantizer, or one of " + ", ".join(_QUANTIZERS)
                _fail(field, expected, value, did_you_mean(value, _QUANTIZERS))
        for field in ("stem_bias", "first_base_sums"):
            if not isinstance(getattr(self, field), bool):
                _fail(field, "True or False", getattr(self, field))

    def _check_sizes(self) -> None:
        blocks = self.stage_blocks
        blocks_ok = isinstance(blocks, tuple) and len(blocks) == NUM_STAGES
        if blocks is not None and not (blocks_ok and all(map(_is_positive_int, blocks))):
            _fail("stage_blocks", f"None or {NUM_STAGES} integers of at least 1", blocks)
        shape = self.input_shape
        sizes_ok = isinstance(shape, tuple) and len(shape) == 3 and _is_positive_int(shape[2])
        if not sizes_ok or not all(s is None or _is_positive_int(s) for s in shape[:2]):
            _fail("input_shape", "(height, width, channels) of positive integers", shape)
        if self.padding == "torch" and None in shape:
            _fail("input_shape", "a fixed height and width with padding='torch'", shape)
        if not _is_positive_int(self.num_classes):
            _fail("num_classes", "an integer of at least 1", self.num_classes)
        if not _is_number(self.width) or self.width <= 0 or min(self.stage_channels) < 1:
            _fail("width", f"a number that leaves a channel of {STAGE_CHANNELS[0]}", self.width)
        if not _is_number(self.dropout) or not 0 <= self.dropout < 1:
            _fail("dropout", "a rate in [0, 1)", self.dropout)
        if not _is_number(self.batch_norm_epsilon) or self.batch_norm_epsilon <= 0:
            _fail("batch_norm_epsilon", "a positive number", self.batch_norm_epsilon)
        momentum = self.batch_norm_momentum
        if not _is_number(momentum) or not 0 <= momentum < 1:
            _fail("batch_norm_momentum", "a number in [0, 1)", momentum)

    def _check_bases(self) -> None:
        bases = self.num_bases
        per_stage = bases if isinstance(bases, tuple) else (bases,) * NUM_STAGES
        if len(per_stage) != NUM_STAGES or not all(map(_is_positive_int, per_stage)):
            _fail("num_bases", f"an integer of at least 1, or {NUM_STAGES} of them", bases)
        if self.decomposition == "none" and (set(per_stage) != {1} or self.binary is not False):
            _fail(
                "decomposition",
                "one that has bases, or num_bases=1 and binary=False beside 'none', which is the "
                f"plain real-valued network (num_bases={bases}, binary={self.binary})",
                self.decomposition,
            )
        if self.decomposition == "none" and self.padding == "torch":
            _fail("padding", "'same' with decomposition='none'", self.padding)
        total = sum(self.blocks)
        if not _is_positive_int(self.blocks_per_group) or self.blocks_per_group > total:
            _fail("blocks_per_group", f"an integer from 1 to {total}", self.blocks_per_group)
        if self.blocks_per_group > 1 and self.decomposition != "group":
            _fail(
                "blocks_per_group",
                f"1 with decomposition={self.decomposition!r} (only 'group' has groups of blocks)",
                self.blocks_per_group,
            )
        if self.gate != "block" and self.decomposition != "gated":
            _fail(
                "gate",
                f"'block' with decomposition={self.decomposition!r} (only 'gated' has gates)",
                self.gate,
            )
        if self.first_base_sums and self.decomposition != "gated":
            _fail(
                "first_base_sums",
                f"False with decomposition={self.decomposition!r} (only 'gated' hands on what each "
                "base gave)",
                self.first_base_sums,
            )
        if len(set(per_stage)) > 1 and self.blocks_per_group > 1:
            _fail(
                "num_bases",
                "one K for all stages with blocks_per_group > 1 (a chain of blocks cannot change "
                "its number of bases half-way)",
                bases,
            )

    def _check_strides(self) -> None:
        strides = [self.stem_stride * 2**i for i in range(NUM_STAGES)]
        if type(self.output_stride) is not int or self.output_stride not in strides:
            _fail(
                "output_stride",
                f"one of {strides} with stem_stride={self.stem_stride}",
                self.output_stride,
            )
        for size in self.input_shape[:2]:
            if size is not None and size % self.output_stride:
                below = size // self.output_stride * self.output_stride
                sizes = [s for s in (below, below + self.output_stride) if s]
                _fail(
                    "input_shape",
                    f"sizes that the output stride {self.output_stride} divides (nearest to "
                    f"{size}: {' or '.join(map(str, sizes))})",
                    self.input_shape,
                )

    def _check_rates(self) -> None:
        rates, strides = self.atrous_rates, self.stage_strides
        if expected := atrous.expected(rates, self.bases_per_stage, strides):
            _fail("atrous_rates", expected, rates, did_you_mean(rates, atrous.NAMED))

    def _check_head(self) -> None:
        before = sum(self.blocks[:-1])
        if self.head == "fcn16s" and before % self.blocks_per_group:
            _fail(
                "blocks_per_group",
                f"a divisor of {before} with head='fcn16s', which reads the aggregate at the end "
                "of the third stage",
                self.blocks_per_group,
            )


def _as_tuple(value: Any) -> Any:
    """Lists (from JSON, from a user) become tuples, so that a config is hashable."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_as_tuple(v) for v in value)
    return value
