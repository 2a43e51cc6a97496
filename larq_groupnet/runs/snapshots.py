"""Snapshots of a run, from which it goes on to the very same weights after any interruption."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import tensorflow as tf

from larq_groupnet.errors import Interrupted, RecipeError

KEPT = 2
"""Snapshots kept: the last one and, should that be damaged, the one before it."""


@dataclasses.dataclass(frozen=True)
class Position:
    """Where a run stands.

    Attributes:
        phase: Name of the phase.
        epoch: Epochs that are finished, counted over all phases.
        step: Steps of the next epoch that are finished.
        best: Best value of the headline metric in this phase so far, if any.
        history: Content of `history.csv`.
        metrics: State of Keras' metrics within an unfinished epoch.
    """

    phase: str
    epoch: int
    step: int = 0
    best: float | None = None
    history: str = ""
    metrics: list[list[Any]] = dataclasses.field(default_factory=list)


class Snapshots:
    """The folder of a run's snapshots.

    Each is a folder of its own with TensorFlow's checkpoint, the position, and the SHA-256 of every
    file. It is written under another name and renamed when it is whole.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def save(self, model: tf.keras.Model, position: Position) -> None:
        """Writes weights, state of the optimizer and of random generators, and the position.

        Raises:
            OSError: If it cannot be written; the snapshots before are still there.
        """
        path = self.folder / f"{position.epoch:05d}-{position.step:06d}"
        temporary = self.folder / f".{path.name}.partial"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        checkpoint = _checkpoint(model)
        try:
            checkpoint.write(str(temporary / "state"))
        except tf.errors.OpError as error:  # A full disk, for one.
            shutil.rmtree(temporary, ignore_errors=True)
            raise OSError(f"the snapshot {path} cannot be written: {error.message}") from error
        (temporary / "position.json").write_text(json.dumps(dataclasses.asdict(position)))
        sums = {file.name: _sha256(file) for file in sorted(temporary.iterdir())}
        (temporary / "sha256.json").write_text(json.dumps(sums))
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)
        for old in self._paths()[:-KEPT]:
            shutil.rmtree(old)

    def last(self) -> tuple[Position, Path] | None:
        """The newest snapshot that is whole, and where it lies; a damaged one is named.

        Raises:
            RecipeError: If there are snapshots and all are damaged.
        """
        paths = self._paths()
        for path in reversed(paths):
            fault = _fault(path)
            if fault is None:
                return Position(**json.loads((path / "position.json").read_text())), path
            print(f"Snapshot {path} is damaged ({fault}); going back.", file=sys.stderr)
        if paths:
            raise RecipeError(
                f"output_dir: expected a snapshot to go on from. Received: {len(paths)} in "
                f"{self.folder}, all damaged. Remove the folder of the run and start again."
            )
        return None

    @staticmethod
    def restore(model: tf.keras.Model, path: Path) -> None:
        """Puts a snapshot into a compiled model of the same phase."""
        checkpoint = _checkpoint(model)
        checkpoint.read(str(path / "state")).assert_existing_objects_matched()

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*"))


def _checkpoint(model: tf.keras.Model) -> tf.train.Checkpoint:
    """All that changes in training. Keras leaves out where dropout is in its random numbers."""
    dropouts = [x for x in model.layers if isinstance(x, tf.keras.layers.Dropout)]
    drawn = {x.name: x._random_generator._generator for x in dropouts}
    known = {name: generator for name, generator in drawn.items() if generator is not None}
    return tf.train.Checkpoint(model=model, optimizer=model.optimizer, random=known)


class SnapshotCallback(tf.keras.callbacks.Callback):
    """Saves after each epoch, and at the end of a step once a signal has come.

    Args:
        snapshots: Where to save.
        stop: Says whether a signal has come.
        start: Where this call of `fit` starts.
        best: Knows the best value so far.
        history: The `history.csv`.
    """

    def __init__(
        self, snapshots: Snapshots, stop: StopSignal, start: Position, best: Any, history: Path
    ):
        super().__init__()
        self.snapshots = snapshots
        self.stop = stop
        self.start = start
        self.best = best
        self.history = history
        self.epoch = start.epoch
        self.step = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Keras has just reset its metrics; in an epoch that was cut in two they go on."""
        self.epoch, self.step = epoch, 0
        if epoch == self.start.epoch and self.start.step:
            self.step = self.start.step
            for metric, values in zip(self.model.metrics, self.start.metrics, strict=True):
                for variable, value in zip(metric.variables, values, strict=True):
                    variable.assign(np.array(value, variable.dtype.as_numpy_dtype))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Stops here if it was asked for."""
        self.step += 1
        # After the last step there is nothing to go on with but the validation.
        if self.stop.signum is not None and batch + 1 < self.params["steps"]:
            state = [[v.numpy().tolist() for v in m.variables] for m in self.model.metrics]
            self._save(self.epoch, self.step, state)
            self.stop.raise_interrupted(f"epoch {self.epoch + 1}, step {self.step}")

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Stops here if it was asked for; the epoch will be repeated."""
        if self.stop.signum is not None:
            self.stop.raise_interrupted(f"the end of epoch {self.epoch}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Saves."""
        self._save(epoch + 1, 0, [])

    def _save(self, epoch: int, step: int, metrics: list[list[Any]]) -> None:
        text = self.history.read_text() if self.history.exists() else ""
        position = Position(self.start.phase, epoch, step, self.best.value, text, metrics)
        self.snapshots.save(self.model, position)


class StopSignal:
    """Remembers SIGINT or SIGTERM, so that a run can stop where nothing is lost.

    Args:
        output_dir: Of the run, for the message.
    """

    def __init__(self, output_dir: Path) -> None:
        self.output_dir = output_dir
        self.signum: int | None = None

    @contextlib.contextmanager
    def watching(self) -> Iterator[StopSignal]:
        """Takes both signals; a second one of a kind acts at once."""
        before = {s: signal.signal(s, self._remember) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Lets both signals end at once what has nothing to save."""

        def stop(signum: int, frame: FrameType | None) -> None:
            self._remember(signum, frame)
            self.raise_interrupted("once, outside training")

        before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def raise_interrupted(self, where: str) -> None:
        """Ends the run."""
        assert self.signum is not None
        name = signal.Signals(self.signum).name
        raise Interrupted(
            f"stopped by {name} at {where}; everything up to there is saved. Go on with the same "
            f"command and --output_dir {self.output_dir}",
            self.signum,
        )

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        signal.signal(signum, signal.SIG_DFL)


def _fault(path: Path) -> str | None:
    """What is wrong with a snapshot."""
    try:
        sums = json.loads((path / "sha256.json").read_text())
        for name, expected in sums.items():
            if _sha256(path / name) != expected:
                return f"{name} has changed"
    except (OSError, ValueError) as error:
        return str(error)
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
