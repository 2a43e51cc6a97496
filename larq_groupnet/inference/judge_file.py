"""Judges any network, given by path or name, on any dataset with its classes."""

from __future__ import annotations

import os
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from larq_groupnet.data.base import ROLES, Dataset
from larq_groupnet.data.pipeline import Pipeline, class_names, prepare
from larq_groupnet.deploy.runtime import load_file
from larq_groupnet.errors import DatasetError, RecipeError, UserError
from larq_groupnet.files import path_of
from larq_groupnet.hints import counted
from larq_groupnet.inference.evaluate import about, compare, to_look_at
from larq_groupnet.inference.results import MATRIX, write_results
from larq_groupnet.inference.sources import Predictor, load_predictor
from larq_groupnet.runs.guards import naming_bad_files
from larq_groupnet.runs.identity import check_classes
from larq_groupnet.runs.source import Source, find_source
from larq_groupnet.tasks.task import Task

ALL = "all"
"""All splits together, for a dataset that was not used in training."""

MOST_COMPARED = 500
"""Largest number of validation images on which an int8 file is compared with its network."""


def judge_file(
    source: str,
    dataset: str | None,
    data_dir: Path,
    split: str = "test",
    output_dir: Path | None = None,
    on_bad_image: str | None = None,
    normalisation: str | None = None,
) -> dict[str, Any]:
    """Metrics of a run, a weights file, a registered name or a `.tflite` on a dataset.

    Args:
        source: See `load_predictor`.
        dataset: Name of the dataset; by default, the dataset that the network was trained on.
        data_dir: Folder of the datasets.
        split: `"test"`, `"validation"`, `"train"` or `ALL`.
        output_dir: Receives `evaluation.json`, `evaluation-confusion.npz`, `confusion.png` and
            `predictions.png`; `None` to write nothing.
        on_bad_image: See `prepare`; by default as in training on the training's own dataset,
            otherwise `"error"`.
        normalisation: For a file that does not state how its images were normalised.

    Returns:
        The content of `evaluation.json`, with the metrics under `"keras"`, and the confusion
        matrix.

    Raises:
        RecipeError: If no dataset is given and none is known.
        DatasetError: If the dataset has other classes or another kind of target.
        UserError: See `load_predictor`.
    """
    threads = os.cpu_count() or 1
    predictor = load_predictor(source, data_dir, threads, normalisation=normalisation)
    own = _own(source)
    dataset = dataset or _dataset_of(own, source)
    if on_bad_image is None:
        on_bad_image = own.on_bad_image if own and own.dataset == dataset else "error"
    builder = prepare(dataset, data_dir, on_bad_image)
    names = class_names(builder)
    if predictor.named:
        check_classes(predictor.classes, names, source, dataset)
    kind = task_on(predictor, builder, source, dataset)
    roles = [role for role in ROLES if builder.sizes.get(role)] if split == ALL else [split]
    batches = _images(pipeline_for(predictor, builder), roles, kind.dense)
    count = sum(builder.examples(role).count for role in roles)
    others = sum(builder.sizes.values()) - count
    with naming_bad_files(builder):
        found, samples = compare(
            {"keras": predictor.network}, batches, kind, names, kind.num_pictures, predictor.view
        )
    results = {
        **about(Path(source).name, dataset, kind, predictor.reading),
        "column": f"{split}, {counted(count, 'image')}",
        "split": split,
        "images_of_other_splits": others,
        **found,
    }
    if output_dir is not None:
        from larq_groupnet.report.pictures import draw_confusion

        write_results(output_dir / "evaluation.json", results)
        title = f"{results['name']} on {dataset}, {split}"
        if matrix := found["keras"].get(MATRIX):
            draw_confusion(np.array(matrix), names, output_dir / "confusion.png", title, kind.unit)
        shown = to_look_at(samples, None if predictor.view else predictor.reading.normalisation)
        kind.draw(shown, names, output_dir / "predictions.png", title)
    return results


def cost_of_integers(source: str, file: Path, data_dir: Path) -> str:
    """How much of the metric an int8 file loses on validation images, in one line.

    `source` is its network; see `load_predictor`.
    """
    predictor = load_predictor(source, data_dir)
    own = find_source(source)
    builder = prepare(_dataset_of(own, source), data_dir, own.on_bad_image)
    names = class_names(builder)
    kind = task_on(predictor, builder, source, builder.name)
    data = pipeline_for(predictor, builder)
    batches = _images(data, ["validation"], kind.dense, MOST_COMPARED)
    runs = {"keras": predictor.network, "lce": load_file(file, os.cpu_count() or 1).predict}
    found, _ = compare(runs, batches, kind, names, view=predictor.view)
    before, after = (found[name][kind.headline] for name in runs)
    count = min(builder.examples("validation").count, MOST_COMPARED)
    return (
        f"{kind.labels.get(kind.headline, kind.headline)} on {counted(count, 'validation image')}: "
        f"{after:.4f}, as floats {before:.4f}; the integers cost {before - after:+.4f}"
    )


def _own(source: str) -> Source | None:
    """The run or the weights; for a `.tflite`, the run whose folder holds it, if there is one."""
    path = path_of(source)
    if path.suffix != ".tflite":
        return find_source(source)
    try:
        return find_source(path.resolve().parent)
    except UserError:
        return None


def _dataset_of(own: Source | None, source: str) -> str:
    if own is None or not own.dataset:
        raise RecipeError(
            f"evaluate: expected the dataset to judge on, because {source} does not say what it "
            "was trained on. Received: none. Name it: evaluate FILE folder:PATH."
        )
    return own.dataset


def task_on(predictor: Predictor, builder: Dataset, source: str, dataset: str) -> Task:
    """The task of a network on a dataset.

    Raises:
        DatasetError: If the dataset has other targets, classes or channels; names `source`.
    """
    target, classes, channels = builder.target, len(builder.classes), builder.channels
    if target not in predictor.task.targets or len(predictor.classes) != classes:
        does = "classes of pixels" if predictor.dense else "classes of images"
        raise DatasetError(
            f"dataset: expected one for {source}, which predicts {len(predictor.classes)} {does}. "
            f"Received: {dataset} with {classes} classes, {target}s"
        )
    if channels != predictor.input_shape[2]:
        raise DatasetError(
            f"dataset: expected images of {predictor.input_shape[2]} channels for {source}. "
            f"Received: {dataset}, whose images have {channels}"
        )
    return predictor.task(classes, predictor.logits, temperature=predictor.temperature)


def pipeline_for(predictor: Predictor, builder: Dataset) -> Pipeline:
    """Reads a dataset as a network reads images."""
    return Pipeline(builder, predictor.reading, 1 if predictor.dense else 16)


def _images(data: Pipeline, roles: list[str], dense: bool, sample: int = 0) -> tf.data.Dataset:
    """The images of these splits, one split after the other, for `compare`."""
    read = data.full_images if dense else data.eval_batches
    return reduce(tf.data.Dataset.concatenate, [read(role, sample) for role in roles])
