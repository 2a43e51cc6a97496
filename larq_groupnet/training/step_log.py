"""What happens between two epochs: the progress on the screen, speed and norms in TensorBoard."""

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
    """Keras' progress bar, which does not ask the device for the numbers of every step.

    After an epoch it says how long the others take, without the first step, which is traced.
    """

    drawn = 0.0

    def __init__(self) -> None:
        super().__init__(count_mode="steps")
        self.epochs_begun = 0
        self.first_step = 0.0
        """When it ended."""

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Begins a bar."""
        self.epochs_begun += 1
        if self.epochs_begun == 2:
            minutes = (self.epochs - epoch) * (time.monotonic() - self.first_step) / 60
            if minutes >= 1:
                length, unit = (minutes, "minute") if minutes < 120 else (minutes / 60, "hour")
                left = counted(round(length), unit)
                print(f"About {left} more for these epochs.", flush=True)
        super().on_epoch_begin(epoch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Draws, if the last time was long enough ago."""
        now = time.monotonic()
        self.first_step = self.first_step or now
        if now - self.drawn >= _DRAWN_EVERY or batch + 1 >= self.target:
            self.drawn = now
            super().on_train_batch_end(batch, logs)


@contextlib.contextmanager
def ending_line() -> Iterator[None]:
    """Ends the line of a progress bar that an error cuts short, so that a message has its own."""
    try:
        yield
    except BaseException:
        print(flush=True)
        raise


class EpochBoard(tf.keras.callbacks.TensorBoard):
    """Keras' log of every epoch, which prepares no summary of every step to throw it away."""

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Minds the graph and the profile alone."""
        super().on_train_batch_end(batch)


class StepLog(tf.keras.callbacks.Callback):
    """Writes images per second to TensorBoard after each epoch, and more every so many steps.

    These are the loss, the learning rate, the norm of all gradients before they are clipped (of
    Keras' older optimizers, such as Bop, it is not known), that of what the step has added to the
    weights, and the latter over the norm of the weights.

    Args:
        folder: TensorBoard's.
        batch_size: Images of a step on all replicas.
        every: Steps between two entries; 0 for none but those of the epochs.
    """

    _supports_tf_logs = True

    def __init__(self, folder: Path, batch_size: int, every: int = 0):
        super().__init__()
        self.writer = tf.summary.create_file_writer(str(folder))
        self.batch_size, self.every = batch_size, every
        self.start, self.steps, self.due = 0.0, 0, False
        self.before: list[np.ndarray] = []

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Starts the clock after what came between."""
        self.start, self.steps = time.perf_counter(), 0

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Copies the weights if the step is to be logged."""
        self.due = bool(self.every) and batch // self.every != (batch - 1) // self.every
        if self.due:
            self.before = [weight.numpy() for weight in self.model.trainable_weights]

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Writes what one step did."""
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
        """Writes what is still in memory."""
        self.writer.flush()

    def _write(self, values: Mapping[str, float]) -> None:
        with self.writer.as_default(step=int(self.model.optimizer.iterations.numpy())):
            for name, value in values.items():
                tf.summary.scalar(f"step/{name}", value)


def log_gradient_norm(model: tf.keras.Model) -> None:
    """Has a compiled model give `gradient_norm` with the numbers of each step.

    It is that of the gradients of all replicas together, before they are clipped.
    """
    optimizer, step = model.optimizer, model.train_step
    if not isinstance(optimizer, tf.keras.optimizers.Optimizer):
        return
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # Of Keras' loss scaling.
    clip = inner._clip_gradients
    # A variable, because loss scaling clips in a branch, out of which no tensor comes.
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
