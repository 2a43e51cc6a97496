"""Shows progress on the screen, and logs speed and norms to TensorBoard."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from larq_groupnet.hints import counted

Logs = Mapping[str, Any] | None

_DRAWN_EVERY = 0.2
"""Seconds between two updates of the progress bar."""


class Progress(tf.keras.callbacks.ProgbarLogger):
    """Keras' progress bar, without reading numbers from the device at every step.

    After the first epoch it estimates the remaining time, without the first step, which is traced.
    """

    drawn = 0.0

    def __init__(self) -> None:
        super().__init__(count_mode="steps")
        self.epochs_begun = 0
        self.first_step = 0.0
        """Time at which the first step ended."""

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Starts a bar, and prints the estimate before the second one."""
        self.epochs_begun += 1
        if self.epochs_begun == 2:
            minutes = (self.epochs - epoch) * (time.monotonic() - self.first_step) / 60
            if minutes >= 1:
                length, unit = (minutes, "minute") if minutes < 120 else (minutes / 60, "hour")
                left = counted(round(length), unit)
                print(f"About {left} more for these epochs.", flush=True)
        super().on_epoch_begin(epoch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Updates the bar, if the last update was long enough ago."""
        now = time.monotonic()
        self.first_step = self.first_step or now
        if now - self.drawn >= _DRAWN_EVERY or batch + 1 >= self.target:
            self.drawn = now
            super().on_train_batch_end(batch, logs)


@contextlib.contextmanager
def ending_line() -> Iterator[None]:
    """Ends the line of a progress bar before an error, so that the message has its own line."""
    try:
        yield
    except BaseException:
        print(flush=True)
        raise


class EpochBoard(tf.keras.callbacks.TensorBoard):
    """Keras' log of every epoch, without preparing a summary of every step that is not used."""

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Handles only the graph and the profile."""
        super().on_train_batch_end(batch)


class StepLog(tf.keras.callbacks.Callback):
    """Writes images per second to TensorBoard after each epoch, and more values every few steps.

    The values are the loss, the learning rate, the norm of all gradients before clipping (unknown
    for Keras' older optimizers, such as Bop), the norm of the step's update of the weights, and
    this norm divided by the norm of the weights.

    Args:
        folder: Folder for TensorBoard.
        batch_size: Images per step on all replicas.
        every: Steps between two entries; 0 for the entries of epochs only.
    """

    _supports_tf_logs = True

    def __init__(self, folder: Path, batch_size: int, every: int = 0):
        super().__init__()
        self.writer = tf.summary.create_file_writer(str(folder))
        self.batch_size, self.every = batch_size, every
        self.start, self.steps, self.due = 0.0, 0, False
        self.before: list[np.ndarray] = []

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Starts the clock."""
        self.start, self.steps = time.perf_counter(), 0

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Copies the weights if the step will be logged."""
        self.due = bool(self.every) and batch // self.every != (batch - 1) // self.every
        if self.due:
            self.before = [weight.numpy() for weight in self.model.trainable_weights]

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Writes the values of one step."""
        self.steps = batch + 1
        if not self.due:
            return
        after = [weight.numpy() for weight in self.model.trainable_weights]
        update = _norm(a - b for a, b in zip(after, self.before, strict=True))
        values = {key: float(value) for key, value in (logs or {}).items() if np.ndim(value) == 0}
        values["learning_rate"] = float(self.model.optimizer.lr.numpy())
        values["update_norm"] = update
        values["update_over_weights"] = update / max(_norm(after), 1e-30)
        self._write(values)

    def on_test_begin(self, logs: Logs = None) -> None:
        """Stops the clock."""
        if self.steps:
            seconds = time.perf_counter() - self.start
            self._write({"images_per_second": self.steps * self.batch_size / seconds})
            self.steps = 0

    def on_train_end(self, logs: Logs = None) -> None:
        """Flushes the log."""
        self.writer.flush()

    def _write(self, values: Mapping[str, float]) -> None:
        with self.writer.as_default(step=int(self.model.optimizer.iterations.numpy())):
            for name, value in values.items():
                tf.summary.scalar(f"step/{name}", value)


def log_gradient_norm(model: tf.keras.Model) -> None:
    """Adds `gradient_norm` to the values that a compiled model returns for each step.

    It is the norm of the gradients of all replicas together, before clipping.
    """
    optimizer, step = model.optimizer, model.train_step
    if not isinstance(optimizer, tf.keras.optimizers.Optimizer):
        return
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # Keras' loss scaling wraps it.
    clip = inner._clip_gradients
    # A variable, because loss scaling clips in a branch, which can return no tensor.
    found = tf.Variable(
        0.0,
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )

    def clip_gradients(gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        found.assign(tf.cast(tf.linalg.global_norm(gradients), tf.float32))
        return clip(gradients)

    def train_step(data: Any) -> dict[str, tf.Tensor]:
        return {**step(data), "gradient_norm": found.value()}

    inner._clip_gradients, model.train_step = clip_gradients, train_step


def _norm(arrays: Any) -> float:
    return float(np.sqrt(sum(np.sum(np.square(each, dtype=np.float64)) for each in arrays)))
