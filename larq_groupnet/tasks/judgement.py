"""Compares a converted file with its Keras model: may it be used in its place?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from larq_groupnet.tasks.task import Thresholds, kind_in

INT8 = Thresholds(agreement=0.0, gap=0.01)
"""For a file of integers only the metric counts: a value halfway between two levels may be rounded
to either and change a sign. On the shipped `groupnet_dsp` 8 % of the pixels get another class, at
an mIoU of 0.702 for 0.699 (`convert_int8` compares layer by layer)."""


def disagreement(results: Mapping[str, Any]) -> str | None:
    """One line that says how the file differs from Keras; `None` if it may be used.

    Args:
        results: Content of a `results.json`.
    """
    if "lce" not in results:
        return None
    headline, unit = results["headline"], results["unit"]
    gap = abs(results["keras"][headline] - results["lce"][headline])
    allowed = INT8 if results["macs"].get("8", 0) > 0 else kind_in(results).thresholds
    if gap <= allowed.gap and results["agreement"] >= allowed.agreement:
        return None
    return (
        "The converted file disagrees with Keras, do not deploy it: expected the same prediction "
        f"for at least {allowed.agreement:.1%} of the {unit} and {headline} within {allowed.gap}. "
        f"Received: {results['agreement']:.3%} and {gap:.4f}."
    )
