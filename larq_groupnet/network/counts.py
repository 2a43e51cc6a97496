"""The costs of a network: per part, in total, as a table and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from terminaltables import AsciiTable

BINARY_SPEEDUP = 64
"""Binary MACs that count as one operation."""


@dataclasses.dataclass(frozen=True)
class Counts:
    """What one part of a network costs, for one image.

    The twin is the real-valued single-branch network of the same layout: K=1 with real kernels,
    no scales, no gates. It is the plain ResNet with the same width, stem, strides and head, and its
    batch normalisations are counted in the same way.

    Attributes:
        params: Bit width -> number of parameters.
        macs: Precision in bits (the larger of kernel and input) -> multiply-accumulates.
        multiplications: Element-wise multiplications of gates and aggregates.
        additions: Element-wise additions of gates, aggregates and shortcuts.
        receptive_field: Side of the receptive field of one pixel of the last feature map, in image
            pixels. Includes dilation, follows the base that reaches farthest and ignores the
            border. 0 for the head.
        twin_params: Parameters of the twin.
        twin_macs: MACs of the twin.
    """

    params: Mapping[int, int] = dataclasses.field(default_factory=dict)
    macs: Mapping[int, int] = dataclasses.field(default_factory=dict)
    multiplications: int = 0
    additions: int = 0
    receptive_field: int = 0
    twin_params: int = 0
    twin_macs: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            _merge(self.params, other.params),
            _merge(self.macs, other.macs),
            self.multiplications + other.multiplications,
            self.additions + other.additions,
            max(self.receptive_field, other.receptive_field),
            self.twin_params + other.twin_params,
            self.twin_macs + other.twin_macs,
        )

    @property
    def memory(self) -> dict[int, float]:
        """Bit width -> bytes of the parameters."""
        return {bits: bits * count / 8 for bits, count in self.params.items()}

    @property
    def total_memory(self) -> float:
        """Bytes of all parameters."""
        return sum(self.memory.values())

    @property
    def ops(self) -> float:
        """Real MACs + binary MACs / 64; MACs of other precisions count as real ones."""
        binary = self.macs.get(1, 0)
        return sum(self.macs.values()) - binary + binary / BINARY_SPEEDUP

    @property
    def memory_compression(self) -> float:
        """Memory of the real-valued twin divided by this memory; 1 if both are 0."""
        return 4 * self.twin_params / self.total_memory if self.total_memory else 1.0

    @property
    def ops_compression(self) -> float:
        """OPs of the real-valued twin divided by these OPs; 1 if both are 0."""
        return self.twin_macs / self.ops if self.ops else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; bit widths become strings."""
        values = dataclasses.asdict(self) | {"memory": self.memory}
        for name in ("params", "memory", "macs"):
            values[name] = {str(bits): count for bits, count in values[name].items()}
        derived = ("total_memory", "ops", "memory_compression", "ops_compression")
        return values | {name: getattr(self, name) for name in derived}


@dataclasses.dataclass(frozen=True)
class Complexity:
    """The cost of a network for one image.

    Attributes:
        stages: `stem`, `stage1`, `stage2` ... and `head`, in this order.
    """

    stages: Mapping[str, Counts]

    @property
    def total(self) -> Counts:
        """The sum over all stages."""
        return sum(self.stages.values(), Counts())

    def to_dict(self) -> dict[str, Any]:
        """`{"stages": {name: ...}, "total": ...}` of plain values, fit for JSON."""
        stages = {name: counts.to_dict() for name, counts in self.stages.items()}
        return {"stages": stages, "total": self.total.to_dict()}

    def table(self) -> str:
        """One row per stage, then the total; `report` explains the columns."""
        total = self.total
        heading = ["", *(f"{bits}-bit\nparameters" for bits in total.params), "Memory\n(KiB)"]
        heading += [f"{bits}-bit\nMACs (M)" for bits in total.macs]
        heading += ["OPs\n(M)", "Multipli-\ncations\n(M)", "Additions\n(M)", "Receptive\nfield"]
        rows = [[*heading, "Memory\nratio", "OPs\nratio"]]
        for name, counts in {**self.stages, "total": total}.items():
            row = [name, *(f"{counts.params.get(bits, 0):,}" for bits in total.params)]
            row += [f"{counts.total_memory / 1024:,.1f}"]
            work: list[float] = [counts.macs.get(bits, 0) for bits in total.macs]
            work += [counts.ops, counts.multiplications, counts.additions]
            row += [f"{number / 1e6:,.2f}" for number in work]
            row += [str(counts.receptive_field or "-")]
            rows += [[*row, f"{counts.memory_compression:.2f}", f"{counts.ops_compression:.2f}"]]
        table = AsciiTable(rows)
        table.inner_column_border, table.inner_footing_row_border = False, True
        table.justify_columns = dict.fromkeys(range(1, len(rows[0])), "right")
        return str(table.table)

    def __str__(self) -> str:
        return self.table()


def _merge(first: Mapping[int, int], second: Mapping[int, int]) -> dict[int, int]:
    bits = sorted({*first, *second})
    return {b: first.get(b, 0) + second.get(b, 0) for b in bits}
