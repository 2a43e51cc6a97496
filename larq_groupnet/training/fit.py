"""Runs the training phases with Keras `fit`, passes weights on by name, and resumes."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_groupnet.data.pipeline import Pipeline
from larq_groupnet.deploy import quantize
from larq_groupnet.files import full_disk_as_os_error, replacing
from larq_groupnet.hints import counted
from larq_groupnet.network.build import build
from larq_groupnet.recipes.recipe import Phase, Recipe, RecipeError
from larq_groupnet.runs.identity import check_classes
from larq_groupnet.runs.saved import first_images, load_model
from larq_groupnet.runs.saving import SnapshotCallback
from larq_groupnet.runs.snapshots import Position, Snapshots
from larq_groupnet.runs.stopping import StopSignal
from larq_groupnet.tasks.task import Task
from larq_groupnet.training.callbacks import (
    BestWeights,
    PhaseCSVLogger,
    StopOnNonFinite,
    StructureLog,
)
from larq_groupnet.training.distillation import Teacher, distilled
from larq_groupnet.training.distribution import (
    Runtime,
    count_batches,
    test_step,
    training_share,
    validation_share,
)
from larq_groupnet.training.optimizers import optimizer
from larq_groupnet.training.step_log import (
    EpochBoard,
    Progress,
    StepLog,
    ending_line,
    log_gradient_norm,
)
from larq_groupnet.weights.by_name import copy_weights
from larq_groupnet.weights.described import LAST
from larq_groupnet.weights.keras_files import opened

CALIBRATION_IMAGES = 64
"""Number of training images that calibrate the ranges of an int8 phase."""


@dataclasses.dataclass(frozen=True)
class Session:
    """Everything that the phases of a run share.

    Attributes:
        data: Endless batches of images and truths.
        steps_per_epoch: Steps between two validations.
        validation_data: One pass over the validation set.
        output_dir: Folder for `history.csv`, `logs/` (TensorBoard), `PHASE.h5` (best weights),
            `PHASE-last.h5` and `snapshots/`, from which a run resumes.
        task: Loss and metrics.
        strategy: Where to compute.
        runtime: How to compute.
        teacher: Teacher for the phases that distil.
        scratch_dir: Folder to write to instead, if this process is not the chief.
        description: The description to store in weights files, see `identity.describe_recipe`;
            empty for none.
        new_head: True if the weights that the first phase starts from have learned other classes.
    """

    data: Pipeline
    steps_per_epoch: int
    validation_data: tf.data.Dataset
    output_dir: Path
    task: Task
    strategy: tf.distribute.Strategy = dataclasses.field(default_factory=tf.distribute.get_strategy)
    runtime: Runtime = dataclasses.field(default_factory=Runtime)
    teacher: Teacher | None = None
    scratch_dir: Path | None = None
    description: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    new_head: bool = False

    @property
    def classes(self) -> list[str]:
        """Names of the classes, if known."""
        return list(self.description.get("classes", ()))

    def description_of(self, phase: Phase) -> dict[str, Any]:
        """Description of the weights of a phase; empty for int8: a configuration is not enough."""
        if phase.int8 or not self.description:
            return {}
        config = {**self.description["config"], "binary": phase.binary}
        return {**self.description, "config": config}

    @property
    def write_dir(self) -> Path:
        """Where this process writes."""
        return self.scratch_dir or self.output_dir

    def file(self, name: str) -> Path:
        """A file of this process, else of the run that is resumed, if the chief left it there."""
        own, left = self.write_dir / name, self.output_dir / name
        return left if left.exists() and not own.exists() else own

    def weights(self, phase: Phase) -> Path:
        """The best weights of a phase, from this process or from the run that is resumed."""
        return self.file(f"{phase.name}.h5")

    def batches(self, epoch: int, step: int) -> tf.data.Dataset:
        """Training data from a step of an epoch on, shared among the replicas."""
        data, steps = self.data, self.steps_per_epoch
        if self.strategy.num_replicas_in_sync == 1:
            return data.train_batches(steps, epoch, step)
        return self.strategy.distribute_datasets_from_function(
            lambda context: training_share(data, steps, epoch, step, context)
        )

    def validation(self, batch_size: int) -> tuple[tf.data.Dataset, int | None]:
        """The validation set, shared among the replicas, and the steps of a pass."""
        if self.strategy.num_replicas_in_sync == 1:
            return self.validation_data, None
        shared = self.strategy.distribute_datasets_from_function(
            lambda context: validation_share(self.validation_data, batch_size, context)
        )
        return shared, count_batches(self.validation_data)


def train(recipe: Recipe, session: Session, start_from: tf.keras.Model | None = None) -> Path:
    """Runs the phases of a recipe, each from the best weights of the phase that it names.

    Resumes where an earlier call on the same folder stopped. On the same machine, with
    TensorFlow's deterministic operations, weights and history are as if it had not stopped.

    Args:
        recipe: What to train.
        session: Data, folders and options of the run.
        start_from: A model whose weights the first phase starts from. If its head differs, the
            recipe's head starts with random weights.

    Returns:
        The weights of the best epoch of the last phase.

    Raises:
        TrainingError: If the loss becomes NaN or infinite.
        OSError: If the disk is full; names the file.
        Interrupted: After SIGINT or SIGTERM, once everything is saved.
    """
    found = Snapshots(session.output_dir / "snapshots").last()
    if found is None:
        _check_untrained(session.output_dir)
    else:
        check_classes(found[0].classes, session.classes, f"{found[1]}", recipe.dataset)
        if found[0].epoch == (epochs := sum(phase.epochs for phase in recipe.phases)):
            print(f"All {epochs} epochs are trained; a larger --epochs adds more.", flush=True)
    before: tf.keras.Model | None = start_from
    named = {phase.name: phase for phase in recipe.phases}
    first_epoch = 0
    best = session.output_dir
    for phase in recipe.trained:
        end = first_epoch + phase.epochs
        scope = contextlib.nullcontext() if phase.int8 else session.strategy.scope()
        with scope:
            model = build(recipe.model.replace(binary=phase.binary), name=recipe.name)
            if phase.distils and session.teacher:
                model = distilled(model, session.teacher, phase, session.task, recipe.normalisation)
        unfinished = found is None or found[0].epoch < end
        if unfinished:
            if phase.weights_from and named[phase.weights_from].epochs:
                _load(model, session.weights(named[phase.weights_from]))
            elif before is not None:
                first = before is start_from
                left_out = copy_weights(before, model, first, first and session.new_head)
                if left_out:
                    what = "classes differ" if session.new_head else "head differs"
                    layers = dict.fromkeys(name.partition("/")[0] for name in left_out)
                    print(f"New in {model.name}, because the {what}: {', '.join(layers)}")
        if phase.int8:
            model = _with_integers(model, session, phase)
        if unfinished:
            start, snapshot = Position(phase.name, first_epoch, classes=session.classes), None
            if found is not None and found[0].phase == phase.name:
                start, snapshot = found
            _fit(session, model, phase, start, snapshot, end)
        best = session.weights(phase)
        _load(model, best)
        before, first_epoch = model, end
    return best


def _check_untrained(output_dir: Path) -> None:
    """Raises RecipeError for a run without snapshots, whose weights would be overwritten.

    A run that was killed in its first epoch has at most one row of history.
    """
    history = output_dir / "history.csv"
    epochs = len(history.read_text().splitlines()) - 1 if history.exists() else 0
    if epochs > 1:
        raise RecipeError(
            f"output_dir: expected a snapshot to resume from. Received: none in {output_dir}, "
            f"whose history has {epochs} epochs; training would overwrite their weights. Put "
            "snapshots/ back, or name another folder."
        )


def _load(model: tf.keras.Model, path: Path) -> None:
    """Loads the weights of a phase; an error names a damaged file."""
    with opened(path):
        model.load_weights(path)


def _with_integers(model: tf.keras.Model, session: Session, phase: Phase) -> tf.keras.Model:
    """The network of an int8 phase, made once, because its layers depend on the earlier weights.

    It is made from a model on one device, so that the file holds no layers for several devices.
    """
    path = session.file(f"{phase.name}.keras")
    if not path.exists():
        with replacing(path) as temporary:
            images = first_images(session.data, "train", CALIBRATION_IMAGES)
            quantize(model, images).save(temporary)
    with session.strategy.scope():
        return load_model(path, session.strategy.num_replicas_in_sync > 1)


def _fit(
    session: Session,
    model: tf.keras.Model,
    phase: Phase,
    start: Position,
    snapshot: Path | None,
    end: int,
) -> None:
    """Trains one phase from a position to epoch `end`."""
    compile_model(model, session, phase)
    snapshots = Snapshots(session.write_dir / "snapshots")
    history = session.write_dir / "history.csv"
    with replacing(history) as temporary:
        temporary.write_text(start.history or _rows_before(start.epoch, history))
    images, _ = next(iter(session.validation_data))
    validation, validation_steps = session.validation(len(images))
    if snapshot is not None:
        model.evaluate(validation, steps=1, verbose=0)  # Metrics are created on first use.
        snapshots.restore(model, snapshot)
        print(f"Resuming in epoch {start.epoch + 1}, step {start.step + 1}", flush=True)
    print(
        f"Phase {phase.name}: {counted(phase.epochs, 'epoch')} of "
        f"{counted(session.steps_per_epoch, 'step')}",
        flush=True,
    )
    best = _best_weights(session, phase, start.best)
    # The rest of an interrupted epoch is a separate call with fewer steps.
    cuts = [(start.epoch, start.step), *([(start.epoch + 1, 0)] if start.step else [])]
    with StopSignal(session.output_dir).watching() as stop, ending_line(), full_disk_as_os_error():
        for epoch, step in cuts:
            position = dataclasses.replace(start, epoch=epoch, step=step)
            model.fit(
                session.batches(epoch, step),
                steps_per_epoch=session.steps_per_epoch - step,
                initial_epoch=epoch,
                epochs=epoch + 1 if step else end,
                validation_data=validation,
                validation_steps=validation_steps,
                callbacks=[
                    *callbacks(session, phase, images, best),
                    SnapshotCallback(
                        snapshots,
                        stop,
                        position,
                        best,
                        history,
                        session.strategy,
                        session.runtime.snapshot_steps,
                        session.runtime.snapshot_minutes,
                    ),
                ],
            )
            last = snapshots.last()
            if step and phase.average and last:  # Keras leaves the averages in place.
                snapshots.restore(model, last[1])
            if stop.signum is not None:  # It came while the last epoch was being saved.
                stop.raise_interrupted(f"the end of phase {phase.name}")


def _rows_before(epoch: int, history: Path) -> str:
    """The history up to an epoch: a killed run may leave a row without its snapshot."""
    lines = history.read_text().splitlines(keepends=True) if history.exists() else []
    rows = [line for line in lines[1:] if int(line.partition(",")[0]) < epoch]
    return "".join([*lines[:1], *rows])


def _best_weights(session: Session, phase: Phase, value: float | None) -> BestWeights:
    """The callback that saves the weights of a phase; `value` is the best metric so far."""
    return BestWeights(
        session.write_dir / f"{phase.name}.h5",
        session.write_dir / f"{phase.name}{LAST}.h5",
        session.task.headline,
        value,
        phase.average > 0,
        session.description_of(phase),
    )


def callbacks(
    session: Session, phase: Phase, images: tf.Tensor, best: BestWeights
) -> list[tf.keras.callbacks.Callback]:
    """The callbacks of a phase, except for snapshots.

    Args:
        session: The session of the run.
        phase: The phase.
        images: A batch with which to find a layer that is not finite.
        best: The callback that saves the weights.
    """
    logs = session.write_dir / "logs" / phase.name
    return [
        StopOnNonFinite(phase.name, phase.learning_rate, images),
        best,
        PhaseCSVLogger(session.write_dir / "history.csv", phase.name),
        EpochBoard(str(logs), profile_batch=session.runtime.profiled() or 0),
        StructureLog(logs / "structure"),
        StepLog(logs / "steps", session.data.batch_size, session.runtime.log_steps),
        Progress(),
    ]


def compile_model(model: tf.keras.Model, session: Session, phase: Phase) -> None:
    """Compiles a model as a phase describes it."""
    # Metrics are already equal on all replicas; Keras would add them up by default.
    model.distribute_reduction_method = "first"
    if session.strategy.num_replicas_in_sync > 1:
        model.test_step = functools.partial(test_step, model)
    with session.strategy.scope():
        model.compile(
            optimizer=optimizer(phase, model, session.steps_per_epoch),
            loss=session.task.loss(phase.label_smoothing, phase.loss),
            metrics=session.task.metrics(),
            jit_compile=session.runtime.jit_compile,
            steps_per_execution=session.runtime.steps_per_execution,
        )
        if session.runtime.log_steps:
            log_gradient_norm(model)
