"""The table that ends a run."""

from __future__ import annotations

from typing import Any

from terminaltables import AsciiTable


def results_table(results: dict[str, Any]) -> str:
    """Keras beside LCE, from the `results.json` of a run."""
    keras, lce, ops = results["keras"], results["lce"], results["ops"]
    rows = [
        [f"{results['name']} on {results['dataset']}", "Keras", "LCE (.tflite)"],
        ["test mIoU", f"{keras['miou']:.4f}", f"{lce['miou']:.4f}"],
        ["test pixel accuracy", f"{keras['pixel_accuracy']:.4f}", f"{lce['pixel_accuracy']:.4f}"],
        ["pixels of the same class", "", f"{100 * results['agreement']:.3f} %"],
        ["file size", f"{_mebibytes(keras)} (.h5)", _mebibytes(lce)],
        ["MACs, 1-bit", f"{results['macs']['1'] / 1e6:.1f} M", ""],
        ["MACs, 32-bit", f"{results['macs']['32'] / 1e6:.1f} M", ""],
        ["binary convolutions", "", str(ops.get("LceBconv2d", 0))],
        ["float convolutions", "", str(ops.get("CONV_2D", 0))],
    ]
    return str(AsciiTable(rows).table)


def _mebibytes(file: dict[str, Any]) -> str:
    return f"{file['bytes'] / 2**20:.2f} MiB"
