"""What the tallies of a task share: checks of class maps, and ratios that may be of nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def judged_pixels(
    truth: np.ndarray, predicted: np.ndarray, classes: int, ignore: int | None
) -> np.ndarray:
    """Where the true label is not `ignore`, after a check that all labels are classes."""
    if np.shape(truth) != np.shape(predicted):
        raise ValueError(
            "Truth and prediction have the same shape. "
            f"Received: truth={np.shape(truth)}, predicted={np.shape(predicted)}"
        )
    judged = np.not_equal(truth, -1 if ignore is None else ignore)
    for name, labels in (("truth", np.asarray(truth)[judged]), ("predicted", predicted)):
        if np.size(labels) and (np.min(labels) < 0 or np.max(labels) >= classes):
            raise ValueError(
                f"Labels lie in 0 to {classes - 1}, or are ignore={ignore} in truth. "
                f"Received: {name} from {np.min(labels)} to {np.max(labels)}"
            )
    return judged


def checked_void(ignore: int | None, classes: int) -> int | None:
    """`ignore`, if it is none of the classes."""
    if ignore is not None and 0 <= ignore < classes:
        raise ValueError(
            "The ignored label is none of the classes; use a larger one, or None. "
            f"Received: ignore={ignore}, num_classes={classes}"
        )
    return ignore


def ratio(part: ArrayLike, whole: ArrayLike) -> np.ndarray:
    """`part / whole`, NaN where `whole` is 0."""
    return np.divide(
        part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) != 0
    )


def mean(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
