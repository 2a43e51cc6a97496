"""The picture and the table of a structure search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from larq_groupnet.report.letters import literal
from larq_groupnet.report.pictures import capital, save, wrapped
from larq_groupnet.report.table import text_table

_SEARCHED, _UNIFORM, _OTHER = "#0072b2", "#d55e00", "#999999"

Row = Mapping[str, Any]
"""A network: `ops`, `value` (its validation metric), `num_bases` (`1-2-3-2`)."""


@literal
def draw_frontier(
    trials: Sequence[Row],
    frontier: Sequence[Row],
    uniform: Sequence[Row],
    metric: str,
    path: Path,
    title: str,
    max_ops: float | None = None,
) -> None:
    """Draws the validation metric against OPs: all trials, their frontier, and uniform K as a line.

    Args:
        trials: The completed trials.
        frontier: The trials that no other beats in both, by ascending OPs.
        uniform: Networks with one K in all stages, by ascending K.
        metric: Name of the metric.
        path: PNG to write.
        title: Line above the picture.
        max_ops: The budget, if there is one.
    """
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    figure.suptitle(wrapped(title, figure), fontsize=11)
    axes.scatter(*_columns(trials), s=22, color=_OTHER, label="trial", zorder=2)
    axes.step(
        *_columns(frontier), where="post", color=_SEARCHED, linewidth=1.2, alpha=0.7, zorder=3
    )
    axes.plot(
        *_columns(frontier), "o", color=_SEARCHED, label="frontier of the trials (K by stage)",
        zorder=4,
    )  # fmt: skip
    axes.plot(
        *_columns(uniform), "s--", color=_UNIFORM, label="uniform K, the recipe as it is", zorder=3
    )
    for row in frontier:
        _name(axes, row, row["num_bases"], _SEARCHED, (0, 7), "center")
    for row in uniform:
        _name(axes, row, f"K={row['num_bases'].partition('-')[0]}", _UNIFORM, (6, -13), "left")
    if max_ops is not None:
        axes.axvline(max_ops / 1e6, color="black", linewidth=1, linestyle=":", label="budget")
    axes.set_xlabel("OPs for one image (millions; 64 binary MACs are one)")
    axes.set_ylabel(f"{capital(metric)}, validation set")
    axes.margins(x=0.08, y=0.12)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside lower center", ncols=4)
    save(figure, path, dpi=120)


def search_table(results: Mapping[str, Any]) -> str:
    """The frontier and uniform K by OPs, then the failed trials, from `results.json`."""
    metric = capital(results.get("label", results["metric"]))
    rows = [[f"{results['name']} on {results['dataset']}", "K by stage", "OPs (M)",
             "memory (KiB)", f"{metric}, validation"]]  # fmt: skip
    best = [row for row in results["trials"] if row["on_frontier"]]
    named = [(f"trial {row['trial']}", row) for row in best]
    named += [("uniform", row) for row in results["uniform"]]
    for name, row in sorted(named, key=lambda pair: pair[1]["ops"]):
        winner = " (winner)" if row.get("winner") else ""
        rows.append([
            name + winner, row["num_bases"], f"{row['ops'] / 1e6:,.3f}",
            f"{row['memory'] / 1024:,.1f}", f"{row['value']:.4f}",
        ])  # fmt: skip
    failed = [row for row in results["trials"] if row["value"] is None]
    lines = [f"Trial {row['trial']} {row['status']}: {row['failure']}" for row in failed]
    return "\n".join([text_table(rows, right=(2, 3, 4)), *lines])


def _columns(rows: Sequence[Row]) -> tuple[list[float], list[float]]:
    return [row["ops"] / 1e6 for row in rows], [row["value"] for row in rows]


def _name(axes: Any, row: Row, text: str, colour: str, offset: tuple[int, int], side: str) -> None:
    axes.annotate(
        text, (row["ops"] / 1e6, row["value"]), offset, textcoords="offset points",
        color=colour, fontsize=8, ha=side,
    )  # fmt: skip
