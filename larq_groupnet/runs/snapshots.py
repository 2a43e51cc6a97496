"""Snapshots of a run, from which it resumes to exactly the same weights after any interruption."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_groupnet.errors import RecipeError

KEPT = 2
"""Number of snapshots kept: the last one, and the one before it in case the last is damaged."""

_NAME = "snapshot"


@dataclasses.dataclass(frozen=True)
class Position:
    """The position of a run.

    Attributes:
        phase: Name of the phase.
        epoch: Number of finished epochs, over all phases.
        step: Number of finished steps of the next epoch.
        best: Best value of the headline metric in this phase so far, if any.
        history: Content of `history.csv`.
        metrics: State of Keras' metrics within an unfinished epoch, summed over replicas.
        classes: Names of the classes, in the order of the labels; empty if not known.
    """

    phase: str
    epoch: int
    step: int = 0
    best: float | None = None
    history: str = ""
    metrics: list[list[Any]] = dataclasses.field(default_factory=list)
    classes: list[str] = dataclasses.field(default_factory=list)


class Snapshots:
    """The folder of a run's snapshots, managed by TensorFlow's `CheckpointManager`.

    A snapshot is a checkpoint of the model, the optimizer, the random generators and the position.
    TensorFlow stores a checksum of every tensor. Snapshots of earlier versions, one folder each,
    can be read too.

    Args:
        folder: Folder of the snapshots.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._writer = concurrent.futures.ThreadPoolExecutor(1, "snapshots")
        self._writing: concurrent.futures.Future[None] | None = None

    def save(self, model: tf.keras.Model, position: Position) -> None:
        """Copies weights and states to the host; a thread writes them while training continues.

        A snapshot counts once it is complete. The next one waits for it, so that there are never
        more than two copies.

        Raises:
            OSError: If the previous snapshot could not be written; earlier ones still exist.
        """
        self.wait()
        content = json.dumps(dataclasses.asdict(position))
        number = position.epoch * 10**6 + position.step
        if _has_slots(model):  # A copy would lack the slots.
            self._write(tf.train.Checkpoint(**_state(model)), content, number)
            return
        copied = _copied(tf.train.Checkpoint(**_state(model)))
        self._writing = self._writer.submit(lambda: self._write(_tree(copied), content, number))

    def wait(self) -> None:
        """Waits until the last snapshot is on the disk.

        Raises:
            OSError: If it could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(self, state: tf.train.Checkpoint, content: str, number: int) -> None:
        state.position = _Text(content)
        if self._listed() is None:  # Relists what exists, so that it is found and deleted later.
            (self.folder / "checkpoint").unlink(missing_ok=True)
            if found := [str(path) for path in self._found()]:
                tf.compat.v1.train.update_checkpoint_state(
                    str(self.folder), found[-1], found, None, [1.0] * len(found), 0.0
                )
        manager = tf.train.CheckpointManager(
            state, str(self.folder), max_to_keep=KEPT, checkpoint_name=_NAME
        )
        try:
            manager.save(number)
        except tf.errors.OpError as error:  # For example a full disk.
            for left in self.folder.glob(f"{_NAME}-{number}[._]*"):
                shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
            path = self.folder / f"{_NAME}-{number}"
            raise OSError(f"the snapshot {path} cannot be written: {error.message}") from error

    def last(self) -> tuple[Position, Path] | None:
        """The newest intact snapshot and its path; prints the names of damaged ones.

        Raises:
            RecipeError: If all snapshots are damaged.
        """
        self.wait()
        paths = self._paths()
        for path in reversed(paths):
            try:
                return _read(path), path
            except (OSError, ValueError, LookupError, tf.errors.OpError) as error:
                reason = str(error).splitlines()[0]
                print(f"Snapshot {path} is damaged ({reason}); skipping it.", file=sys.stderr)
        if paths:
            raise RecipeError(
                f"output_dir: expected a snapshot to resume from. Received: {len(paths)} in "
                f"{self.folder}, all damaged. Remove the folder of the run and start again."
            )
        return None

    @staticmethod
    def restore(model: tf.keras.Model, path: Path) -> None:
        """Loads a snapshot into a compiled model of the same phase."""
        checkpoint = tf.train.Checkpoint(**_state(model))
        if not path.is_dir():  # Reads the rest, too: TensorFlow warns of unused values.
            checkpoint.position = _Text()
            checkpoint.save_counter.assign(0)  # Created on first use.
        checkpoint.read(_prefix(path)).assert_existing_objects_matched()

    def _paths(self) -> list[Path]:
        earlier = sorted(self.folder.glob("[0-9]*-[0-9]*/"))
        listed = self._listed()
        return [*earlier, *(self._found() if listed is None else listed)]

    def _listed(self) -> list[Path] | None:
        """The snapshots in TensorFlow's list; `None` if there is no readable list."""
        try:
            state = tf.train.get_checkpoint_state(str(self.folder))
        except ValueError:  # The list is empty, or not text.
            return None
        return state and [Path(path) for path in state.all_model_checkpoint_paths]

    def _found(self) -> list[Path]:
        """The snapshots in the folder, listed or not."""
        found = [path.with_suffix("") for path in self.folder.glob(f"{_NAME}-*.index")]
        return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def _state(model: tf.keras.Model) -> dict[str, Any]:
    """Everything that training changes. Keras omits the state of dropout's random generators."""
    dropouts = [x for x in model.layers if isinstance(x, tf.keras.layers.Dropout)]
    drawn = {x.name: x._random_generator._generator for x in dropouts}
    known = {name: generator for name, generator in drawn.items() if generator is not None}
    return {"model": model, "optimizer": model.optimizer, "random": known}


def _has_slots(model: tf.keras.Model) -> bool:
    """True for Keras' older optimizers, such as Bop's: only TensorFlow finds all of their state."""
    return not isinstance(model.optimizer, tf.keras.optimizers.Optimizer)


def _copied(root: tf.train.Checkpoint) -> list[tuple[Any, dict[str, int]]]:
    """The objects of a checkpoint: for each its value on the host, and its children by name.

    Keras calls callbacks in the scope of its strategy, where plain variables cannot be created, so
    `_tree` creates them elsewhere.
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
    """A checkpoint with the same structure, and its own variables on the host."""
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
    """The path of a snapshot's checkpoint; an earlier version used one folder per snapshot."""
    return str(path / "state" if path.is_dir() else path)


def _read(path: Path) -> Position:
    """Reads every tensor of a snapshot, to compare the checksums, and returns its position.

    Raises:
        OSError, ValueError, LookupError, tf.errors.OpError: If the snapshot is damaged.
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
    """A text in a checkpoint. Not a variable, because texts cannot be sent to all replicas."""

    def __init__(self, text: str = ""):
        super().__init__()
        self.text = text

    def serialize(self) -> str:
        """Called by TensorFlow to write the text."""
        return self.text

    def deserialize(self, string_value: str) -> None:
        """Called by TensorFlow with the text it has read."""
        self.text = string_value
