"""Judges a trained network: converts it, evaluates file and Keras model, and draws predictions."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import larq as lq
import numpy as np
import tensorflow as tf

from larq_groupnet.data.base import Dataset
from larq_groupnet.data.pipeline import Pipeline, class_names, has_files, prepare
from larq_groupnet.deploy import convert, count_ops, runtime
from larq_groupnet.deploy.int8 import is_int8
from larq_groupnet.errors import MissingPackageError, RecipeError
from larq_groupnet.files import path_of
from larq_groupnet.hints import counted
from larq_groupnet.inference.evaluate import about, evaluate, sees_whole, test_images, to_look_at
from larq_groupnet.inference.network import Predict, predicting
from larq_groupnet.inference.results import MATRIX, write_results
from larq_groupnet.recipes.recipe import Recipe
from larq_groupnet.runs.guards import naming_bad_files
from larq_groupnet.runs.identity import check_classes
from larq_groupnet.runs.lock import holding
from larq_groupnet.runs.saved import describe, first_images, load_run, pipeline_of
from larq_groupnet.runs.source import find_source
from larq_groupnet.tasks.calibration import best_temperature
from larq_groupnet.tasks.classification import Classification
from larq_groupnet.tasks.task import Samples, Task, task_of

CALIBRATED = 1_000
"""Largest number of validation images used to find the temperature."""

VERIFIED = 8
"""Number of validation images on which file and Keras are compared before the file is kept."""


@dataclasses.dataclass(frozen=True)
class Judging:
    """How a trained network is judged.

    Attributes:
        sample: How many test images to use, evenly spread over the set; 0 for all.
        threads: Threads for the converted file; one per CPU by default.
        strategy: Distributes the Keras model.
        also: More datasets to judge on, with the same classes.
        both_engines: True to run the converted file with LCE's interpreter, too.

    Raises:
        MissingPackageError: If both engines are requested, and only LCE's is installed.
    """

    sample: int = 0
    threads: int | None = None
    strategy: tf.distribute.Strategy = dataclasses.field(default_factory=tf.distribute.get_strategy)
    also: tuple[str, ...] = ()
    both_engines: bool = False

    def __post_init__(self) -> None:
        if self.both_engines and runtime.Interpreter is None:
            raise MissingPackageError(
                "both_engines: expected two engines. Received: only LCE's interpreter. Install "
                "larq-groupnet-runtime: 'pip install ./runtime' in a clone, or leave the flag out."
            )


def judge_run(folder: str | Path, data_dir: Path, how: Judging) -> dict[str, Any]:
    """Judges the network that a run has trained, in the folder of the run; see `judge`.

    Raises:
        RecipeError: If the folder is not a run, has no weights, or is still held by a process.
    """
    folder = path_of(folder)
    source = None if folder.is_file() else find_source(folder)
    if source is None or source.recipe is None:
        raise RecipeError(
            f"judge: expected the folder of a run. Received: {folder}, which is not one; use "
            "evaluate for weights and converted files"
        )
    with holding(folder):
        return judge(source.recipe, data_dir, folder, source.weights, how)


def judge(
    recipe: Recipe, data_dir: Path, output_dir: Path, weights: Path, how: Judging | None = None
) -> dict[str, Any]:
    """Converts a trained network, evaluates it and the file on the test set, and draws predictions.

    Without Larq Compute Engine, it prints a note and handles only the Keras model.

    Args:
        recipe: The recipe that the weights were trained with.
        data_dir: Folder of the datasets.
        output_dir: Holds `history.csv`; receives `model.tflite`, `results.json`,
            `results-confusion.npz`, `curves.png`, `predictions.png` and `confusion.png`.
        weights: The `.h5` file of the run.
        how: Which images to use, and where to compute.

    Returns:
        The content of `results.json`, and the confusion matrices.

    Raises:
        ConversionError: If the network does not convert.
        DatasetError: If a file of a folder has gone bad, or `also` has other classes; names it.
    """
    from larq_groupnet.report.pictures import draw_confusion, draw_curves

    how = how or Judging()
    builder = prepare(recipe.dataset, data_dir, recipe.on_bad_image)
    others = {
        name: prepare(name, data_dir, recipe.on_bad_image if has_files(name) else "error")
        for name in how.also
    }
    task, names = task_of(recipe.model), class_names(builder)
    for name, other in others.items():
        check_classes(names, class_names(other), recipe.dataset, name)
    model = load_run(weights)
    data = pipeline_of(recipe, builder)
    network = predicting(model)
    task.temperature = _temperature(network, task, data)
    draw_curves(
        output_dir / "history.csv", output_dir / "curves.png", task.headline, task.labels,
        task.loss_title,
    )  # fmt: skip
    source = dataclasses.replace(find_source(weights), temperature=task.temperature)
    description = describe(source, data_dir)
    images = first_images(data, "validation", VERIFIED)
    tflite: Path | None = None
    try:
        tflite = convert(model, output_dir / "model.tflite", data=images, description=description)
    except MissingPackageError as error:  # Everything else can still be done.
        print(f"Not converted. {error}", flush=True)

    results = about(recipe.name, recipe.dataset, task, recipe.reading())
    results |= {**_costs(model), "temperature": task.temperature}
    if how.strategy.num_replicas_in_sync > 1:
        with how.strategy.scope():
            network = predicting(load_run(weights))
    found, samples = _on(recipe, builder, task, network, tflite, how)
    results |= found
    if others:
        results["also"] = {
            name: _on(recipe, each, task, network, tflite, how)[0] for name, each in others.items()
        }
    results["keras"]["bytes"] = weights.stat().st_size
    if tflite is not None:
        results["lce"]["bytes"] = tflite.stat().st_size
        results["ops"] = dict(count_ops(tflite))
    shown = to_look_at(samples, None if sees_whole(recipe) else recipe.normalisation)
    task.draw(shown, names, output_dir / "predictions.png", _title(results, samples))
    if matrix := results["keras"].get(MATRIX):
        title = f"{recipe.name} on {recipe.dataset}, test"
        draw_confusion(np.array(matrix), names, output_dir / "confusion.png", title, task.unit)
    write_results(output_dir / "results.json", results)
    return results


def _on(
    recipe: Recipe,
    builder: Dataset,
    task: Task,
    network: Predict,
    tflite: Path | None,
    how: Judging,
) -> tuple[dict[str, Any], Samples]:
    """The results of `evaluate` on a test set, with the number of images and the time taken."""
    start = time.monotonic()
    batches, view = test_images(recipe, pipeline_of(recipe, builder), how.sample)
    with naming_bad_files(builder):
        found, samples = evaluate(
            network, tflite, batches, task, class_names(builder), task.num_pictures, view,
            how.threads, how.both_engines,
        )  # fmt: skip
    total = builder.examples("test").count
    images = min(how.sample or total, total)
    seconds = round(time.monotonic() - start, 1)
    return {**found, "images": images, "of": total, "seconds": seconds}, samples


def _temperature(network: Predict, task: Task, data: Pipeline) -> float:
    """The temperature of a classifier, from validation images; 1 for other networks."""
    if not isinstance(task, Classification):
        return 1.0
    batches = data.eval_batches("validation", CALIBRATED)
    labels, scores = zip(
        *((truth, network(x)) for x, truth in batches.as_numpy_iterator()), strict=True
    )
    logits = task.log_probabilities(np.concatenate(scores)).numpy()
    return best_temperature(np.concatenate(labels), logits)


def _costs(model: tf.keras.Model) -> dict[str, Any]:
    profile = lq.models.ModelProfile(model)
    binary, real = (profile.op_count("mac", bits) or 0 for bits in (1, 32))
    integers = real if is_int8(model) else 0
    return {
        "parameters": model.count_params(),
        "macs": {"1": binary, "8": integers, "32": real - integers},
    }


def _title(results: dict[str, Any], samples: Samples) -> str:
    headline = results["headline"]
    label = results["labels"].get(headline, headline)
    drawn, kind = ("lce", "converted for LCE") if "lce" in results else ("keras", "not converted")
    return (
        f"{results['name']} on {results['dataset']}, {kind}: the first "
        f"{counted(len(samples.images), 'test image')}, test {label} {results[drawn][headline]:.3f}"
    )
