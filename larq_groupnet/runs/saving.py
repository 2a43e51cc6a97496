"""Saves a run after each epoch, at given intervals within epochs, and when it is stopped."""

from __future__ import annotations

import dataclasses
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from larq_groupnet.runs.snapshots import Position, Snapshots
from larq_groupnet.runs.stopping import StopSignal

_AGREE_EVERY = 8
"""Steps between two exchanges of signals among the workers of a run."""


class SnapshotCallback(tf.keras.callbacks.Callback):
    """Saves after each epoch, at given intervals within epochs, and after a signal.

    With several workers, a signal to one of them stops all at the same step.

    Args:
        snapshots: The snapshots of the run.
        stop: Holds the signal, if there was one.
        start: Position at which this call of `fit` starts.
        best: Callback with the best value so far.
        history: The `history.csv`.
        strategy: Strategy of the run.
        steps: Steps between two snapshots within an epoch; 0 for none.
        minutes: Minutes between two snapshots within an epoch, by the clock of the first worker; 0
            for none.
    """

    _supports_tf_logs = True  # So that Keras does not wait for the numbers of a step.

    def __init__(
        self,
        snapshots: Snapshots,
        stop: StopSignal,
        start: Position,
        best: Any,
        history: Path,
        strategy: tf.distribute.Strategy,
        steps: int = 0,
        minutes: float = 0.0,
    ):
        super().__init__()
        self.snapshots = snapshots
        self.stop = stop
        self.start = start
        self.best = best
        self.history = history
        self.steps, self.minutes = steps, minutes
        self.epoch, self.first_step, self.asked_at = start.epoch, 0, 0
        self.saved_at, self.saved_time = 0, time.monotonic()
        self.workers = _Workers(strategy)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Restores the metrics of an interrupted epoch, which Keras has just reset."""
        self.epoch, self.first_step, self.asked_at, self.saved_at = epoch, 0, 0, 0
        if epoch == self.start.epoch and self.start.step:
            self.first_step = self.start.step
            for metric, values in zip(self.model.metrics, self.start.metrics, strict=True):
                for variable, value in zip(metric.variables, values, strict=True):
                    self.workers.assign_sum(variable, value)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Saves or stops if due, except after the last step: then only the validation is left."""
        steps = batch + 1
        if steps >= self.params["steps"]:
            return
        stops, due = self._asked(steps)
        if not stops and not due:
            return
        state = [[v.numpy().tolist() for v in m.variables] for m in self.model.metrics]
        step = self.first_step + steps
        self.saved_at = steps
        self._save(self.epoch, step, state)
        if stops:
            self.snapshots.wait()
            self.stop.raise_interrupted(f"epoch {self.epoch + 1}, step {step}")

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Stops after a signal; the epoch will be repeated."""
        if self.stop.signum is not None and not self.workers.several:
            self.snapshots.wait()
            self.stop.raise_interrupted(f"the end of epoch {self.epoch}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Saves, and stops after a signal to any of several workers."""
        self._save(epoch + 1, 0, [])
        if self.workers.several and self.workers.agree(self.stop)[0]:
            self.snapshots.wait()
            self.stop.raise_interrupted(f"the end of epoch {epoch + 1}")

    def on_train_end(self, logs: Any = None) -> None:
        """Waits for the last snapshot."""
        self.snapshots.wait()

    def _asked(self, steps: int) -> tuple[bool, bool]:
        """Two flags: stop here, and a snapshot is due."""
        due = bool(self.steps) and steps - self.saved_at >= self.steps
        if not self.workers.several:
            return self.stop.signum is not None, due or self._late()
        if steps - self.asked_at < _AGREE_EVERY:
            return False, due
        self.asked_at = steps
        stops, late = self.workers.agree(self.stop, self._late())
        return stops, due or late

    def _late(self) -> bool:
        passed = time.monotonic() - self.saved_time
        return bool(self.minutes) and passed >= 60 * self.minutes

    def _save(self, epoch: int, step: int, metrics: list[list[Any]]) -> None:
        text = self.history.read_text() if self.history.exists() else ""
        position = dataclasses.replace(
            self.start, epoch=epoch, step=step, best=self.best.value, history=text, metrics=metrics
        )
        self.snapshots.save(self.model, position)
        self.saved_time = time.monotonic()


class _Workers:
    """The processes of a run, which must act at the same step."""

    def __init__(self, strategy: tf.distribute.Strategy):
        self.strategy = strategy
        resolver = strategy.cluster_resolver
        spec = resolver.cluster_spec().as_dict() if resolver is not None else {}
        self.several = len(spec.get("worker", ())) > 1
        self.first = not self.several or resolver.task_id == 0
        self._total = tf.function(self._sum, autograph=False)

    def agree(self, stop: StopSignal, late: bool = False) -> tuple[bool, bool]:
        """Two flags: a worker has received a signal, and the first one must save a snapshot.

        All workers must call it at the same step.
        """
        own = [float(stop.signum is not None), float(late and self.first)]
        stops, late = self._total(tf.constant(own)).numpy().astype(bool).tolist()
        if stops:
            stop.signum = stop.signum or signal.SIGTERM
        return stops, late

    def _sum(self, value: tf.Tensor) -> tf.Tensor:
        each = self.strategy.run(tf.identity, args=(value,))
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None)

    def assign_sum(self, variable: tf.Variable, value: Any) -> None:
        """Sets a variable that is the sum of one part per replica to `value`.

        TensorFlow would divide the value by the number of replicas, which fails for integers.
        """
        parts = self.strategy.experimental_local_results(variable)
        for number, part in enumerate(parts):
            mine = np.array(value, part.dtype.as_numpy_dtype)
            part.assign(mine if self.first and number == 0 else np.zeros_like(mine))
