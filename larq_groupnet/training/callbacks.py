"""Callbacks of a run that Keras lacks."""

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
    """Keras' CSV log with the name of the phase in each row; later phases append to it."""

    def __init__(self, path: Path, phase: str):
        super().__init__(str(path), append=True)
        self.path = path
        self.phase = phase

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Writes one row."""
        with naming(self.path):
            super().on_epoch_end(epoch, {"phase": self.phase, **(logs or {})})


class BestWeights(tf.keras.callbacks.Callback):
    """Saves the weights of the last epoch, and of the epoch with the highest validation metric.

    In a tie, the later epoch is best. Each file is complete or absent. If the optimizer averages
    weights, the averages are validated and saved.

    Args:
        path: An `.h5` file for the best weights.
        last: An `.h5` file for the last weights.
        metric: Name of the metric, without `val_`.
        best: The highest value so far, if the run is resumed.
        averaged: True if the optimizer averages weights.
        description: The description to store in both files.
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
        """Replaces the weights with their averages."""
        if self.averaged:
            self.trained = [weight.numpy() for weight in self.model.trainable_weights]
            self.model.optimizer.finalize_variable_values(self.model.trainable_weights)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Saves the weights, and restores the trained ones."""
        save(self.model, self.last, self.description)
        value = float((logs or {})[f"val_{self.metric}"])
        # A tie keeps the later epoch: few validation images often give the same metric.
        if self.value is None or value >= self.value:
            self.value = value
            with replacing(self.path) as temporary:
                shutil.copyfile(self.last, temporary)
        for weight, trained in zip(self.model.trainable_weights, self.trained, strict=False):
            weight.assign(trained)


class StopOnNonFinite(tf.keras.callbacks.Callback):
    """Ends training at the first loss that is NaN or infinite.

    Args:
        phase: Name of the phase.
        learning_rate: Peak learning rate of the phase, for the message.
        images: A batch with which to find the layer.
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
        """Checks the loss of the previous step, so as not to wait for the device.

        Raises:
            TrainingError: If the loss is not finite.
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
    """Finds the first layer, from the input, with a value that is not finite.

    Args:
        model: A functional model.
        images: A batch for the model.

    Returns:
        The name of the first layer with such an output, else of the first layer with such a
        weight, else `"loss"`.
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

    The flip ratio of a binary kernel is the share of its signs that changed in the epoch. It is
    written per kernel, and as a histogram over the kernel's filters.

    Args:
        folder: Folder for TensorBoard.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.writer = tf.summary.create_file_writer(str(folder))
        self.signs: dict[str, np.ndarray] = {}

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Stores the signs of all kernels."""
        self.signs = {
            layer.name: layer.kernel.numpy() >= 0
            for layer in self.model.layers
            if isinstance(layer, lq.layers.QuantConv2D) and has_latent_kernel(layer)
        }

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Writes gates, scales and flip ratios."""
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
        """Flushes the log."""
        self.writer.flush()
