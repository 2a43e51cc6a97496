"""Helpers of the tallies: checks of class maps, and ratios that may have no data."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from larq_groupnet.data import VOID


def judged_pixels(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Checks that all labels are classes; returns True where the true label is not void."""
    judged = np.not_equal(truth, VOID)
    for name, labels in (("truth", np.asarray(truth)[judged]), ("predicted", predicted)):
        if np.size(labels) and (np.min(labels) < 0 or np.max(labels) >= classes):
            raise ValueError(
                f"labels: expected 0 to {classes - 1}, or {VOID} in truth. "
                f"Received: {name} from {np.min(labels)} to {np.max(labels)}"
            )
    return judged


def ratio(part: ArrayLike, whole: ArrayLike) -> np.ndarray:
    """`part / whole`, NaN where `whole` is 0."""
    return np.divide(
        part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) != 0
    )


def mean(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
