"""The Keras callbacks of a run that Keras does not have."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import larq as lq
import numpy as np
import tensorflow as tf

from larq_groupnet.errors import TrainingError
from larq_groupnet.files import naming, replacing
from larq_groupnet.network.layers import Aggregate, SoftGate
from larq_groupnet.network.quantizers import has_latent_kernel
from larq_groupnet.weights.keras_files import save

Logs = Mapping[str, Any] | None


class PhaseCSVLogger(tf.keras.callbacks.CSVLogger):
    """Keras' CSV log with the name of the phase in each row; later phases append."""

    def __init__(self, path: Path, phase: str):
        super().__init__(str(path), append=True)
        self.path = path
        self.phase = phase

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Writes one row."""
        with naming(self.path):
            super().on_epoch_end(epoch, {"phase": self.phase, **(logs or {})})


class BestWeights(tf.keras.callbacks.Callback):
    """Keeps the weights of the last epoch, and of the last one with the highest validation metric.

    Either file is whole or absent. With an optimizer that averages weights, the averages are
    validated and kept.

    Args:
        path: An `.h5` file for the best.
        last: One for the last.
        metric: Name of the metric, without `val_`.
        best: The highest value so far, when a run goes on.
        averaged: Whether the optimizer averages weights.
        description: What the files say of themselves.
    """

    def __init__(
        self,
        path: Path,
        last: Path,
        metric: str,
        best: float | None,
        averaged: bool,
        description: Mapping[str, Any],
    ):
        super().__init__()
        self.description = description
        self.path = path
        self.last = last
        self.metric = metric
        self.value = best
        self.averaged = averaged
        self.trained: list[np.ndarray] = []

    def on_test_begin(self, logs: Logs = None) -> None:
        """Puts the averages in place."""
        if self.averaged:
            self.trained = [weight.numpy() for weight in self.model.trainable_weights]
            self.model.optimizer.finalize_variable_values(self.model.trainable_weights)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Saves, and puts the trained weights back."""
        save(self.model, self.last, self.description)
        value = float((logs or {})[f"val_{self.metric}"])
        # Of equals the later one: a few validation images give the same metric again and again.
        if self.value is None or value >= self.value:
            self.value = value
            with replacing(self.path) as temporary:
                shutil.copyfile(self.last, temporary)
        for weight, trained in zip(self.model.trainable_weights, self.trained, strict=False):
            weight.assign(trained)


class StopOnNonFinite(tf.keras.callbacks.Callback):
    """Ends training at the first loss that is NaN or infinite.

    Args:
        phase: Its name.
        learning_rate: Its peak, for the message.
        images: A batch to look for the layer with.
    """

    _supports_tf_logs = True

    def __init__(self, phase: str, learning_rate: float, images: tf.Tensor):
        super().__init__()
        self.phase = phase
        self.learning_rate = learning_rate
        self.images = images
        self.epoch = 0
        self.last: tuple[int, Any] | None = None

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Remembers the epoch, for the message."""
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Looks at the loss of the step before: the device need not be waited for.

        Raises:
            TrainingError: If it is not finite.
        """
        self._look()
        self.last = batch, (logs or {})["loss"]
        if batch + 1 >= self.params["steps"]:
            self._look()

    def _look(self) -> None:
        (batch, loss), self.last = self.last or (0, 0.0), None
        if not np.isfinite(loss):
            raise TrainingError(
                f"phase {self.phase!r}: the loss became NaN or infinite in epoch {self.epoch + 1}, "
                f"step {batch + 1}; first in layer {first_non_finite(self.model, self.images)!r}. "
                f"Lower {self.phase}.learning_rate ({self.learning_rate})."
            )


def first_non_finite(model: tf.keras.Model, images: tf.Tensor) -> str:
    """The first layer, from the input, with a value that is not finite.

    Args:
        model: A functional model.
        images: A batch that it reads.

    Returns:
        The name of the first layer with such an output; if there is none, of the first with such
        a weight; else `"loss"`.
    """
    outputs = [layer.get_output_at(0) for layer in model.layers]
    values = tf.keras.Model(model.inputs, outputs)(images, training=True)
    for layer, value in zip(model.layers, values, strict=True):
        if not all(np.isfinite(tensor).all() for tensor in tf.nest.flatten(value)):
            return layer.name
    for layer in model.layers:
        if not all(np.isfinite(weight).all() for weight in layer.get_weights()):
            return layer.name
    return "loss"


class StructureLog(tf.keras.callbacks.Callback):
    """Writes gates, scales and flip ratios to TensorBoard after each epoch.

    The flip ratio of a binary kernel is the share of its signs that the epoch has changed: one
    number per kernel, and the histogram of those of its filters.

    Args:
        folder: TensorBoard's.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.writer = tf.summary.create_file_writer(str(folder))
        self.signs: dict[str, np.ndarray] = {}

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Remembers the signs."""
        self.signs = {
            layer.name: layer.kernel.numpy() >= 0
            for layer in self.model.layers
            if isinstance(layer, lq.layers.QuantConv2D) and has_latent_kernel(layer)
        }

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Writes."""
        with self.writer.as_default(step=epoch):
            for layer in self.model.layers:
                if isinstance(layer, SoftGate):
                    tf.summary.histogram(f"gates/{layer.name}", tf.sigmoid(layer.theta))
                elif isinstance(layer, Aggregate) and layer.learned:
                    tf.summary.histogram(f"scales/{layer.name}", layer.scales)
                elif layer.name in self.signs:
                    flipped = self.signs[layer.name] != (layer.kernel.numpy() >= 0)
                    tf.summary.scalar(f"flip_ratio/{layer.name}", flipped.mean())
                    tf.summary.histogram(f"flip_ratios/{layer.name}", flipped.mean((0, 1, 2)))

    def on_train_end(self, logs: Logs = None) -> None:
        """Writes what is still in memory."""
        self.writer.flush()
