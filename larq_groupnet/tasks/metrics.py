"""The metrics that Keras reports while training, exact for any number of replicas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from larq_groupnet.autograph import as_written
from larq_groupnet.data import VOID


def accuracy() -> tf.keras.metrics.Metric:
    """Share of images whose most probable class is right."""
    return _mean("accuracy", tf.keras.metrics.sparse_categorical_accuracy)


def top5() -> tf.keras.metrics.Metric:
    """Share of images whose class is among the five most probable."""
    return _mean("top5", tf.keras.metrics.sparse_top_k_categorical_accuracy, 5)


@tf.keras.utils.register_keras_serializable("larq_groupnet")
class IntegerMeanIoU(tf.keras.metrics.Metric):
    """Mean IoU of scores against labels, counted in int64 and summed over replicas.

    `tf.keras.metrics.MeanIoU` counts in float32, which stops at 2^24: after 64 images of
    512 x 512 pixels, one more pixel adds nothing.

    Args:
        num_classes: Classes including background, the last axis of the scores.
        ignore: Label of pixels that are not counted, or `None`.
        name: Name of the metric.
        dtype: Type of the result.
    """

    def __init__(
        self,
        num_classes: int,
        ignore: int | None = VOID,
        name: str = "miou",
        dtype: str | None = None,
    ):
        super().__init__(name=name, dtype=dtype)
        self.num_classes, self.ignore = num_classes, ignore
        self.matrix = self.add_weight(
            "matrix", (num_classes, num_classes), dtype=tf.int64, initializer="zeros"
        )

    def update_state(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> None:
        """Adds labels `(...)` or `(..., 1)` and scores `(..., num_classes)`.

        Raises:
            ValueError: For sample weights, which integers cannot represent.
            tf.errors.InvalidArgumentError: If a label is neither a class nor `ignore`.
        """
        if sample_weight is not None:
            raise ValueError("IntegerMeanIoU counts pixels and takes no sample_weight.")
        truth = tf.reshape(tf.cast(y_true, tf.int64), [-1])
        predicted = tf.reshape(tf.argmax(y_pred, axis=-1), [-1])
        if self.ignore is not None:
            counted = tf.not_equal(truth, self.ignore)
            truth, predicted = truth[counted], predicted[counted]
        self.matrix.assign_add(
            tf.math.confusion_matrix(truth, predicted, self.num_classes, dtype=tf.int64)
        )

    def result(self) -> tf.Tensor:
        """Mean over the classes that occur; 0 without pixels."""
        matrix = tf.cast(self.matrix, tf.float64)
        hits = tf.linalg.diag_part(matrix)
        union = tf.reduce_sum(matrix, 0) + tf.reduce_sum(matrix, 1) - hits
        occurring = tf.reduce_sum(tf.cast(union > 0, tf.float64))
        total = tf.reduce_sum(tf.math.divide_no_nan(hits, union))
        return tf.cast(tf.math.divide_no_nan(total, occurring), self.dtype)

    def reset_state(self) -> None:
        """Sets all counts to 0."""
        self.matrix.assign(tf.zeros_like(self.matrix))

    def get_config(self) -> dict[str, Any]:
        """The arguments, for Keras to save."""
        return {**super().get_config(), "num_classes": self.num_classes, "ignore": self.ignore}


def _mean(name: str, measure: Callable[..., tf.Tensor], *options: int) -> tf.keras.metrics.Metric:
    def measured(truth: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
        # Mixed images count as their largest class. The type does not tell: Keras casts to float.
        mixed = truth.shape.rank == scores.shape.rank and truth.shape[-1] == scores.shape[-1]
        return measure(tf.argmax(truth, -1) if mixed else truth, scores, *options)

    return tf.keras.metrics.MeanMetricWrapper(as_written(measured), name=name)
