"""Exact metrics of the Keras model and the converted file on the same images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from larq_groupnet.data.images import to_pixels
from larq_groupnet.data.pipeline import Pipeline, class_names, open_dataset, prepare
from larq_groupnet.data.reading import Reading
from larq_groupnet.deploy.runtime import load_file, load_lce
from larq_groupnet.inference.full_image import FullImage
from larq_groupnet.inference.network import Predict, predicting
from larq_groupnet.recipes.fitting import check_recipe
from larq_groupnet.recipes.recipe import Recipe
from larq_groupnet.runs.identity import check_classes
from larq_groupnet.runs.saved import pipeline_of
from larq_groupnet.runs.source import find_source
from larq_groupnet.tasks.task import Samples, Task, task_of


def evaluate(
    network: Predict,
    tflite: Path | None,
    batches: tf.data.Dataset,
    task: Task,
    class_names: Sequence[str],
    num_samples: int = 0,
    view: FullImage | None = None,
    threads: int | None = None,
    both_engines: bool = False,
) -> tuple[dict[str, Any], Samples]:
    """Runs the Keras model, and the converted file if there is one, on the same images.

    Args:
        network: The Keras model, see `predicting`.
        tflite: Its converted file, run by `load_file`, or `None`.
        batches: One pass over preprocessed batches; with a `view`, over single images (pixels of 0
            to 255) and class maps, each evaluated at its own size.
        task: Defines the metrics.
        class_names: One per class.
        num_samples: How many of the first images to return.
        view: How the network predicts a full image.
        threads: Threads for the file; one per CPU by default.
        both_engines: True to run the file with LCE's interpreter, too.

    Returns:
        The results, and the first images with the scores of the file. The results are `keras` and,
        with a file, `lce` (see the task's tally), `engine`, the engine that ran the file, and
        `agreement`, the share of equal predictions; with both engines also `interpreter`, the tally
        of LCE's interpreter.
    """
    runs: dict[str, Any] = {"keras": network}
    if tflite is None:
        return compare(runs, batches, task, class_names, num_samples, view)
    file = load_file(tflite, threads or os.cpu_count() or 1)
    if both_engines:
        runs["interpreter"] = load_lce(tflite).predict
    runs["lce"] = file.predict
    found, samples = compare(runs, batches, task, class_names, num_samples, view)
    return {**found, "engine": file.engine}, samples


def compare(
    runs: Mapping[str, Any],
    batches: tf.data.Dataset,
    task: Task,
    class_names: Sequence[str],
    num_samples: int = 0,
    view: FullImage | None = None,
) -> tuple[dict[str, Any], Samples]:
    """Runs several networks on the same images; see `evaluate` for the arguments.

    Returns:
        The task's tally for each name and, with two or more, the `agreement` of the first and the
        last; and the first images with the scores of the last.
    """
    networks: dict[str, Any] = {**runs}
    if view is not None:
        networks = {name: partial(view.scores, network) for name, network in runs.items()}
    first, name = next(iter(runs)), list(runs)[-1]
    tallies = {name: task.tally() for name in runs}
    same, total = 0, 0
    samples: list[tuple[np.ndarray, ...]] = []
    unit = "batch" if view is None else "image"
    progress = tqdm(batches.as_numpy_iterator(), "Testing", len(batches), unit=unit)
    for images, truths in progress if view is None else view.groups(progress):
        scores = {each: network(images) for each, network in networks.items()}
        for each, tally in tallies.items():
            task.add(tally, truths, scores[each])
        last = scores[name]
        for one, other in zip(scores[first], last, strict=True):
            agreed = task.same(one, other)
            same += int(np.sum(agreed))
            total += np.size(agreed)
        samples += list(zip(images, truths, last, strict=True))[: num_samples - len(samples)]
    found: dict[str, Any] = {each: tally.to_dict(class_names) for each, tally in tallies.items()}
    if len(runs) > 1:
        found["agreement"] = same / total if total else float("nan")
    return found, Samples(*zip(*samples, strict=True)) if samples else Samples((), (), ())


def to_look_at(samples: Samples, normalisation: str | None) -> Samples:
    """The samples with `uint8` images; without a `normalisation`, the images are pixels already."""
    return samples._replace(
        images=[
            to_pixels(image, normalisation) if normalisation else image.astype(np.uint8)
            for image in samples.images
        ]
    )


def sees_whole(recipe: Recipe) -> bool:
    """True if test images are evaluated at their own size; see `FullImage`."""
    return task_of(recipe.model).dense and not recipe.eval_crop


def test_images(
    recipe: Recipe, data: Pipeline, sample: int
) -> tuple[tf.data.Dataset, FullImage | None]:
    """The test set for `evaluate`: batches, or full images and their view.

    `sample` is the number of images, evenly spread over the set; 0 for all.
    """
    if not sees_whole(recipe):
        return data.eval_batches("test", sample), None
    view = FullImage(data.reading, recipe.model.gives == "logits")
    return data.full_images("test", sample), view


def evaluate_only(recipe: Recipe, data_dir: Path, weights: str | Path) -> dict[str, Any]:
    """Test metrics of existing weights, without training.

    Args:
        recipe: The recipe that they were trained with, see `judging.recipe_to_judge`; `eval_scales`
            and `eval_flip` may differ.
        data_dir: Folder of the datasets.
        weights: See `find_source`.

    Raises:
        RecipeError: If the recipe does not fit the dataset, or the weights do not exist.
        DatasetError: If the dataset has other classes than the weights.
    """
    source = find_source(weights, recipe).sized(recipe.model.input_shape[:2])
    builder = open_dataset(recipe.dataset, data_dir, recipe.on_bad_image)
    check_classes(source.classes, class_names(builder), str(weights), recipe.dataset)
    check_recipe(recipe, data_dir)
    network, task = predicting(source.load()), task_of(recipe.model)
    builder = prepare(recipe.dataset, data_dir, recipe.on_bad_image)
    batches, view = test_images(recipe, pipeline_of(recipe, builder), 0)
    found, _ = evaluate(network, None, batches, task, class_names(builder), view=view)
    return {**about(recipe.name, recipe.dataset, task, recipe.reading()), **found}


def about(name: str, dataset: str, task: Task, reading: Reading) -> dict[str, Any]:
    """Describes results: name, dataset, task, metrics and preprocessing."""
    return {
        "name": name,
        "dataset": dataset,
        "task": task.name,
        "headline": task.headline,
        "unit": task.unit,
        "labels": {**task.labels},
        "class_labels": {**task.class_labels},
        "preprocessing": reading.to_dict(),
    }
