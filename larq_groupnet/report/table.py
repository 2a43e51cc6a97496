"""The table that ends a run."""

from __future__ import annotations

from typing import Any

from terminaltables import AsciiTable


def results_table(results: dict[str, Any]) -> str:
    """Keras beside LCE, from the `results.json` of a run; Keras alone if nothing was converted."""
    if "lce" not in results:
        return metrics_table(results)
    keras, lce, ops = results["keras"], results["lce"], results["ops"]
    macs = {bits: count for bits, count in results["macs"].items() if count}
    rows = [
        [_title(results), "Keras", "LCE (.tflite)"],
        *_both(results, results, "test"),
        *(
            row
            for name, part in results.get("also", {}).items()
            for row in _both(results, part, name)
        ),
        [f"{results['unit']} of the same class", "", f"{100 * results['agreement']:.3f} %"],
        ["file size", f"{_mebibytes(keras)} (.h5)", _mebibytes(lce)],
        *([f"MACs, {bits}-bit", f"{count / 1e6:.1f} M", ""] for bits, count in macs.items()),
        ["binary convolutions", "", str(ops.get("LceBconv2d", 0))],
        ["other convolutions", "", str(ops.get("CONV_2D", 0))],
    ]
    return str(AsciiTable(rows).table)


def metrics_table(results: dict[str, Any]) -> str:
    """The Keras metrics of an evaluation without training."""
    rows = [[_title(results), "Keras"]]
    for name, label in _labels(results, "labels").items():
        rows.append([f"test {label}", _number(results["keras"][name])])
    return str(AsciiTable(rows).table)


def classes_table(results: dict[str, Any]) -> str:
    """The Keras metrics of each class; empty for a task without any."""
    columns = {
        label: results["keras"][name] for name, label in _labels(results, "class_labels").items()
    }
    if not columns:
        return ""
    rows = [["class", *columns]]
    for name in next(iter(columns.values())):
        rows.append([name, *(_number(values[name]) for values in columns.values())])
    return str(AsciiTable(rows).table)


def _title(results: dict[str, Any]) -> str:
    images, total = results.get("images"), results.get("of")
    part = f", {images} of {total} test images" if images != total else ""
    return f"{results['name']} on {results['dataset']}{part}"


def _both(results: dict[str, Any], part: dict[str, Any], of: str) -> list[list[str]]:
    """A row for each metric of one dataset."""
    return [
        [f"{of} {label}", _number(part["keras"][name]), _number(part["lce"][name])]
        for name, label in _labels(results, "labels").items()
    ]


def _labels(results: dict[str, Any], kind: str) -> dict[str, str]:
    """The metrics that these results have, and what a table calls them."""
    return {name: label for name, label in results[kind].items() if name in results["keras"]}


def _number(value: float | None) -> str:
    """`results.json` has `null` for a number that is none, such as the IoU of an absent class."""
    return "nan" if value is None else f"{value:.4f}"


def _mebibytes(file: dict[str, Any]) -> str:
    return f"{file['bytes'] / 2**20:.2f} MiB"
