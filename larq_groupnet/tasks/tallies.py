"""Tallies over any number of test images; counts are 64-bit integers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import confusion_matrix

from larq_groupnet.tasks.boundaries import BOUNDARY_TOLERANCE, BoundaryCounts
from larq_groupnet.tasks.calibration import Calibration, probabilities
from larq_groupnet.tasks.counting import judged_pixels, mean, ratio

CONFIDENCE = 0.95
"""Confidence level of the interval around a metric."""

_DRAWS = 1000
_MOST_PARTS = 2**22
"""Largest number of values kept for the interval, in the matrices of single images."""


class MeanTally:
    """The mean of one value per prediction, over any number of batches.

    Args:
        name: Name of the mean.
        measure: Maps truth and scores of a batch to the values.
    """

    def __init__(self, name: str, measure: Callable[[np.ndarray, np.ndarray], ArrayLike]):
        self.name, self.measure = name, measure
        self.total, self.count = 0.0, 0

    def add(self, truth: np.ndarray, scores: np.ndarray) -> None:
        """Adds a batch."""
        values = np.asarray(self.measure(truth, scores), np.float64)
        self.total += values.sum()
        self.count += values.size

    def to_dict(self, class_names: Sequence[str]) -> dict[str, Any]:
        """The mean by name; NaN without values."""
        return {self.name: self.total / self.count if self.count else float("nan")}


class LabelCounts:
    """Counts of images by true and predicted class.

    Args:
        num_classes: Number of classes.
        from_logits: True if scores are logits, not probabilities.
        temperature: Divides the logits.

    Attributes:
        matrix: The confusion matrix `(num_classes, num_classes) int64`: rows are true classes,
            columns predicted ones.
        calibrations: Temperature -> calibration of the probabilities, for 1 and `temperature`.
    """

    def __init__(self, num_classes: int, from_logits: bool = False, temperature: float = 1.0):
        self.matrix = np.zeros((num_classes, num_classes), np.int64)
        self.among_five = 0
        self.from_logits = from_logits
        self.calibrations = {t: Calibration() for t in (1.0, temperature)}

    def add(self, truth: np.ndarray, scores: np.ndarray) -> None:
        """Adds labels `(batch,)` and scores `(batch, num_classes)`."""
        labels = range(len(self.matrix))
        self.matrix += confusion_matrix(truth, scores.argmax(-1), labels=labels)
        best = np.argsort(-scores, axis=-1, kind="stable")[:, :5]
        self.among_five += int((best == truth[:, None]).any(-1).sum())
        for temperature, calibration in self.calibrations.items():
            calibration.add(truth, probabilities(scores, temperature, self.from_logits))

    @property
    def accuracy(self) -> float:
        """Share of images whose most probable class is right (top-1); NaN without images."""
        return float(ratio(np.trace(self.matrix), self.matrix.sum()))

    def to_dict(self, class_names: Sequence[str]) -> dict[str, Any]:
        """`accuracy`, `recall` by class name, and the confusion matrix (rows: truth).

        Also `top5` with more than five classes; `interval`, the Wilson interval of the accuracy;
        `baseline`, the accuracy of always naming the most common class; `calibration_error`, and
        `raw_calibration_error` before the temperature if there is one.
        """
        truths, total = self.matrix.sum(1), int(self.matrix.sum())
        recall = ratio(np.diag(self.matrix), truths)
        found = {
            "accuracy": self.accuracy,
            "recall": dict(zip(class_names, recall.tolist(), strict=True)),
            "confusion": self.matrix.tolist(),
        }
        if len(self.matrix) > 5:
            found["top5"] = float(ratio(np.int64(self.among_five), total))
        if total:
            common = int(truths.argmax())
            share = float(truths[common] / total)
            found["interval"] = list(wilson_interval(int(np.trace(self.matrix)), total))
            found["baseline"] = {"class": class_names[common], "accuracy": share}
            errors = [calibration.error for calibration in self.calibrations.values()]
            found["calibration_error"] = errors[-1]
            if len(errors) > 1:
                found["raw_calibration_error"] = errors[0]
        return found


class SegmentationCounts:
    """Counts of pixels by true and predicted class, ignoring void.

    Args:
        num_classes: Classes including background.
        boundary_tolerance: See `BoundaryCounts`.

    Attributes:
        matrix: The confusion matrix `(num_classes, num_classes) int64`: rows are true classes,
            columns predicted ones.
        boundary: Counts of the boundaries of classes.
        parts: The confusion matrix of each `add`, while there are few.
    """

    def __init__(self, num_classes: int, boundary_tolerance: float = BOUNDARY_TOLERANCE):
        self.matrix = np.zeros((num_classes, num_classes), np.int64)
        self.boundary = BoundaryCounts(num_classes, boundary_tolerance)
        self.parts: list[np.ndarray] = []

    def add(self, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Adds class maps of equal shape, `(..., height, width)` integers.

        Raises:
            ValueError: If a label is not a class.
        """
        classes = len(self.matrix)
        counted = judged_pixels(truth, predicted, classes)
        pairs = np.asarray(truth, np.int64)[counted] * classes + np.asarray(predicted)[counted]
        part = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
        self.matrix += part
        if part.any() and (len(self.parts) + 1) * part.size <= _MOST_PARTS:
            self.parts.append(part)
        self.boundary.add(truth, predicted)

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of each class; NaN for a class that never occurs."""
        return _iou(self.matrix)

    @property
    def miou(self) -> float:
        """Mean of `iou` over the classes that occur, in truth or prediction."""
        return mean(self.iou)

    @property
    def class_accuracy(self) -> np.ndarray:
        """Share of each class's true pixels that are right; NaN for a class without any."""
        return ratio(np.diag(self.matrix), self.matrix.sum(1))

    @property
    def mean_accuracy(self) -> float:
        """Mean of `class_accuracy` over the classes with true pixels."""
        return mean(self.class_accuracy)

    @property
    def frequency_weighted_iou(self) -> float:
        """Mean of `iou`, each class weighted by its share of the true pixels.

        Source: Long, Shelhamer and Darrell, CVPR 2015, section 5.
        """
        weights = self.matrix.sum(1)
        return float(ratio(np.nansum(weights * self.iou), weights.sum()))

    @property
    def pixel_accuracy(self) -> float:
        """Share of pixels whose class is right; NaN if there are none."""
        return float(ratio(np.trace(self.matrix), self.matrix.sum()))

    def to_dict(self, class_names: Sequence[str]) -> dict[str, Any]:
        """The metrics by name, including the confusion matrix (rows: truth).

        `iou`, `class_accuracy` and `boundary_f_score` are by class name. `interval` is the
        bootstrap interval of the mIoU; `baseline` is the mIoU of giving every pixel the most common
        class.
        """
        scores = self.boundary.f_score
        metrics = {
            "miou": self.miou,
            "pixel_accuracy": self.pixel_accuracy,
            "mean_accuracy": self.mean_accuracy,
            "frequency_weighted_iou": self.frequency_weighted_iou,
            "iou": dict(zip(class_names, self.iou.tolist(), strict=True)),
            "class_accuracy": dict(zip(class_names, self.class_accuracy.tolist(), strict=True)),
            "confusion": self.matrix.tolist(),
            "mean_boundary_f_score": self.boundary.mean_f_score,
            "boundary_f_score": dict(zip(class_names, scores.tolist(), strict=True)),
        }
        if self.matrix.any():
            common = int(self.matrix.sum(1).argmax())
            blind = np.zeros_like(self.matrix)
            blind[:, common] = self.matrix.sum(1)
            metrics["baseline"] = {"class": class_names[common], "miou": mean(_iou(blind))}
        if len(self.parts) > 1 and np.array_equal(sum(self.parts), self.matrix):
            metrics["interval"] = list(_drawn_interval(self.parts))
        return metrics


def wilson_interval(hits: int, total: int) -> tuple[float, float]:
    """The interval that holds the true share with `CONFIDENCE`, given `hits` of `total`."""
    from scipy.stats import binomtest  # Slow to import.

    found = binomtest(hits, total).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def _drawn_interval(parts: Sequence[np.ndarray]) -> tuple[float, float]:
    """The interval of the mIoU, by drawing as many images with replacement (bootstrap).

    Draws images because the pixels of one image tend to be right or wrong together.
    """
    count, classes = len(parts), len(parts[0])
    draws = np.random.RandomState(0).multinomial(count, [1 / count] * count, _DRAWS)
    sums = (draws @ np.reshape(parts, (count, -1))).reshape(_DRAWS, classes, classes)
    values = [mean(_iou(matrix)) for matrix in sums]
    low, high = np.nanquantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _iou(matrix: np.ndarray) -> np.ndarray:
    hits = np.diag(matrix)
    return ratio(hits, matrix.sum(0) + matrix.sum(1) - hits)
