"""Exact segmentation metrics from integer pixel counts."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from sklearn.metrics import confusion_matrix


class PixelCounts:
    """Counts of pixels by true and predicted class, summed over any number of images.

    Args:
        num_classes: Classes including background.
    """

    def __init__(self, num_classes: int):
        self.matrix = np.zeros((num_classes, num_classes), np.int64)

    def add(self, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Adds class maps of equal shape, integers from 0 to `num_classes - 1`."""
        self.matrix += confusion_matrix(
            np.ravel(truth), np.ravel(predicted), labels=range(len(self.matrix))
        )

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of each class; NaN for a class that never occurs."""
        hits = np.diag(self.matrix)
        union = self.matrix.sum(0) + self.matrix.sum(1) - hits
        return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)

    @property
    def miou(self) -> float:
        """Mean of `iou` over the classes that occur."""
        return float(np.nanmean(self.iou))

    @property
    def pixel_accuracy(self) -> float:
        """Share of pixels whose class is right."""
        return float(np.trace(self.matrix) / self.matrix.sum())


def score(
    truths: Iterable[np.ndarray], predictions: Iterable[np.ndarray], num_classes: int
) -> PixelCounts:
    """The counts over pairs of class maps."""
    counts = PixelCounts(num_classes)
    for truth, predicted in zip(truths, predictions, strict=True):
        counts.add(truth, predicted)
    return counts
