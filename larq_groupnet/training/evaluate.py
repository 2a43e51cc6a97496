"""Exact metrics of the Keras model and of the converted one on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf
from sklearn.metrics import confusion_matrix
from tqdm import tqdm

from larq_groupnet.deploy import load_interpreter
from larq_groupnet.deploy.int8 import predict

if TYPE_CHECKING:
    from larq_groupnet.inference.full_image import FullImage
    from larq_groupnet.tasks.task import Task


class LabelCounts:
    """Counts of images by true and predicted class, summed over any number of batches.

    Args:
        num_classes: Number of classes.
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
        """Share of images whose most probable class is right (top-1)."""
        return float(np.trace(self.matrix) / self.matrix.sum())

    def to_dict(self, class_names: Sequence[str]) -> dict[str, Any]:
        """`accuracy`, `top5`, `recall` by class name, and the confusion matrix (rows: truth)."""
        total = self.matrix.sum(1)
        recall = np.divide(
            np.diag(self.matrix), total, out=np.full(len(total), np.nan), where=total > 0
        )
        return {
            "accuracy": self.accuracy,
            "top5": self.among_five / int(self.matrix.sum()),
            "recall": dict(zip(class_names, recall.tolist(), strict=True)),
            "confusion": self.matrix.tolist(),
        }


class Samples(NamedTuple):
    """Some images and what the converted model says of them, one item an image."""

    images: Sequence[np.ndarray]
    """`(height, width, channels) float32`, as they are given to `evaluate`."""
    truths: Sequence[np.ndarray]
    """Labels `()` or class maps `(height, width)`."""
    scores: Sequence[np.ndarray]
    """`(num_classes,)` or `(height, width, num_classes)`."""


def evaluate(
    model: tf.keras.Model,
    tflite: Path | None,
    batches: tf.data.Dataset,
    task: Task,
    class_names: Sequence[str],
    num_samples: int = 0,
    view: FullImage | None = None,
) -> tuple[dict[str, Any], Samples]:
    """Runs the Keras model, and the converted file if there is one, on the same images.

    Args:
        model: From images to scores, the classes on the last axis.
        tflite: Its converted file, run by LCE's interpreter, or `None`.
        batches: One pass over batches as the model reads them; with a `view`, over single images
            (pixels of 0 to 255) and class maps, each of its own size, at which they are judged.
        task: Says what is counted.
        class_names: One per class.
        num_samples: How many of the first images to return.
        view: How the model looks at a full image.

    Returns:
        `keras` and, with a file, `lce` (see the task's counts) and `agreement`, the share of
        images or pixels to which both give the same class; and the first images with the scores of
        the file.
    """
    runs = {"keras": model.predict_on_batch}
    if tflite is not None:
        runs["lce"] = partial(predict, load_interpreter(tflite))
    if view is not None:
        runs = {name: partial(view.scores, network) for name, network in runs.items()}
    counts = {name: task.counts() for name in runs}
    same, total = 0, 0
    samples: list[tuple[np.ndarray, ...]] = []
    unit = "batch" if view is None else "image"
    progress = tqdm(batches.as_numpy_iterator(), "Testing", len(batches), unit=unit)
    for images, truths in progress if view is None else view.groups(progress):
        scores = {name: network(images) for name, network in runs.items()}
        for name, count in counts.items():
            task.add(count, truths, scores[name])
        last = scores[name]
        for truth, one, other in zip(truths, scores["keras"], last, strict=True):
            same += int((one.argmax(-1) == other.argmax(-1)).sum())
            total += np.size(truth)
        samples += list(zip(images, truths, last, strict=True))[: num_samples - len(samples)]
    found = {name: count.to_dict(class_names) for name, count in counts.items()}
    if tflite is not None:
        found["agreement"] = same / total
    return found, Samples(*zip(*samples, strict=True)) if samples else Samples((), (), ())
