"""Dilation rates of the bases: by name, by interval or one by one. Needs no TensorFlow."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from larq_groupnet.values import is_count

HALF = "half"
"""Value of `first_rates`: the first convolution of a stage has half the rate of the others."""

BPAC_RATES: tuple[int | str, ...] = (1, 1, "2-6", "6-10")
"""Binary parallel atrous convolution: at K=5 (2, 3, 4, 5, 6) and (6, 7, 8, 9, 10), as the authors'
released code intends (its loop overwrites them with the last one)."""

EQUAL_RATES: tuple[int | str, ...] = (1, 1, 4, 8)
"""The rates without BPAC at output stride 8, recalled from the paper, not checked."""


class Rates(NamedTuple):
    """Named rates.

    Attributes:
        rates: One entry of `atrous_rates` per stage, at output stride 8.
        first: The `first_rates` that go with them.
    """

    rates: tuple[int | str, ...]
    first: str | None = None


NAMED = {
    "bpac": Rates(BPAC_RATES),
    "equal": Rates(EQUAL_RATES),
    # The rates of the authors' released networks: of their default, plain backbone, and of the
    # backbone whose lists of rates are overwritten by their last entry.
    "released": Rates((1, 1, 2, 4), HALF),
    "released_bpac": Rates((1, 1, 6, 10)),
}

LARGEST = 1000
"""Largest rate. A convolution pads its map by the rate, so a far larger one fills the memory."""

_INTERVAL = re.compile(r"([1-9]\d*)-([1-9]\d*)")


def named(name: str, strides: tuple[int, ...]) -> tuple[int | str, ...]:
    """The rates of a name in `NAMED`, given the strides of the stages.

    Stages that keep stride 1 because of the output stride are dilated: the first of them with the
    rates of the third stage at output stride 8, the second with the rates of the fourth. So at
    output stride 16 the last stage has the rates of the third, on a map of half the size. At 32 no
    stage is dilated.
    """
    # The first stage always has stride 1.
    kept = [stage for stage in range(1, len(strides)) if strides[stage] == 1]
    rates: list[int | str] = [1] * len(strides)
    for stage, rate in zip(kept, NAMED[name].rates[2:], strict=False):
        rates[stage] = rate
    return tuple(rates)


def rate_of(entry: int | tuple[int, ...] | str, base: int, bases: int) -> int:
    """The rate of `base` (from 0) in a stage of `bases`; `entry` is an entry of `atrous_rates`."""
    if isinstance(entry, str):
        low, high = map(int, entry.split("-"))
        return _spread(low, high, bases)[base]
    return entry if isinstance(entry, int) else entry[base]


def expected(rates: Any, bases_per_stage: tuple[int, ...], strides: tuple[int, ...]) -> str:
    """The valid values, as a text, if `atrous_rates` is wrong; empty if it is right."""
    if isinstance(rates, str) and rates in NAMED:
        if set(strides) == {1}:
            return "rates per stage if no stage has a stride (names are for two dilated stages)"
        return ""
    return expected_entries(rates, bases_per_stage, tuple(NAMED))


def expected_entries(rates: Any, bases_per_stage: tuple[int, ...], names: tuple[str, ...]) -> str:
    """The valid values, as a text, if an entry of a stage is wrong; else empty.

    Args:
        rates: The given value.
        bases_per_stage: K of each stage.
        names: Other valid values.
    """
    if rates is None:
        return ""
    if not isinstance(rates, tuple) or len(rates) != len(bases_per_stage):
        others = ", ".join(map(repr, names))
        return f"None, {others}, or {len(bases_per_stage)} entries, one per stage"
    for stage, (entry, bases) in enumerate(zip(rates, bases_per_stage, strict=True), 1):
        if isinstance(entry, str):
            match = _INTERVAL.fullmatch(entry)
            if not match or not int(match[1]) <= int(match[2]) <= LARGEST:
                return f"an interval such as '2-6', of at most {LARGEST}, in stage {stage}"
            continue
        per_base = entry if isinstance(entry, tuple) else (entry,)
        if isinstance(entry, tuple) and len(entry) != bases:
            return f"{bases} rates in stage {stage}, one per base"
        if not all(is_count(rate, LARGEST) for rate in per_base):
            return f"integers from 1 to {LARGEST} in stage {stage}"
    return ""


def _spread(low: int, high: int, count: int) -> tuple[int, ...]:
    """Spreads `count` rates evenly over an interval. A single rate is the middle."""
    if count == 1:
        return ((low + high) // 2,)
    return tuple(low + (2 * k * (high - low) + count - 1) // (2 * count - 2) for k in range(count))
