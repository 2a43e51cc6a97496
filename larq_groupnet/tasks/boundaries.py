"""Boundaries of classes: how close predicted boundaries are to true boundaries."""

from __future__ import annotations

import numpy as np

from larq_groupnet.tasks.counting import judged_pixels, mean, ratio

BOUNDARY_TOLERANCE = 0.0075
"""Largest distance of matching boundaries, as a share of the diagonal; see `BoundaryCounts`."""


class BoundaryCounts:
    """Counts the boundary pixels of each class that have a counterpart nearby.

    A pixel is on the boundary of its class if a neighbour above, below, left or right has another
    class. It is matched if the other map has a boundary pixel of that class within the tolerance.
    Precision is the matched share of the predicted boundary, recall the matched share of the true
    boundary, over all images; the F-score is their harmonic mean.

    Matching by distance, and the tolerance of 0.75 % of the diagonal, come from Csurka, Larlus
    and Perronnin, "What is a good evaluation measure for semantic segmentation?", BMVC 2013. They
    average over images; here pixels are summed over all images before dividing, as in the boundary
    benchmarks of Berkeley, so that replicas can be merged exactly.

    Pascal VOC draws a strip of void along every object. Void pixels therefore take the class of
    the nearest judged pixel, which puts the boundary in the middle of the strip, and boundaries
    further inside void than the tolerance are not counted.

    Args:
        num_classes: Classes including background.
        tolerance: In pixels if at least 1, else a share of the image's diagonal.

    Attributes:
        matched: `(2, num_classes) int64`: matched pixels of predicted and of true boundaries.
        total: Likewise, all pixels of these boundaries.
    """

    def __init__(self, num_classes: int, tolerance: float = BOUNDARY_TOLERANCE):
        self.tolerance = tolerance
        self.matched = np.zeros((2, num_classes), np.int64)
        self.total = np.zeros((2, num_classes), np.int64)

    def add(self, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Adds class maps of equal shape, `(..., height, width)` integers."""
        judged = judged_pixels(truth, predicted, self.total.shape[1])
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

    @property
    def f_score(self) -> np.ndarray:
        """F-score of each class's boundary; NaN for a class that never has one."""
        precision, recall = np.nan_to_num(ratio(self.matched, self.total))
        scores = np.nan_to_num(ratio(2 * precision * recall, precision + recall))
        return np.where(self.total.any(0), scores, np.nan)

    @property
    def mean_f_score(self) -> float:
        """Mean of `f_score` over the classes that have a boundary."""
        return mean(self.f_score)


def _boundary(inside: np.ndarray) -> np.ndarray:
    """Pixels of a region that touch another region; the edge of the image does not count."""
    from scipy.ndimage import binary_erosion

    return inside & ~binary_erosion(inside, border_value=1)
