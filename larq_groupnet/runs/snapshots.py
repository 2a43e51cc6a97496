"""Snapshots of a run, from which it resumes to the very same weights after any interruption."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import tensorflow as tf

from larq_groupnet.errors import Interrupted, RecipeError

KEPT = 2
"""Snapshots kept: the last one and, should that be damaged, the one before it."""

_NAME = "snapshot"
_AGREE_EVERY = 8
"""Steps after which the workers of a run ask each other for signals."""


@dataclasses.dataclass(frozen=True)
class Position:
    """Where a run stands.

    Attributes:
        phase: Name of the phase.
        epoch: Epochs that are finished, counted over all phases.
        step: Steps of the next epoch that are finished.
        best: Best value of the headline metric in this phase so far, if any.
        history: Content of `history.csv`.
        metrics: State of Keras' metrics within an unfinished epoch, summed over replicas.
        classes: What is learned, in the order of the labels; empty if the names are not known.
    """

    phase: str
    epoch: int
    step: int = 0
    best: float | None = None
    history: str = ""
    metrics: list[list[Any]] = dataclasses.field(default_factory=list)
    classes: list[str] = dataclasses.field(default_factory=list)


class Snapshots:
    """The folder of a run's snapshots, kept by TensorFlow's `CheckpointManager`.

    A snapshot is a checkpoint of the model, the optimizer, the random generators and the position.
    TensorFlow stores a checksum of every tensor. Those of earlier versions, a folder each, are read
    too.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._writer = concurrent.futures.ThreadPoolExecutor(1, "snapshots")
        self._writing: concurrent.futures.Future[None] | None = None

    def save(self, model: tf.keras.Model, position: Position) -> None:
        """Copies weights and states to the host; a thread writes them while training goes on.

        A snapshot counts once it is whole. The next one waits for it, so that there are never more
        than two copies.

        Raises:
            OSError: If the snapshot before cannot be written; earlier ones are still there.
        """
        self.wait()
        content = json.dumps(dataclasses.asdict(position))
        number = position.epoch * 10**6 + position.step
        if _has_slots(model):  # Which no copy would have.
            self._write(tf.train.Checkpoint(**_state(model)), content, number)
            return
        copied = _copied(tf.train.Checkpoint(**_state(model)))
        self._writing = self._writer.submit(lambda: self._write(_tree(copied), content, number))

    def wait(self) -> None:
        """Waits until the last snapshot is on the disk.

        Raises:
            OSError: If it cannot be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(self, state: tf.train.Checkpoint, content: str, number: int) -> None:
        state.position = _Text(content)
        manager = tf.train.CheckpointManager(
            state, str(self.folder), max_to_keep=KEPT, checkpoint_name=_NAME
        )
        try:
            manager.save(number)
        except tf.errors.OpError as error:  # A full disk, for one.
            for left in self.folder.glob(f"{_NAME}-{number}*"):
                shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
            path = self.folder / f"{_NAME}-{number}"
            raise OSError(f"the snapshot {path} cannot be written: {error.message}") from error

    def last(self) -> tuple[Position, Path] | None:
        """The newest snapshot that is whole, and where it lies; a damaged one is named.

        Raises:
            RecipeError: If there are snapshots and all are damaged.
        """
        self.wait()
        paths = self._paths()
        for path in reversed(paths):
            try:
                return _read(path), path
            except (OSError, ValueError, LookupError, tf.errors.OpError) as error:
                reason = str(error).splitlines()[0]
                print(f"Snapshot {path} is damaged ({reason}); going back.", file=sys.stderr)
        if paths:
            raise RecipeError(
                f"output_dir: expected a snapshot to resume from. Received: {len(paths)} in "
                f"{self.folder}, all damaged. Remove the folder of the run and start again."
            )
        return None

    @staticmethod
    def restore(model: tf.keras.Model, path: Path) -> None:
        """Puts a snapshot into a compiled model of the same phase."""
        checkpoint = tf.train.Checkpoint(**_state(model))
        checkpoint.read(_prefix(path)).assert_existing_objects_matched()

    def _paths(self) -> list[Path]:
        earlier = sorted(self.folder.glob("[0-9]*-[0-9]*/"))
        state = tf.train.get_checkpoint_state(str(self.folder))
        return [*earlier, *map(Path, state.all_model_checkpoint_paths if state else ())]


def _state(model: tf.keras.Model) -> dict[str, Any]:
    """All that changes in training. Keras leaves out where dropout is in its random numbers."""
    dropouts = [x for x in model.layers if isinstance(x, tf.keras.layers.Dropout)]
    drawn = {x.name: x._random_generator._generator for x in dropouts}
    known = {name: generator for name, generator in drawn.items() if generator is not None}
    return {"model": model, "optimizer": model.optimizer, "random": known}


def _has_slots(model: tf.keras.Model) -> bool:
    """True of Keras' older optimizers, as Bop has one: only TensorFlow finds all of their state."""
    return not isinstance(model.optimizer, tf.keras.optimizers.Optimizer)


def _copied(root: tf.train.Checkpoint) -> list[tuple[Any, dict[str, int]]]:
    """What a checkpoint holds: of each object its value on the host, and its children by name.

    Keras calls callbacks in the scope of its strategy, where no plain variable can be made, so that
    `_tree` has to make them elsewhere.
    """
    view = tf.train.TrackableView(root)
    objects = view.descendants()
    numbers = {id(each): number for number, each in enumerate(objects)}
    return [
        (
            each.numpy() if isinstance(each, tf.Variable) else None,
            {name: numbers[id(child)] for name, child in view.children(each).items()},
        )
        for each in objects
    ]


def _tree(copied: list[tuple[Any, dict[str, int]]]) -> tf.train.Checkpoint:
    """A checkpoint of the same structure, with variables of its own on the host."""
    with tf.device("cpu:0"):
        root, *rest = (
            tf.train.Checkpoint() if value is None else tf.Variable(value) for value, _ in copied
        )
    objects = [root, *rest]
    for each, (_, children) in zip(objects, copied, strict=True):
        for name, number in children.items():
            setattr(each, name, objects[number])
    return root


def _prefix(path: Path) -> str:
    """The checkpoint of a snapshot; an earlier version had a folder for each."""
    return str(path / "state" if path.is_dir() else path)


def _read(path: Path) -> Position:
    """The position of a snapshot, after every tensor of it was read and so its checksum compared.

    Raises:
        OSError, ValueError, LookupError, tf.errors.OpError: If it is damaged.
    """
    reader = tf.train.load_checkpoint(_prefix(path))
    for name in reader.get_variable_to_shape_map():
        reader.get_tensor(name)
    if path.is_dir():
        return Position(**json.loads((path / "position.json").read_text()))
    content = _Text()
    tf.train.Checkpoint(position=content).read(_prefix(path)).expect_partial()
    return Position(**json.loads(content.text))


class _Text(tf.train.experimental.PythonState):
    """A text in a checkpoint. A variable would be sent to all replicas, which texts cannot be."""

    def __init__(self, text: str = ""):
        super().__init__()
        self.text = text

    def serialize(self) -> str:
        """As TensorFlow writes it."""
        return self.text

    def deserialize(self, string_value: str) -> None:
        """As TensorFlow has read it."""
        self.text = string_value


@dataclasses.dataclass(frozen=True)
class Every:
    """When to save within an epoch; 0 for never.

    Attributes:
        steps: Steps between two snapshots.
        minutes: Minutes between two snapshots, by the clock of the first worker.
    """

    steps: int = 0
    minutes: float = 0.0


class SnapshotCallback(tf.keras.callbacks.Callback):
    """Saves after each epoch, as often in between as asked for, and once a signal has come.

    With several workers a signal to one of them stops all at the same step.

    Args:
        snapshots: Where to save.
        stop: Says whether a signal has come.
        start: Where this call of `fit` starts.
        best: Knows the best value so far.
        history: The `history.csv`.
        strategy: Where the run computes.
        every: When to save within an epoch.
    """

    _supports_tf_logs = True  # Keras then does not wait for the numbers of a step.

    def __init__(
        self,
        snapshots: Snapshots,
        stop: StopSignal,
        start: Position,
        best: Any,
        history: Path,
        strategy: tf.distribute.Strategy,
        every: Every | None = None,
    ):
        super().__init__()
        self.snapshots = snapshots
        self.stop = stop
        self.start = start
        self.best = best
        self.history = history
        self.every = every or Every()
        self.epoch, self.first_step, self.asked_at = start.epoch, 0, 0
        self.saved_at, self.saved_time = 0, time.monotonic()
        self.workers = _Workers(strategy)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Keras has just reset its metrics; in an epoch that was cut in two they go on."""
        self.epoch, self.first_step, self.asked_at, self.saved_at = epoch, 0, 0, 0
        if epoch == self.start.epoch and self.start.step:
            self.first_step = self.start.step
            for metric, values in zip(self.model.metrics, self.start.metrics, strict=True):
                for variable, value in zip(metric.variables, values, strict=True):
                    self.workers.assign_sum(variable, value)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Saves or stops here if it is time. After the last step only the validation is left."""
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
        """Stops here if it was asked for; the epoch will be repeated."""
        if self.stop.signum is not None and not self.workers.several:
            self.snapshots.wait()
            self.stop.raise_interrupted(f"the end of epoch {self.epoch}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Saves."""
        self._save(epoch + 1, 0, [])
        if self.workers.several and self.workers.agree(self.stop)[0]:
            self.snapshots.wait()
            self.stop.raise_interrupted(f"the end of epoch {epoch + 1}")

    def on_train_end(self, logs: Any = None) -> None:
        """Waits for the last one."""
        self.snapshots.wait()

    def _asked(self, steps: int) -> tuple[bool, bool]:
        """Whether to stop, and whether a snapshot is due."""
        due = bool(self.every.steps) and steps - self.saved_at >= self.every.steps
        if not self.workers.several:
            return self.stop.signum is not None, due or self._late()
        if steps - self.asked_at < _AGREE_EVERY:
            return False, due
        self.asked_at = steps
        stops, late = self.workers.agree(self.stop, self._late())
        return stops, due or late

    def _late(self) -> bool:
        passed = time.monotonic() - self.saved_time
        return bool(self.every.minutes) and passed >= 60 * self.every.minutes

    def _save(self, epoch: int, step: int, metrics: list[list[Any]]) -> None:
        text = self.history.read_text() if self.history.exists() else ""
        position = dataclasses.replace(
            self.start, epoch=epoch, step=step, best=self.best.value, history=text, metrics=metrics
        )
        self.snapshots.save(self.model, position)
        self.saved_time = time.monotonic()


class _Workers:
    """The processes of a run, which have to act at the same step."""

    def __init__(self, strategy: tf.distribute.Strategy):
        self.strategy = strategy
        resolver = strategy.cluster_resolver
        spec = resolver.cluster_spec().as_dict() if resolver is not None else {}
        self.several = len(spec.get("worker", ())) > 1
        self.first = not self.several or resolver.task_id == 0
        self._total = tf.function(self._sum, autograph=False)

    def agree(self, stop: StopSignal, late: bool = False) -> tuple[bool, bool]:
        """Whether a signal has come to any of them, and whether the first one is late with saving.

        All must ask at the same time.
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
        """Gives a variable of which every replica has a part the sum `value`.

        TensorFlow would divide it by the replicas, which whole numbers do not survive.
        """
        parts = self.strategy.experimental_local_results(variable)
        for number, part in enumerate(parts):
            mine = np.array(value, part.dtype.as_numpy_dtype)
            part.assign(mine if self.first and number == 0 else np.zeros_like(mine))


class StopSignal:
    """Remembers SIGINT or SIGTERM, so that a run can stop where nothing is lost.

    Only the main thread of a process can take signals: a run in another thread leaves them alone.

    Args:
        output_dir: Of the run, for the message.
    """

    def __init__(self, output_dir: Path) -> None:
        self.output_dir = output_dir
        self.signum: int | None = None

    @contextlib.contextmanager
    def watching(self) -> Iterator[StopSignal]:
        """Takes both signals; a second one of a kind acts at once."""
        with _handling(self._remember):
            yield self

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Lets both signals end at once what has nothing to save."""

        def stop(signum: int, frame: FrameType | None) -> None:
            self._remember(signum, frame)
            self.raise_interrupted("once, outside training")

        with _handling(stop):
            yield

    def raise_interrupted(self, where: str) -> None:
        """Ends the run."""
        assert self.signum is not None
        name = signal.Signals(self.signum).name
        raise Interrupted(
            f"stopped by {name} at {where}; everything up to there is saved. Resume with the same "
            f"command and --output_dir {self.output_dir}",
            self.signum,
        )

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        signal.signal(signum, signal.SIG_DFL)


@contextlib.contextmanager
def _handling(handler: Any) -> Iterator[None]:
    """SIGINT and SIGTERM go to `handler`, if this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.signal(s, handler) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, earlier in before.items():
            signal.signal(signum, earlier)
