"""Classification: one label per image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from larq_groupnet.tasks.task import MOST_NAMED, Prediction, Samples, Task, Thresholds, task

if TYPE_CHECKING:
    import tensorflow as tf

    from larq_groupnet.tasks.tallies import LabelCounts


@task("classification")
class Classification(Task):
    """Predicts scores `(batch, num_classes)`; targets are labels `(batch,) int32`."""

    targets = ("label",)
    mixes = True
    dense = False
    headline = "accuracy"
    labels = {"accuracy": "accuracy (top-1)", "top5": "accuracy (top-5)"}
    class_labels = {"recall": "recall"}
    unit = "images"
    loss_title = "Cross-entropy per image"
    gives_logits = False
    # A sign that rounding flips may change the prediction of a whole image.
    thresholds = Thresholds(agreement=0.98, gap=0.01)
    num_pictures = 40

    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """Top-1 accuracy, and top-5 with more than five classes."""
        from larq_groupnet.tasks import metrics

        found = [metrics.accuracy()]
        return [*found, metrics.top5()] if self.num_classes > 5 else found

    def tally(self) -> LabelCounts:
        """Counts of images."""
        from larq_groupnet.tasks.tallies import LabelCounts

        return LabelCounts(self.num_classes, self.from_logits, self.temperature)

    def prediction(
        self, pixels: np.ndarray, scores: np.ndarray, class_names: Sequence[str]
    ) -> Prediction:
        """The most likely classes."""
        best = np.argsort(-scores, kind="stable")[:MOST_NAMED]
        rows = [(class_names[label], float(scores[label])) for label in best]
        return Prediction(", ".join(f"{name} {share:.1%}" for name, share in rows), rows=rows)

    def draw(self, samples: Samples, class_names: Sequence[str], path: Path, title: str) -> None:
        """Draws each image under its predicted class and probability."""
        from larq_groupnet.report.pictures import draw_labels

        images, truths, scores = samples
        shares = [np.exp(self.log_probabilities(values)) for values in scores]
        draw_labels(images, truths, shares, class_names, path, title)
