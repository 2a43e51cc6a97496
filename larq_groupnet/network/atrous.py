"""Dilation rates of the bases: by name, by interval or one by one. Knows nothing of TensorFlow."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from larq_groupnet.values import is_count

HALF = "half"
"""As `first_rates`: the first convolution of a stage has half the rate of the others."""

BPAC_RATES: tuple[int | str, ...] = (1, 1, "2-6", "6-10")
"""Binary parallel atrous convolution: at K=5 (2, 3, 4, 5, 6) and (6, 7, 8, 9, 10), as the authors'
released code intends (its loop overwrites them with the last one)."""

EQUAL_RATES: tuple[int | str, ...] = (1, 1, 4, 8)
"""The rates without BPAC at output stride 8, as recalled from the paper, not re-read."""


class Rates(NamedTuple):
    """Rates that have a name.

    Attributes:
        rates: An entry of `atrous_rates` for each stage at output stride 8.
        first: `first_rates` beside them.
    """

    rates: tuple[int | str, ...]
    first: str | None = None


NAMED = {
    "bpac": Rates(BPAC_RATES),
    "equal": Rates(EQUAL_RATES),
    # What the authors' released networks run: the plain backbone, which is their default, and
    # the one whose lists of rates are overwritten by their last entry.
    "released": Rates((1, 1, 2, 4), HALF),
    "released_bpac": Rates((1, 1, 6, 10)),
}

LARGEST = 1000
"""Rate. A map is padded by it, so that a far larger one takes all memory."""

_INTERVAL = re.compile(r"([1-9]\d*)-([1-9]\d*)")


def named(name: str, strides: tuple[int, ...]) -> tuple[int | str, ...]:
    """The rates that a name of `NAMED` stands for, given the strides of the stages.

    The first stage that keeps stride 1 in order not to exceed the output stride is dilated as the
    third stage at output stride 8, the second as the fourth. So at output stride 16 the last stage
    has the rates of the third, on a map of half the size, and at 32 none has any.
    """
    # The first stage never strides.
    kept = [stage for stage in range(1, len(strides)) if strides[stage] == 1]
    rates: list[int | str] = [1] * len(strides)
    for stage, rate in zip(kept, NAMED[name].rates[2:], strict=False):
        rates[stage] = rate
    return tuple(rates)


def rate_of(entry: int | tuple[int, ...] | str, base: int, bases: int) -> int:
    """The rate of `base` (from 0) in a stage of `bases`; `entry` is one of `atrous_rates`."""
    if isinstance(entry, str):
        low, high = map(int, entry.split("-"))
        return _spread(low, high, bases)[base]
    return entry if isinstance(entry, int) else entry[base]


def expected(rates: Any, bases_per_stage: tuple[int, ...], strides: tuple[int, ...]) -> str:
    """Says what was expected where `atrous_rates` is wrong; empty where it is right."""
    if isinstance(rates, str) and rates in NAMED:
        if set(strides) == {1}:
            return "rates per stage where no stage strides (names are for two dilated stages)"
        return ""
    return expected_entries(rates, bases_per_stage, tuple(NAMED))


def expected_entries(rates: Any, bases_per_stage: tuple[int, ...], names: tuple[str, ...]) -> str:
    """What one entry per stage should have been; nothing if they are right or `None`.

    Args:
        rates: What was given.
        bases_per_stage: K of each stage.
        names: What else it may have been.
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
            return f"integers of 1 to {LARGEST} in stage {stage}"
    return ""


def _spread(low: int, high: int, count: int) -> tuple[int, ...]:
    """Spreads `count` rates evenly over an interval. A single rate is the middle."""
    if count == 1:
        return ((low + high) // 2,)
    return tuple(low + (2 * k * (high - low) + count - 1) // (2 * count - 2) for k in range(count))
