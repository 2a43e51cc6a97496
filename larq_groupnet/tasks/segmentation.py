"""Segmentation: one label per pixel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from larq_groupnet.data import VOID
from larq_groupnet.errors import ConfigError
from larq_groupnet.tasks.task import MOST_NAMED, Prediction, Samples, Task, Thresholds, task

if TYPE_CHECKING:
    import tensorflow as tf

    from larq_groupnet.tasks.tallies import SegmentationCounts


@task("segmentation")
class Segmentation(Task):
    """Predicts scores `(batch, height, width, num_classes)`; targets lack the last axis."""

    targets = ("mask", "segmentation_mask")
    headline = "miou"
    labels = {
        "miou": "mIoU",
        "pixel_accuracy": "pixel accuracy",
        "mean_accuracy": "mean accuracy",
        "frequency_weighted_iou": "frequency-weighted IoU",
        "mean_boundary_f_score": "boundary F-score",
    }
    class_labels = {
        "iou": "IoU",
        "class_accuracy": "accuracy",
        "boundary_f_score": "boundary F-score",
    }
    loss_title = "Cross-entropy per pixel"
    void = VOID
    # A sign that rounding flips changes a few pixels of a map: 0.12 % on digit_scenes, 0.30 % on
    # CamVid, where many classes are nearly tied (its mIoU changed by 0.0001).
    thresholds = Thresholds(agreement=0.995, gap=0.002)

    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """Mean IoU, ignoring void."""
        from larq_groupnet.tasks.metrics import IntegerMeanIoU

        return [IntegerMeanIoU(self._judged_classes())]

    def tally(self) -> SegmentationCounts:
        """Counts of pixels, and of boundary pixels."""
        from larq_groupnet.tasks.tallies import SegmentationCounts

        return SegmentationCounts(self._judged_classes())

    def _judged_classes(self) -> int:
        if self.num_classes > VOID:
            raise ConfigError(
                f"num_classes: expected at most {VOID} in masks, where {VOID} is void. "
                f"Received: num_classes={self.num_classes}"
            )
        return self.num_classes

    @staticmethod
    def add(
        tally: SegmentationCounts, truth: Iterable[np.ndarray], scores: Iterable[np.ndarray]
    ) -> None:
        """Adds class maps `(height, width)`, each of its own size, and their scores."""
        for classes, values in zip(truth, scores, strict=True):
            tally.add(classes, values.argmax(-1))

    def prediction(
        self, pixels: np.ndarray, scores: np.ndarray, class_names: Sequence[str]
    ) -> Prediction:
        """The class map as a palette PNG, and as an overlay on the image with a legend."""
        from larq_groupnet.report.overlay import draw_overlay, index_image, shares

        classes = scores.argmax(-1)
        largest = shares(classes)[:MOST_NAMED]
        line = ", ".join(f"{class_names[label]} {share:.1%}" for label, share in largest)
        overlay = draw_overlay(pixels, classes, class_names)
        return Prediction(line, {"masks": index_image(classes, class_names), "overlays": overlay})

    def draw(self, samples: Samples, class_names: Sequence[str], path: Path, title: str) -> None:
        """Draws image, truth, prediction and error side by side."""
        from larq_groupnet.report.pictures import draw_predictions

        draw_predictions(*samples, class_names, path, title, VOID)
