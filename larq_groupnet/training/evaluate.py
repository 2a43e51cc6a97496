"""Exact segmentation metrics of the Keras model and of the converted one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from sklearn.metrics import confusion_matrix
from tqdm import tqdm

from larq_groupnet.deploy import load_interpreter


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

    def to_dict(self, class_names: Sequence[str]) -> dict[str, Any]:
        """`miou`, `pixel_accuracy`, and `iou` by class name."""
        return {
            "miou": self.miou,
            "pixel_accuracy": self.pixel_accuracy,
            "iou": dict(zip(class_names, self.iou.tolist(), strict=True)),
        }


class Samples(NamedTuple):
    """Some images and what the converted model says of them."""

    images: np.ndarray
    """`(n, height, width, channels) float32`, as the model reads them."""
    truths: np.ndarray
    """Class maps `(n, height, width)`."""
    predictions: np.ndarray
    """Class maps `(n, height, width)`."""


def evaluate(
    model: tf.keras.Model,
    tflite: Path,
    batches: tf.data.Dataset,
    class_names: Sequence[str],
    num_samples: int,
) -> tuple[dict[str, Any], Samples]:
    """Runs the Keras model and the converted file on the same images.

    Args:
        model: From images to logits `(batch, height, width, num_classes)`.
        tflite: Its converted file, run by LCE's interpreter.
        batches: One pass over images and masks.
        class_names: One per class, background first.
        num_samples: How many images to return.

    Returns:
        `keras` and `lce` (see `PixelCounts.to_dict`) and `agreement`, the share of pixels to which
        both give the same class; and the first images.
    """
    interpreter = load_interpreter(tflite)
    counts = {"keras": PixelCounts(len(class_names)), "lce": PixelCounts(len(class_names))}
    same, pixels = 0, 0
    samples: list[tuple[np.ndarray, ...]] = []
    for images, truth in tqdm(batches.as_numpy_iterator(), "Testing", len(batches), unit="batch"):
        keras = model.predict_on_batch(images).argmax(-1)
        lce = interpreter.predict(images).argmax(-1)
        counts["keras"].add(truth, keras)
        counts["lce"].add(truth, lce)
        same += int((keras == lce).sum())
        pixels += keras.size
        samples += list(zip(images, truth, lce, strict=True))[: num_samples - len(samples)]
    metrics = {name: count.to_dict(class_names) for name, count in counts.items()}
    return {**metrics, "agreement": same / pixels}, Samples(
        *map(np.stack, zip(*samples, strict=True))
    )
