"""What a network is trained for: its loss, its metrics, and how a trained one is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from larq_groupnet.config import DENSE_HEADS, GroupNetConfig
from larq_groupnet.data import VOID
from larq_groupnet.tasks.metrics import BOUNDARY_TOLERANCE, IntegerMeanIoU, SegmentationCounts
from larq_groupnet.training.evaluate import LabelCounts

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Task:
    """One kind of prediction, of `num_classes` classes.

    Attributes:
        headline: The metric that chooses the best epoch and stands first in tables.
        unit: What is classified, in the plural.
        loss_name: What the loss is the mean of.
        from_logits: Whether the network ends without softmax.
        void: The label that counts nowhere.
    """

    headline: ClassVar[str]
    unit: ClassVar[str]
    loss_name: ClassVar[str]
    from_logits: ClassVar[bool]
    void: ClassVar[int]

    def __init__(self, num_classes: int):
        self.num_classes = num_classes

    def loss(self, label_smoothing: float) -> Loss:
        """Mean cross-entropy over everything that is not void.

        Args:
            label_smoothing: Share of the target that is spread evenly over the classes.

        Returns:
            A function of truths and scores. Truths are integers, or `float32` shares of each class
            of the scores' shape, as mixup makes them.
        """

        def cross_entropy(truth: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
            target = truth = tf.convert_to_tensor(truth)
            if not truth.dtype.is_floating:
                # Keras gives labels an axis of length 1.
                truth = tf.reshape(tf.cast(truth, tf.int32), tf.shape(scores)[:-1])
                target = tf.one_hot(truth, self.num_classes, dtype=scores.dtype)
            each = tf.keras.losses.categorical_crossentropy(
                target, scores, from_logits=self.from_logits, label_smoothing=label_smoothing
            )
            return self.mean(each, truth)

        return cross_entropy

    def mean(self, each: tf.Tensor, truth: tf.Tensor) -> tf.Tensor:
        """The mean over everything that is not void.

        Args:
            each: One value per prediction, `(batch,)` or `(batch, height, width)`.
            truth: Labels or class maps; or the share of each class, where nothing is void.
        """
        truth = tf.convert_to_tensor(truth)
        if truth.dtype.is_floating:
            return tf.reduce_mean(each)
        counted = tf.cast(tf.reshape(truth, tf.shape(each)) != self.void, each.dtype)
        return tf.math.divide_no_nan(tf.reduce_sum(each * counted), tf.reduce_sum(counted))

    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """What Keras reports while training; one of them is called `headline`."""
        raise NotImplementedError

    def counts(self) -> Any:
        """An empty tally for `add`, with `to_dict(class_names)`."""
        raise NotImplementedError

    @staticmethod
    def add(counts: Any, truth: Any, scores: Any) -> None:
        """Adds one batch to a tally."""
        raise NotImplementedError


class Classification(Task):
    """Images to probabilities `(batch, num_classes)`; labels `(batch,) int32`."""

    headline = "accuracy"
    unit = "images"
    loss_name = "image"
    from_logits = False
    void = -1

    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """Top-1 accuracy, and top-5 where there are more than five classes."""
        wrapped = tf.keras.metrics.MeanMetricWrapper
        found: list[tf.keras.metrics.Metric] = [wrapped(_accuracy, name="accuracy")]
        if self.num_classes > 5:
            found.append(wrapped(_top5, name="top5"))
        return found

    def counts(self) -> LabelCounts:
        """Counts of images."""
        return LabelCounts(self.num_classes)

    @staticmethod
    def add(counts: LabelCounts, truth: np.ndarray, scores: np.ndarray) -> None:
        """Adds labels `(batch,)` and probabilities `(batch, num_classes)`."""
        counts.add(truth, scores)


class Segmentation(Task):
    """Images to logits `(batch, height, width, num_classes)`; class maps without the last axis."""

    headline = "miou"
    unit = "pixels"
    loss_name = "pixel"
    from_logits = True
    void = VOID

    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """Mean IoU, void left out."""
        return [IntegerMeanIoU(self.num_classes, ignore=VOID, name="miou")]

    def counts(self) -> SegmentationCounts:
        """Counts of pixels, and of boundary pixels."""
        return SegmentationCounts(
            self.num_classes, ignore=VOID, boundary_tolerance=BOUNDARY_TOLERANCE
        )

    @staticmethod
    def add(
        counts: SegmentationCounts, truth: Iterable[np.ndarray], scores: Iterable[np.ndarray]
    ) -> None:
        """Adds class maps `(height, width)`, each of its own size, and their scores."""
        for classes, values in zip(truth, scores, strict=True):
            counts.add(classes, values.argmax(-1))


def _accuracy(truth: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    return tf.keras.metrics.sparse_categorical_accuracy(_labels(truth, scores), scores)


def _top5(truth: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    return tf.keras.metrics.sparse_top_k_categorical_accuracy(_labels(truth, scores), scores, 5)


def _labels(truth: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """The class with the largest share where images are mixed; Keras makes all truths float."""
    mixed = truth.shape.rank == scores.shape.rank and truth.shape[-1] == scores.shape[-1]
    return tf.argmax(truth, -1) if mixed else truth


def task_of(config: GroupNetConfig) -> Task:
    """The task that a head is for.

    Raises:
        ValueError: If the network has no head.
    """
    if config.head == "classifier":
        return Classification(config.num_classes)
    if config.head in DENSE_HEADS:
        return Segmentation(config.num_classes)
    choices = ", ".join(("classifier", *DENSE_HEADS))
    raise ValueError(f"head: expected one of {choices}. Received: {config.head!r}")
