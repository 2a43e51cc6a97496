"""Tallies of test images: counted in 64-bit integers, summed over any number of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import confusion_matrix

from larq_groupnet.data import VOID

BOUNDARY_TOLERANCE = 0.0075
"""How far apart two boundaries may be, as a share of the image's diagonal; see `BoundaryCounts`."""


CONFIDENCE = 0.95
"""Of the interval around a metric."""

_DRAWS = 1000
_MOST_PARTS = 2**22
"""Numbers in the matrices of single images that are kept for the interval."""


class MeanTally:
    """The mean of a value that every prediction has, over any number of batches.

    Args:
        name: Of the mean.
        measure: Truth and scores of a batch -> the values.
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

    Attributes:
        matrix: The confusion matrix `(num_classes, num_classes) int64`: rows are true classes,
            columns predicted ones.
    """

    def __init__(self, num_classes: int):
        self.matrix = np.zeros((num_classes, num_classes), np.int64)
        self.among_five = 0

    def add(self, truth: np.ndarray, scores: np.ndarray) -> None:
        """Adds labels `(batch,)` and scores `(batch, num_classes)`."""
        labels = range(len(self.matrix))
        self.matrix += confusion_matrix(truth, scores.argmax(-1), labels=labels)
        best = np.argsort(-scores, axis=-1, kind="stable")[:, :5]
        self.among_five += int((best == truth[:, None]).any(-1).sum())

    @property
    def accuracy(self) -> float:
        """Share of images whose most probable class is right (top-1); NaN without images."""
        return float(_ratio(np.trace(self.matrix), self.matrix.sum()))

    def to_dict(self, class_names: Sequence[str]) -> dict[str, Any]:
        """`accuracy`, `recall` by class name, and the confusion matrix (rows: truth).

        Beside them `top5` where there are more than five classes; `interval`, Wilson's for the
        accuracy; `baseline`, the accuracy of always naming the most common class.
        """
        truths, total = self.matrix.sum(1), int(self.matrix.sum())
        recall = _ratio(np.diag(self.matrix), truths)
        found = {
            "accuracy": self.accuracy,
            "recall": dict(zip(class_names, recall.tolist(), strict=True)),
            "confusion": self.matrix.tolist(),
        }
        if len(self.matrix) > 5:
            found["top5"] = float(_ratio(np.int64(self.among_five), total))
        if total:
            common = int(truths.argmax())
            share = float(truths[common] / total)
            found["interval"] = list(wilson_interval(int(np.trace(self.matrix)), total))
            found["baseline"] = {"class": class_names[common], "accuracy": share}
        return found


class SegmentationCounts:
    """Counts of pixels by true and predicted class.

    Args:
        num_classes: Classes including background.
        ignore: Label of pixels that are not counted, or `None`.
        boundary_tolerance: If given, boundaries are judged too; see `BoundaryCounts`.

    Attributes:
        matrix: The confusion matrix `(num_classes, num_classes) int64`: rows are true classes,
            columns predicted ones.
        boundary: `BoundaryCounts` or `None`.
        parts: The confusion matrix of each `add`, as long as they are few.

    Raises:
        ValueError: If `ignore` is one of the classes.
    """

    def __init__(
        self, num_classes: int, ignore: int | None = VOID, boundary_tolerance: float | None = None
    ):
        self.ignore = checked_void(ignore, num_classes)
        self.matrix = np.zeros((num_classes, num_classes), np.int64)
        self.boundary: BoundaryCounts | None = None
        self.parts: list[np.ndarray] = []
        if boundary_tolerance is not None:
            self.boundary = BoundaryCounts(num_classes, boundary_tolerance, ignore)

    def add(self, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Adds class maps of equal shape, `(..., height, width)` integers.

        Raises:
            ValueError: If a label is not a class, or the shapes differ.
        """
        classes = len(self.matrix)
        counted = _judged(truth, predicted, classes, self.ignore)
        pairs = np.asarray(truth, np.int64)[counted] * classes + np.asarray(predicted)[counted]
        part = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
        self.matrix += part
        if part.any() and (len(self.parts) + 1) * part.size <= _MOST_PARTS:
            self.parts.append(part)
        if self.boundary:
            self.boundary.add(truth, predicted)

    def __add__(self, other: SegmentationCounts) -> SegmentationCounts:
        """The counts of both, as of two replicas."""
        total = SegmentationCounts(len(self.matrix), self.ignore)
        total.matrix = self.matrix + _same_classes(self.matrix, other.matrix)
        total.parts = self.parts + other.parts
        if self.boundary and other.boundary:
            total.boundary = self.boundary + other.boundary
        return total

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of each class; NaN for a class that never occurs."""
        return _iou(self.matrix)

    @property
    def miou(self) -> float:
        """Mean of `iou` over the classes that occur, in truth or prediction."""
        return _mean(self.iou)

    @property
    def class_accuracy(self) -> np.ndarray:
        """Share of each class's pixels that are right; NaN for a class never true."""
        return _ratio(np.diag(self.matrix), self.matrix.sum(1))

    @property
    def mean_accuracy(self) -> float:
        """Mean of `class_accuracy` over the classes that are ever true."""
        return _mean(self.class_accuracy)

    @property
    def frequency_weighted_iou(self) -> float:
        """Mean of `iou`, each class weighted by its share of the true pixels.

        Source: Long, Shelhamer and Darrell, CVPR 2015, section 5.
        """
        weights = self.matrix.sum(1)
        return float(_ratio(np.nansum(weights * self.iou), weights.sum()))

    @property
    def pixel_accuracy(self) -> float:
        """Share of pixels whose class is right; NaN if there are none."""
        return float(_ratio(np.trace(self.matrix), self.matrix.sum()))

    def to_dict(self, class_names: Sequence[str]) -> dict[str, Any]:
        """The metrics by name, the confusion matrix (rows: truth) among them.

        `iou` and `class_accuracy`, and `boundary_f_score` where judged, are by class name.
        `interval` is that of the mIoU, by drawing images anew; `baseline` the mIoU of giving every
        pixel the most common class.
        """
        metrics = {
            "miou": self.miou,
            "pixel_accuracy": self.pixel_accuracy,
            "mean_accuracy": self.mean_accuracy,
            "frequency_weighted_iou": self.frequency_weighted_iou,
            "iou": dict(zip(class_names, self.iou.tolist(), strict=True)),
            "class_accuracy": dict(zip(class_names, self.class_accuracy.tolist(), strict=True)),
            "confusion": self.matrix.tolist(),
        }
        if self.matrix.any():
            common = int(self.matrix.sum(1).argmax())
            blind = np.zeros_like(self.matrix)
            blind[:, common] = self.matrix.sum(1)
            metrics["baseline"] = {"class": class_names[common], "miou": _mean(_iou(blind))}
        if len(self.parts) > 1 and np.array_equal(sum(self.parts), self.matrix):
            metrics["interval"] = list(_drawn_interval(self.parts))
        if self.boundary:
            scores = self.boundary.f_score
            metrics["mean_boundary_f_score"] = self.boundary.mean_f_score
            metrics["boundary_f_score"] = dict(zip(class_names, scores.tolist(), strict=True))
        return metrics


class BoundaryCounts:
    """How many boundary pixels of each class have a counterpart nearby.

    A pixel is on the boundary of its class if a neighbour above, below, left or right has another
    class. It is matched if the other map has a boundary pixel of that class within the tolerance.
    Precision is the matched share of the predicted boundary, recall that of the true one, over
    all images; the F-score is their harmonic mean.

    Matching by distance, and the tolerance of 0.75 % of the diagonal, are those of Csurka,
    Larlus and Perronnin, "What is a good evaluation measure for semantic segmentation?", BMVC
    2013. They average over images; here pixels are summed over all images before dividing, as
    the boundary benchmarks of Berkeley do, so that replicas can be merged exactly.

    Pascal VOC draws a strip of void along every object. Void pixels therefore take the class of
    the nearest judged pixel, which puts the boundary in the middle of the strip, and boundaries
    further inside void than the tolerance are not counted.

    Args:
        num_classes: Classes including background.
        tolerance: In pixels if at least 1, else a share of the image's diagonal.
        ignore: Label of pixels that are not judged, or `None`.

    Attributes:
        matched: `(2, num_classes) int64`: matched pixels of predicted and of true boundaries.
        total: Likewise, all of them.
    """

    def __init__(
        self, num_classes: int, tolerance: float = BOUNDARY_TOLERANCE, ignore: int | None = VOID
    ):
        if not tolerance > 0:
            raise ValueError(
                "The tolerance is a number of pixels (1 or more) or a share of the diagonal. "
                f"Received: tolerance={tolerance!r}"
            )
        self.tolerance, self.ignore = tolerance, checked_void(ignore, num_classes)
        self.matched = np.zeros((2, num_classes), np.int64)
        self.total = np.zeros((2, num_classes), np.int64)

    def add(self, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Adds class maps of equal shape, `(..., height, width)` integers."""
        judged = _judged(truth, predicted, self.total.shape[1], self.ignore)
        shape = (-1, *np.shape(truth)[-2:])
        maps = (np.reshape(array, shape) for array in (truth, predicted, judged))
        for image in zip(*maps, strict=True):
            self._add_image(*image)

    def _add_image(self, truth: np.ndarray, predicted: np.ndarray, judged: np.ndarray) -> None:
        from scipy.ndimage import distance_transform_edt  # Slow to import.

        if not judged.any():
            return
        reach = self.tolerance * (1 if self.tolerance >= 1 else float(np.linalg.norm(truth.shape)))
        depth, nearest = distance_transform_edt(~judged, return_indices=True)
        near = depth <= reach
        maps = (predicted, truth[tuple(nearest)])
        for label in np.union1d(*maps):
            edges = [_boundary(classes == label) for classes in maps]
            for side, (own, other) in enumerate((edges, edges[::-1])):
                counted = own & near
                self.total[side, label] += counted.sum()
                if other.any():
                    close = distance_transform_edt(~other) <= reach
                    self.matched[side, label] += (counted & close).sum()

    def __add__(self, other: BoundaryCounts) -> BoundaryCounts:
        """The counts of both, as of two replicas."""
        total = BoundaryCounts(self.total.shape[1], self.tolerance, self.ignore)
        total.matched = self.matched + _same_classes(self.matched, other.matched)
        total.total = self.total + other.total
        return total

    @property
    def f_score(self) -> np.ndarray:
        """F-score of each class's boundary; NaN for a class that never has one."""
        precision, recall = np.nan_to_num(_ratio(self.matched, self.total))
        scores = np.nan_to_num(_ratio(2 * precision * recall, precision + recall))
        return np.where(self.total.any(0), scores, np.nan)

    @property
    def mean_f_score(self) -> float:
        """Mean of `f_score` over the classes that have a boundary."""
        return _mean(self.f_score)


def _boundary(inside: np.ndarray) -> np.ndarray:
    """Pixels of a region that touch another region; the edge of the image is none."""
    from scipy.ndimage import binary_erosion

    return inside & ~binary_erosion(inside, border_value=1)


def _judged(
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


def _same_classes(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    if own.shape != other.shape:
        raise ValueError(
            "Only counts of the same classes can be added. "
            f"Received: num_classes={own.shape[1]} and {other.shape[1]}"
        )
    return other


def wilson_interval(hits: int, total: int) -> tuple[float, float]:
    """Between which shares the true one lies with `CONFIDENCE`, after `hits` of `total`."""
    from scipy.stats import binomtest  # Slow to import.

    found = binomtest(hits, total).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def _drawn_interval(parts: Sequence[np.ndarray]) -> tuple[float, float]:
    """The same for the mIoU, from as many images drawn with replacement (bootstrap).

    Pixels of one image are right or wrong together, so that they count for less than their number.
    """
    count, classes = len(parts), len(parts[0])
    draws = np.random.RandomState(0).multinomial(count, [1 / count] * count, _DRAWS)
    sums = (draws @ np.reshape(parts, (count, -1))).reshape(_DRAWS, classes, classes)
    values = [_mean(_iou(matrix)) for matrix in sums]
    low, high = np.nanquantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _iou(matrix: np.ndarray) -> np.ndarray:
    hits = np.diag(matrix)
    return _ratio(hits, matrix.sum(0) + matrix.sum(1) - hits)


def _ratio(part: ArrayLike, whole: ArrayLike) -> np.ndarray:
    """`part / whole`, NaN where `whole` is 0."""
    return np.divide(
        part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) != 0
    )


def _mean(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
