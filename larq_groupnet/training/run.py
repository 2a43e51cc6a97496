"""One run from a recipe to a folder: train, convert, evaluate both networks, draw."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_groupnet.data.base import Dataset
from larq_groupnet.data.frequencies import class_counts, median_frequency_weights
from larq_groupnet.data.pipeline import class_names, prepare
from larq_groupnet.files import path_of, write_json
from larq_groupnet.inference.judge import Judging, judge
from larq_groupnet.recipes.announce import announce
from larq_groupnet.recipes.fitting import check_recipe
from larq_groupnet.recipes.recipe import CLASS_WEIGHTS, Recipe, RecipeError
from larq_groupnet.recipes.start import with_start
from larq_groupnet.runs.guards import check_folder, claimed, naming_bad_files
from larq_groupnet.runs.identity import changed_images, check_classes, describe_recipe, read_classes
from larq_groupnet.runs.lock import check_free
from larq_groupnet.runs.saved import pipeline_of
from larq_groupnet.runs.start import check_start, learned_other_classes
from larq_groupnet.runs.stopping import StopSignal
from larq_groupnet.tasks.task import task_of
from larq_groupnet.training.callbacks import TrainingError
from larq_groupnet.training.distillation import check_blocks, check_teacher, load_teacher
from larq_groupnet.training.distribution import Runtime, check_batch, gone, is_chief, open_strategy
from larq_groupnet.training.fit import Session, train
from larq_groupnet.training.optimizers import check_optimizer
from larq_groupnet.training.start import load_start


def run(
    recipe: Recipe,
    data_dir: str | Path,
    output_dir: str | Path,
    start_from: str | Path | None = None,
    runtime: Runtime | None = None,
    notes: Sequence[str] = (),
    given: Collection[str] | None = (),
    sample: int | None = 0,
) -> dict[str, Any] | None:
    """Does everything that `train.py` does, and returns the content of `results.json`.

    If the folder holds an unfinished run of the same recipe, it is resumed.

    Args:
        recipe: What to train.
        data_dir: Folder of the datasets, which are written there on first use.
        output_dir: Folder for `recipe.json`, `history.csv`, `logs/`, `snapshots/`, the weights of
            each phase (`PHASE.h5` of the best epoch and `PHASE-last.h5`) and the files of `judge`.
        start_from: Weights that the first phase starts from, instead of the recipe's; see
            `training.start.load_start`.
        runtime: Devices and precision of the computation.
        notes: Lines to print after all checks.
        given: Options of the network that registered weights must not change; `None` for all, as
            when a run is resumed.
        sample: Test images to judge on, see `Judging`; `None` to free the machines without judging.
            `inference.judge.judge_run` does it later.

    Returns:
        The results, empty without a judgement; `None` from a worker that is not the chief, which
        writes nothing.

    Raises:
        RecipeError: Before anything is written, if the recipe does not fit the dataset, its network
            cannot be built, or `output_dir` holds something else or is too small.
        OutputError: If `output_dir` cannot be written.
        DatasetError: If a file of the dataset has become unreadable since its first use; names it.
        TrainingError: If training diverges.
        Interrupted: After SIGINT or SIGTERM.
        ConversionError: If the trained network does not convert; the weights are kept.
    """
    data_dir, output_dir = path_of(data_dir), path_of(output_dir)
    with StopSignal(output_dir).at_once(), contextlib.ExitStack() as held:
        if given is not None:
            recipe = with_start(recipe, start_from, given)
        weights = train_weights(recipe, data_dir, output_dir, runtime, notes, held)
        if weights is None or sample is None:
            return None if weights is None else {}
        strategy = open_strategy((runtime or Runtime()).strategy)
        alone = strategy.cluster_resolver is None  # The other workers have ended.
        how = Judging(sample, strategy=strategy) if alone else Judging(sample)
        return judge(recipe, data_dir, output_dir, weights, how)


def train_weights(
    recipe: Recipe,
    data_dir: Path,
    output_dir: Path,
    runtime: Runtime | None = None,
    notes: Sequence[str] = (),
    held: contextlib.ExitStack | None = None,
) -> Path | None:
    """The training part of `run`, with its arguments and errors.

    With `held`, this process keeps the folder locked until `held` is closed.

    Returns:
        The weights of the last phase; `None` from a worker that is not the chief.
    """
    runtime = runtime or Runtime()
    notes = [*notes, *check_folder(recipe.to_dict(), output_dir)]
    strategy = open_strategy(runtime.strategy)
    check_batch(recipe.batch_size, strategy)
    if is_chief(strategy):
        check_free(output_dir)
    check_start(recipe)
    parameters = check_recipe(recipe, data_dir)
    check_phases(recipe, runtime)
    # Before the folder is claimed, because an archive may be missing or fail to download.
    builder = prepare(recipe.dataset, data_dir, recipe.on_bad_image)
    names = class_names(builder)
    check_classes(read_classes(output_dir), names, f"the run in {output_dir}", recipe.dataset)
    new_head = learned_other_classes(recipe, names)
    _check_profile(recipe, builder, runtime)
    start = load_start(recipe)
    teacher = None
    if recipe.teacher:
        check_teacher(recipe, names)
        with strategy.scope():
            teacher = load_teacher(recipe)
        check_blocks(recipe, teacher)
    own = contextlib.ExitStack()
    if is_chief(strategy):
        images = builder.digest()
        notes += changed_images(output_dir, recipe.dataset, images)
        (held or own).enter_context(claimed(recipe, output_dir, names, parameters, images))
        notes += _other_numbers(Runtime.of_run(output_dir), runtime)
        write_json(output_dir / "runtime.json", runtime.to_dict())
        if held is not None:  # Not for trials: a search announces all of them.
            notes += announce(recipe, builder, output_dir)
        print(*notes, sep="\n", end="\n" if notes else "", flush=True)
    _seed(recipe, runtime)
    with own as stack:
        scratch = None
        if not is_chief(strategy):
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        session = session_of(
            recipe,
            builder,
            output_dir,
            strategy=strategy,
            runtime=runtime,
            teacher=teacher,
            scratch_dir=scratch,
            new_head=new_head,
        )
        with naming_bad_files(builder):
            weights = train_with_precision(recipe, session, start, runtime.precision)
    return None if scratch else weights


def _other_numbers(before: Runtime | None, now: Runtime) -> list[str]:
    """A line for the user if a resumed run computes with other arithmetic than before."""
    old, new = (before or now).arithmetic(), now.arithmetic()
    names = [name for name in new if new[name] != old[name]]
    changed = ", ".join(f"{name}={new[name]} (was {old[name]})" for name in names)
    return [f"Resumes with {changed}: results differ from a run without a stop."] if changed else []


def _seed(recipe: Recipe, runtime: Runtime) -> None:
    """Sets TensorFlow's seed and determinism, before the first network."""
    tf.keras.utils.set_random_seed(recipe.seed)
    if runtime.deterministic:
        tf.config.experimental.enable_op_determinism()
    # Dropout then keeps its state in a variable, which a snapshot can save.
    tf.keras.backend.experimental.enable_tf_random_generator()


def session_of(recipe: Recipe, builder: Dataset, output_dir: Path, **more: Any) -> Session:
    """The `Session` of a recipe on a prepared dataset; `more` holds other fields of `Session`."""
    data = pipeline_of(recipe, builder)
    weights = None
    if recipe.class_weights:
        power = CLASS_WEIGHTS[recipe.class_weights]
        weights = median_frequency_weights(class_counts(builder), power)
    steps = recipe.steps_per_epoch or data.steps_per_pass()
    validation, task = data.eval_batches("validation"), task_of(recipe.model, weights)
    more["description"] = describe_recipe(recipe, class_names(builder))
    return Session(data, steps, validation, output_dir, task, **more)


def train_with_precision(
    recipe: Recipe, session: Session, start: tf.keras.Model | None, precision: str
) -> Path:
    """Trains at a precision, and raises TrainingError if another worker was lost."""
    tf.keras.mixed_precision.set_global_policy(precision)
    try:
        return train(recipe, session, start)
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.DeadlineExceededError,
    ) as e:
        if session.strategy.num_replicas_in_sync == 1:
            raise
        raise TrainingError(
            f"cannot reach {gone(session.strategy)}, dead or cut off. Start all workers again with "
            "the same command to resume from the last snapshot. TensorFlow says: "
            f"{str(e).splitlines()[0]}"
        ) from e
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")


def _check_profile(recipe: Recipe, builder: Dataset, runtime: Runtime) -> None:
    """Raises RecipeError if no phase reaches the steps to profile."""
    wanted = runtime.profiled()
    if wanted is None:
        return
    steps = recipe.steps_per_epoch or pipeline_of(recipe, builder).steps_per_pass()
    most = steps * max(phase.epochs for phase in recipe.trained)
    if wanted[1] > most:
        raise RecipeError(
            f"profile: expected steps of a phase, from 1 to {most}. Received: {runtime.profile}"
        )


def check_phases(recipe: Recipe, runtime: Runtime) -> None:
    """Checks optimizers, schedules, losses and int8 phases, before anything is written.

    Raises:
        RecipeError: If one of them does not exist or does not take an argument, or if an int8 phase
            cannot be trained.
    """
    if runtime.precision != "float32" and any(p.int8 for p in recipe.trained):
        raise RecipeError(
            "mixed_precision: expected float32 with an int8 phase, which rounds by itself. "
            f"Received: {runtime.precision}. Train the int8 phase alone (only_phase in Python, "
            "--phase of a command)."
        )
    first = recipe.trained[0]
    if first.int8 and not recipe.start_from:
        raise RecipeError(
            f"start_from: expected trained weights for phase {first.name} alone: a run's folder, a "
            "weights file or a name. Received: none"
        )
    for phase in recipe.phases:
        check_optimizer(phase)
        task_of(recipe.model).loss(phase.label_smoothing, phase.loss)
