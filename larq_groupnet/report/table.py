"""The tables of a run's results."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from terminaltables import AsciiTable

MOST_CLASSES = 20
"""Largest number of classes that a table lists; with more, it lists the `WORST`."""
WORST = 5

COLUMNS = {"keras": "Keras", "lce": "converted", "interpreter": "LCE's interpreter"}
"""Key of an engine in the results of a run -> heading of its column."""


def text_table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Formats rows, heading first, as text; `right` lists the right-aligned columns."""
    table = AsciiTable(rows)
    table.justify_columns = dict.fromkeys(right, "right")
    return str(table.table)


def results_table(results: dict[str, Any]) -> str:
    """Keras beside the converted file, from the results of a run; only Keras without a file."""
    if "lce" not in results:
        return metrics_table(results)
    columns = {name: title for name, title in COLUMNS.items() if name in results}
    keras, lce, ops = results["keras"], results["lce"], results["ops"]
    macs = {bits: count for bits, count in results["macs"].items() if count}
    rows = [
        [_title(results), *columns.values()],
        *_metrics(results, [results[column] for column in columns]),
        *(
            [f"{name} {label}", *(_number(part[column][key]) for column in columns)]
            for name, part in results.get("also", {}).items()
            for key, label in _labels(results, "labels").items()
        ),
        [f"{results['unit']} of the same class", "", f"{100 * results['agreement']:.3f} %"],
        ["file size", f"{_mebibytes(keras)} (.h5)", _mebibytes(lce)],
        *([f"MACs, {bits}-bit", f"{count / 1e6:.1f} M", ""] for bits, count in macs.items()),
        ["binary convolutions", "", str(ops.get("LceBconv2d", 0))],
        ["other convolutions", "", str(ops.get("CONV_2D", 0))],
    ]
    return text_table(rows)


def metrics_table(results: dict[str, Any]) -> str:
    """The Keras metrics of an evaluation without training."""
    title = [_title(results), results.get("column", "Keras")]
    split = results.get("split", "test")
    rows = _metrics(results, [results["keras"]], "" if split == "all" else f"{split} ")
    return text_table([title, *rows])


def _metrics(
    results: dict[str, Any], columns: Sequence[dict[str, Any]], of: str = "test "
) -> list[list[str]]:
    """Rows of the headline, its interval and its baseline, of each class, and of other metrics."""
    (name, label), *others = _labels(results, "labels").items()
    rows = [[f"{of}{label}", *(_number(column[name]) for column in columns)]]
    if all("interval" in column for column in columns):
        ranges = [" to ".join(f"{each:.3f}" for each in c["interval"]) for c in columns]
        rows.append(["95 % interval", *ranges])
    if base := columns[0].get("baseline"):
        blind = [_number(base[name]), *[""] * (len(columns) - 1)]
        rows.append([f"{label} of always {base['class']}", *blind])
    for key, text in list(_labels(results, "class_labels").items())[:1]:
        values = columns[0][key]
        shown = [each for each in values if _number(values[each]) != "nan"]
        if len(shown) > MOST_CLASSES:
            shown = sorted(shown, key=lambda each: values[each])[:WORST]
            text = f"lowest {text}"
        rows += [[f"{text} of {n}", *(_number(c[key][n]) for c in columns)] for n in shown]
    rows += [[f"{of}{text}", *(_number(c[key]) for c in columns)] for key, text in others]
    return rows


def classes_table(results: dict[str, Any]) -> str:
    """The Keras metrics of each class; empty for a task without class metrics."""
    columns = {
        label: results["keras"][name] for name, label in _labels(results, "class_labels").items()
    }
    if not columns:
        return ""
    rows = [["class", *columns]]
    for name in next(iter(columns.values())):
        rows.append([name, *(_number(values[name]) for values in columns.values())])
    return text_table(rows)


def _title(results: dict[str, Any]) -> str:
    images, total = results.get("images"), results.get("of")
    part = f", {images} of {total} test images" if images != total else ""
    title = f"{results['name']} on {results['dataset']}"
    return textwrap.fill(title, 60, break_on_hyphens=False) + part  # A path may be long.


def _labels(results: dict[str, Any], kind: str) -> dict[str, str]:
    """The names of the metrics in these results, for a table."""
    return {
        name: label for name, label in results.get(kind, {}).items() if name in results["keras"]
    }


def _number(value: float | None) -> str:
    """Formats a number; `None` stands for NaN, such as the IoU of an absent class."""
    return "nan" if value is None else f"{value:.4f}"


def _mebibytes(file: dict[str, Any]) -> str:
    return f"{file['bytes'] / 2**20:.2f} MiB"
