"""One run from a recipe to a folder: train, convert, evaluate both, draw."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import larq as lq
import numpy as np
import tensorflow as tf

from larq_groupnet.config import DENSE_HEADS, NOT_BINARY_QUANTIZERS
from larq_groupnet.data.base import Dataset
from larq_groupnet.data.pipeline import (
    class_names,
    open_dataset,
    prepare,
    target_name,
    to_pixels,
)
from larq_groupnet.deploy import convert, count_ops
from larq_groupnet.deploy.int8 import is_int8
from larq_groupnet.files import write_json
from larq_groupnet.network.build import build
from larq_groupnet.recipes.recipe import Recipe, RecipeError
from larq_groupnet.report.pictures import draw_curves, draw_labels, draw_predictions
from larq_groupnet.runs.guards import check_folder, check_room, naming_bad_files
from larq_groupnet.runs.saved import load_run, pipeline_of, test_images
from larq_groupnet.runs.snapshots import StopSignal
from larq_groupnet.tasks.task import task_of
from larq_groupnet.training.callbacks import TrainingError
from larq_groupnet.training.distillation import Teacher, load_teacher
from larq_groupnet.training.distribution import Runtime, check_batch, is_chief, open_strategy
from larq_groupnet.training.evaluate import Samples, evaluate
from larq_groupnet.training.fit import Session, train
from larq_groupnet.training.start import load_start, with_start

LEAST_AGREEMENT = {"pixels": 0.998, "images": 0.98}
"""Share of these to which the converted file must give the class that Keras gives: a sign that
rounding flips changes a few pixels of a map, but the whole of one image's answer."""

LARGEST_GAP = {"pixels": 0.002, "images": 0.01}
"""Largest difference of the headline metric on the test set between the two."""

LARGEST_INT8_GAP = 0.01
"""The same for a file of integers, of which nothing else is asked: a value halfway between two
levels may be rounded to either and change a sign. On the shipped `groupnet_dsp` 8 % of the pixels
get another class, at an mIoU of 0.702 for 0.699 (`convert_int8` compares layer by layer)."""

NUM_PICTURES = {"label": 40, "mask": 12}
"""How many test images the picture of predictions shows."""

VERIFIED = 8
"""On how many validation images the converted file is compared with Keras before it is kept."""


def run(
    recipe: Recipe,
    data_dir: Path,
    output_dir: Path,
    start_from: str | Path | None = None,
    runtime: Runtime | None = None,
) -> dict[str, Any] | None:
    """Does everything that `train.py` does, and returns what `results.json` holds.

    A folder that holds an unfinished run of the same recipe is gone on with.

    Args:
        recipe: What to train.
        data_dir: Where datasets are kept, and written on first use.
        output_dir: Takes `recipe.json`, `history.csv`, `logs/`, `snapshots/`, the weights of each
            phase (`PHASE.h5` of the best epoch and `PHASE-last.h5`), `model.tflite`,
            `results.json`, `curves.png` and `predictions.png`.
        start_from: What to start the first phase from, instead of what the recipe says; see
            `start.load_start`.
        runtime: On what, and how precisely, to compute.

    Returns:
        The results; `None` from a worker that is not the chief, which writes nothing.

    Raises:
        RecipeError: Before anything is written, if the recipe does not fit the dataset, its network
            cannot be built, or `output_dir` holds something else, cannot be written or is too
            small.
        DatasetError: If a file of a folder has gone bad since it was first used; names it.
        TrainingError: If training diverges.
        Interrupted: After SIGINT or SIGTERM.
        ConversionError: If the trained network does not convert; the weights are kept.
    """
    with StopSignal(output_dir).at_once():
        recipe = with_start(recipe, start_from)
        weights = train_weights(recipe, data_dir, output_dir, runtime)
        return None if weights is None else _judge(recipe, data_dir, output_dir, weights)


def _judge(recipe: Recipe, data_dir: Path, output_dir: Path, weights: Path) -> dict[str, Any]:
    """The part of `run` that comes after training."""
    builder = prepare(recipe.dataset, data_dir, recipe.on_bad_image)
    data, task = pipeline_of(recipe, builder), task_of(recipe.model)
    model = load_run(weights)
    draw_curves(
        output_dir / "history.csv", output_dir / "curves.png", task.headline, task.loss_name
    )
    images = next(iter(data.eval_batches("validation")))[0].numpy()[:VERIFIED]
    names, count = class_names(builder), NUM_PICTURES[data.target]
    description = {"classes": names, "preprocessing": recipe.preprocessing()}
    tflite = convert(model, output_dir / "model.tflite", data=images, description=description)

    batches, view = test_images(recipe, data)
    with naming_bad_files(builder):
        found, samples = evaluate(model, tflite, batches, task, names, count, view)
    results = {
        "name": recipe.name,
        "dataset": recipe.dataset,
        "headline": task.headline,
        "unit": task.unit,
        "preprocessing": recipe.preprocessing(),
        **found,
        **_costs(model, tflite),
    }
    results["keras"]["bytes"] = weights.stat().st_size
    results["lce"]["bytes"] = tflite.stat().st_size
    _draw(recipe, data.target, samples, results, names, output_dir / "predictions.png")
    write_json(output_dir / "results.json", results)
    return results


def train_weights(
    recipe: Recipe,
    data_dir: Path,
    output_dir: Path,
    runtime: Runtime | None = None,
) -> Path | None:
    """The part of `run` that trains; arguments and errors are those of `run`.

    Returns:
        The weights of the last phase; `None` from a worker that is not the chief.
    """
    runtime = runtime or Runtime()
    check_folder(recipe.to_dict(), output_dir)
    strategy = open_strategy(runtime.strategy)
    check_batch(recipe.batch_size, strategy)
    parameters = check_recipe(recipe, data_dir)
    if runtime.precision != "float32" and any(p.int8 and p.epochs for p in recipe.phases):
        raise RecipeError(
            "mixed_precision: expected float32 with an int8 phase, which rounds by itself; train "
            f"that phase alone with --phase. Received: {runtime.precision}"
        )
    first = next(phase for phase in recipe.phases if phase.epochs)
    if first.int8 and not recipe.start_from:
        raise RecipeError(
            f"start_from: expected trained weights for phase {first.name} alone, as "
            "--start_from RUN. Received: none"
        )
    start = load_start(recipe)
    teacher = None
    if recipe.teacher:
        with strategy.scope():
            teacher = load_teacher(recipe)
    if is_chief(strategy):
        check_room(recipe, output_dir, parameters)
    tf.keras.utils.set_random_seed(recipe.seed)
    tf.config.experimental.enable_op_determinism()
    # Dropout then keeps its state in a variable, which a snapshot can hold.
    tf.keras.backend.experimental.enable_tf_random_generator()

    builder = prepare(recipe.dataset, data_dir, recipe.on_bad_image)
    with contextlib.ExitStack() as stack:
        scratch = None
        if not is_chief(strategy):
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        session = session_of(
            recipe, builder, output_dir, strategy, runtime.jit_compile, teacher, scratch
        )
        with naming_bad_files(builder):
            weights = train_with_precision(recipe, session, start, runtime.precision)
    return None if scratch else weights


def session_of(
    recipe: Recipe,
    builder: Dataset,
    output_dir: Path,
    strategy: tf.distribute.Strategy,
    jit_compile: bool,
    teacher: Teacher | None,
    scratch_dir: Path | None = None,
) -> Session:
    """What the phases of a recipe share, on a prepared dataset; arguments as those of `Session`."""
    data = pipeline_of(recipe, builder)
    return Session(
        data,
        recipe.steps_per_epoch or data.steps_per_pass(),
        data.eval_batches("validation"),
        output_dir,
        task_of(recipe.model),
        strategy,
        jit_compile,
        teacher,
        recipe.normalisation,
        scratch_dir,
    )


def train_with_precision(
    recipe: Recipe, session: Session, start: tf.keras.Model | None, precision: str
) -> Path:
    """Trains at a precision, and says so if another worker was lost."""
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
            "another worker is gone, or cannot be reached. Start all of them again with the same "
            f"command to go on from the last epoch. TensorFlow says: {str(e).splitlines()[0]}"
        ) from e
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")


def evaluate_only(recipe: Recipe, data_dir: Path, weights: str | Path) -> dict[str, Any]:
    """Test metrics of weights that exist, without training.

    Args:
        recipe: The one that they were trained with, see `saved.trained_recipe`; `eval_scales` and
            `eval_flip` may differ.
        data_dir: Where datasets are kept.
        weights: Folder of a run, or a weights file.
    """
    check_recipe(recipe, data_dir)
    model = load_run(weights, recipe)
    data = pipeline_of(recipe, builder := prepare(recipe.dataset, data_dir, recipe.on_bad_image))
    batches, view = test_images(recipe, data)
    found, _ = evaluate(
        model, None, batches, task_of(recipe.model), class_names(builder), view=view
    )
    return {
        "name": recipe.name,
        "dataset": recipe.dataset,
        "preprocessing": recipe.preprocessing(),
        **found,
    }


def adapt(recipe: Recipe, dataset: str, data_dir: Path) -> Recipe:
    """The recipe for a dataset of another number of classes and channels, and of any image size."""
    builder = open_dataset(dataset, data_dir)
    channels = builder.channels
    shape = (*recipe.model.input_shape[:2], channels)
    model = recipe.model.replace(num_classes=len(class_names(builder)), input_shape=shape)
    return dataclasses.replace(recipe, dataset=dataset, model=model, eval_scales=())


def disagreement(results: dict[str, Any]) -> str | None:
    """A line that says how the converted file differs from Keras, or `None` if it does not."""
    headline, unit = results["headline"], results["unit"]
    gap = abs(results["keras"][headline] - results["lce"][headline])
    integers = results["macs"].get("8", 0) > 0
    largest = LARGEST_INT8_GAP if integers else LARGEST_GAP[unit]
    least = 0.0 if integers else LEAST_AGREEMENT[unit]
    if gap <= largest and results["agreement"] >= least:
        return None
    return (
        "The converted file disagrees with Keras, do not deploy it: expected the same class for at "
        f"least {least:.1%} of the {unit} and {headline} within {largest}. "
        f"Received: {results['agreement']:.3%} and {gap:.4f}."
    )


def _costs(model: tf.keras.Model, tflite: Path) -> dict[str, Any]:
    profile = lq.models.ModelProfile(model)
    binary, real = (profile.op_count("mac", bits) or 0 for bits in (1, 32))
    integers = real if is_int8(model) else 0
    return {
        "parameters": model.count_params(),
        "macs": {"1": binary, "8": integers, "32": real - integers},
        "ops": dict(count_ops(tflite)),
    }


def _draw(
    recipe: Recipe,
    target: str,
    samples: Samples,
    results: dict[str, Any],
    names: list[str],
    path: Path,
) -> None:
    headline = results["headline"]
    title = (
        f"{recipe.name} on {recipe.dataset}, converted for LCE: the first {len(samples.images)} "
        f"test images, test {headline} {results['lce'][headline]:.3f}"
    )
    if target == "label":
        images = [to_pixels(image, recipe.normalisation) for image in samples.images]
        draw_labels(images, samples.truths, samples.scores, names, path, title)
    else:
        images = [image.astype(np.uint8) for image in samples.images]
        draw_predictions(images, samples.truths, samples.scores, names, path, title)


def check_recipe(recipe: Recipe, data_dir: Path) -> int:
    """Whether the recipe fits the dataset; returns the number of its network's parameters."""
    config = recipe.model
    if None in config.input_shape:
        raise RecipeError(
            "input_shape: expected a fixed height and width to train and convert. "
            f"Received: {config.input_shape}"
        )
    for option in ("input_quantizer", "kernel_quantizer"):
        if config.binary and getattr(config, option) in NOT_BINARY_QUANTIZERS:
            raise RecipeError(
                f"{option}: expected a quantizer that LCE has binary kernels for, such as "
                f"'ste_sign' or 'approx_sign'. Received: {getattr(config, option)!r}"
            )
    builder = open_dataset(recipe.dataset, data_dir, recipe.on_bad_image)
    heads = ("classifier",) if target_name(builder) == "label" else DENSE_HEADS
    channels = builder.channels
    wanted: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "num_classes": (config.num_classes, (len(class_names(builder)),)),
        "input_shape channels": (config.input_shape[2], (channels,)),
        "head": (config.head, heads),
    }
    for option, (received, expected) in wanted.items():
        if received not in expected:
            raise RecipeError(
                f"{option}: expected {' or '.join(map(repr, expected))} for the dataset "
                f"{recipe.dataset}. "
                f"Received: {received!r}"
            )
    try:
        return build(config).count_params()
    except (TypeError, ValueError) as error:
        raise RecipeError(f"model: this network cannot be built. Keras says: {error}") from error
