"""From a trained network to its folder: converted, evaluated beside Keras, and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import larq as lq
import numpy as np
import tensorflow as tf

from larq_groupnet.data.images import to_pixels
from larq_groupnet.data.pipeline import class_names, prepare
from larq_groupnet.deploy import convert, count_ops
from larq_groupnet.deploy.int8 import is_int8
from larq_groupnet.errors import MissingPackageError
from larq_groupnet.inference.evaluate import Samples, about, evaluate, test_images
from larq_groupnet.inference.results import write_results
from larq_groupnet.recipes.recipe import Recipe
from larq_groupnet.report.pictures import draw_curves
from larq_groupnet.runs.guards import naming_bad_files
from larq_groupnet.runs.saved import describe, first_images, load_run, pipeline_of
from larq_groupnet.runs.source import find_source
from larq_groupnet.tasks.task import Task, task_of

VERIFIED = 8
"""On how many validation images the converted file is compared with Keras before it is kept."""


def judge(recipe: Recipe, data_dir: Path, output_dir: Path, weights: Path) -> dict[str, Any]:
    """Converts a trained network, evaluates both on the test set, and draws what they predict.

    Without Larq Compute Engine it says so, and does the rest for the Keras model.

    Args:
        recipe: What the weights were trained by.
        data_dir: Where the dataset is kept.
        output_dir: Has `history.csv`; takes `model.tflite`, `results.json`,
            `results-confusion.npz`, `curves.png` and `predictions.png`.
        weights: The `.h5` of the run.

    Returns:
        What `results.json` holds, and the confusion matrices.

    Raises:
        ConversionError: If the network does not convert.
        DatasetError: If a file of a folder has gone bad; names it.
    """
    builder = prepare(recipe.dataset, data_dir, recipe.on_bad_image)
    data, task, names = pipeline_of(recipe, builder), task_of(recipe.model), class_names(builder)
    model = load_run(weights)
    draw_curves(
        output_dir / "history.csv", output_dir / "curves.png", task.headline, task.labels,
        task.loss_title,
    )  # fmt: skip
    description = describe(find_source(weights), data_dir)
    images = first_images(data, "validation", VERIFIED)
    tflite: Path | None = None
    try:
        tflite = convert(model, output_dir / "model.tflite", data=images, description=description)
    except MissingPackageError as error:  # Everything else can still be done.
        print(f"Not converted. {error}", flush=True)

    batches, view = test_images(recipe, data)
    with naming_bad_files(builder):
        found, samples = evaluate(model, tflite, batches, task, names, task.num_pictures, view)
    results = {**about(recipe, task), **found, **_costs(model)}
    results["keras"]["bytes"] = weights.stat().st_size
    if tflite is not None:
        results["lce"]["bytes"] = tflite.stat().st_size
        results["ops"] = dict(count_ops(tflite))
    _draw(recipe, task, samples, results, names, output_dir / "predictions.png")
    write_results(output_dir / "results.json", results)
    return results


def _costs(model: tf.keras.Model) -> dict[str, Any]:
    profile = lq.models.ModelProfile(model)
    binary, real = (profile.op_count("mac", bits) or 0 for bits in (1, 32))
    integers = real if is_int8(model) else 0
    return {
        "parameters": model.count_params(),
        "macs": {"1": binary, "8": integers, "32": real - integers},
    }


def _draw(
    recipe: Recipe,
    task: Task,
    samples: Samples,
    results: dict[str, Any],
    names: list[str],
    path: Path,
) -> None:
    headline = results["headline"]
    drawn, kind = ("lce", "converted for LCE") if "lce" in results else ("keras", "not converted")
    title = (
        f"{recipe.name} on {recipe.dataset}, {kind}: the first {len(samples.images)} "
        f"test images, test {headline} {results[drawn][headline]:.3f}"
    )
    if task.dense:
        images = [image.astype(np.uint8) for image in samples.images]
    else:
        images = [to_pixels(image, recipe.normalisation) for image in samples.images]
    task.draw(images, samples.truths, samples.scores, names, path, title)
