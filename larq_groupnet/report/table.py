"""The table that ends a run."""

from __future__ import annotations

from typing import Any

from terminaltables import AsciiTable

METRICS = {
    "miou": "mIoU",
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
    "frequency_weighted_iou": "frequency-weighted IoU",
    "mean_boundary_f_score": "boundary F-score",
    "accuracy": "accuracy (top-1)",
    "top5": "accuracy (top-5)",
}
"""Metrics of a result in the order of the table."""

CLASS_METRICS = {
    "iou": "IoU",
    "class_accuracy": "accuracy",
    "boundary_f_score": "boundary F-score",
    "recall": "recall",
}
"""Likewise, of those that a result has for each class."""


def results_table(results: dict[str, Any]) -> str:
    """Keras beside LCE, from the `results.json` of a run."""
    keras, lce, ops = results["keras"], results["lce"], results["ops"]
    metrics = {name: label for name, label in METRICS.items() if name in keras}
    macs = {bits: count for bits, count in results["macs"].items() if count}
    rows = [
        [f"{results['name']} on {results['dataset']}", "Keras", "LCE (.tflite)"],
        *([f"test {label}", f"{keras[k]:.4f}", f"{lce[k]:.4f}"] for k, label in metrics.items()),
        [f"{results['unit']} of the same class", "", f"{100 * results['agreement']:.3f} %"],
        ["file size", f"{_mebibytes(keras)} (.h5)", _mebibytes(lce)],
        *([f"MACs, {bits}-bit", f"{count / 1e6:.1f} M", ""] for bits, count in macs.items()),
        ["binary convolutions", "", str(ops.get("LceBconv2d", 0))],
        ["other convolutions", "", str(ops.get("CONV_2D", 0))],
    ]
    return str(AsciiTable(rows).table)


def metrics_table(results: dict[str, Any]) -> str:
    """The Keras metrics of an evaluation without training."""
    keras = results["keras"]
    rows = [[f"{results['name']} on {results['dataset']}", "Keras"]]
    rows += [[f"test {label}", f"{keras[k]:.4f}"] for k, label in METRICS.items() if k in keras]
    return str(AsciiTable(rows).table)


def classes_table(results: dict[str, Any]) -> str:
    """The Keras metrics of each class: IoU, accuracy and boundary F-score, or recall."""
    keras = results["keras"]
    columns = {label: keras[key] for key, label in CLASS_METRICS.items() if key in keras}
    names = next(iter(columns.values()))
    rows = [["class", *columns]]
    rows += [[name, *(f"{values[name]:.4f}" for values in columns.values())] for name in names]
    return str(AsciiTable(rows).table)


def _mebibytes(file: dict[str, Any]) -> str:
    return f"{file['bytes'] / 2**20:.2f} MiB"
