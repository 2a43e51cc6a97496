"""Decides whether a converted file may replace its Keras model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from larq_groupnet.tasks.task import Thresholds, kind_in

INT8 = Thresholds(agreement=0.0, gap=0.01)
"""For an int8 file, only the metric counts: a value halfway between two levels may be rounded to
either and change a sign. On the shipped `groupnet_dsp`, 8 % of the pixels get another class than in
Keras, with an mIoU of 0.702 instead of 0.699 (`convert_int8` compares layer by layer)."""


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
    allowed = _of_few(results, allowed)
    if gap <= allowed.gap and results["agreement"] >= allowed.agreement:
        return None
    return (
        "The converted file disagrees with Keras, do not deploy it: expected the same prediction "
        f"for at least {allowed.agreement:.1%} of the {unit} and {headline} within "
        f"{allowed.gap:.2g}. Received: {results['agreement']:.3%} and {gap:.4f}."
    )


def no_better(results: Mapping[str, Any]) -> str | None:
    """One line if a network may be no better than always naming the most common class.

    Args:
        results: Content of a `results.json`.
    """
    found, headline = results["keras"], results["headline"]
    base, value = found.get("baseline"), found[headline]
    interval = found.get("interval", [value])  # The mIoU of one image has none.
    if not base or interval[0] > base[headline]:
        return None
    label = kind_in(results).labels.get(headline, headline)
    between = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval[1:] else ""
    return (
        f"This may be no better than always naming {base['class']}: {label} {value:.3f}{between}, "
        f'against {base[headline]:.3f}. See "If the result is poor" in docs/photos-to-pi.md.'
    )


def _of_few(results: Mapping[str, Any], allowed: Thresholds) -> Thresholds:
    """Relaxes the thresholds for few test images, where one image or a noisy metric proves nothing.

    One image in 24 is 4 % of the predictions. The mIoU of 6 photos is known to within 0.1, and
    changes by 0.004 if 0.2 % of the pixels differ.
    """
    if results["unit"] == "images" and results.get("images"):
        one = 1.000001 / results["images"]
        return Thresholds(min(allowed.agreement, 1 - one), max(allowed.gap, one))
    low, high = results["keras"].get("interval", (0, 0))
    return allowed._replace(gap=max(allowed.gap, (high - low) / 20))
