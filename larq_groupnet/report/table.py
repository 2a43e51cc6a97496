"""The table that ends a run."""

from __future__ import annotations

from typing import Any

from terminaltables import AsciiTable


def results_table(results: dict[str, Any]) -> str:
    """Keras beside LCE, from the `results.json` of a run."""
    keras, lce, macs = results["keras"], results["lce"], results["macs"]
    rows = [
        [f"{results['name']} on {results['dataset']}", "Keras", "LCE (.tflite)"],
        ["test mIoU", f"{keras['miou']:.4f}", f"{lce['miou']:.4f}"],
        ["test pixel accuracy", f"{keras['pixel_accuracy']:.4f}", f"{lce['pixel_accuracy']:.4f}"],
        ["pixels of the same class", "", f"{100 * results['agreement']:.3f} %"],
        [
            "file size",
            f"{keras['bytes'] / 2**20:.2f} MiB (.h5)",
            f"{lce['bytes'] / 2**20:.2f} MiB",
        ],
        [
            "MACs, 1-bit",
            f"{macs['1'] / 1e6:.1f} M",
            f"{results['ops'].get('LceBconv2d', 0)} LceBconv2d",
        ],
        [
            "MACs, 32-bit",
            f"{macs['32'] / 1e6:.1f} M",
            f"{results['ops'].get('CONV_2D', 0)} CONV_2D",
        ],
    ]
    return str(AsciiTable(rows).table)
