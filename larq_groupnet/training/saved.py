"""What a run has left: its network, and images as that network reads them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from larq_groupnet.data import augment
from larq_groupnet.data.pipeline import (
    Pipeline,
    class_names,
    mean_colour,
    open_dataset,
    prepare,
)
from larq_groupnet.inference.full_image import FullImage
from larq_groupnet.models import build, load_weights
from larq_groupnet.training.recipe import Recipe, RecipeError

_AUGMENTATIONS = {
    "none": augment.unchanged,
    "shift": augment.shift,
    "cifar": augment.cifar,
    "imagenet": augment.imagenet,
}


def load_run(
    path: str | Path, recipe: Recipe | None = None, size: tuple[int, int] | None = None
) -> tf.keras.Model:
    """The network of an earlier run with its weights.

    Args:
        path: Folder of the run, for the weights of its last finished phase, or a weights file in
            it.
        recipe: What to build for a file that has no `recipe.json` beside it.
        size: Height and width of the images that it is to read; `None` for the run's own.

    Raises:
        RecipeError: If there are no such weights.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    recipe = _recipe_of(folder) or recipe
    if recipe is None:
        raise RecipeError(
            f"run: expected a folder that train.py has written, or a file in one. Received: {path}"
        )
    phases = [phase for phase in recipe.phases if phase.epochs]
    files = {folder / f"{phase.name}.h5": phase for phase in phases}
    if path.is_dir():
        path = next((file for file in reversed(files) if file.is_file()), path)
    binary = files[path].binary if path in files else recipe.model.binary
    if not path.is_file():
        raise RecipeError(
            f"weights: expected one of {', '.join(file.name for file in files)} in a run's folder, "
            f"or a weights file. Received: {path}"
        )
    config = recipe.model.replace(binary=binary)
    if size is not None:
        config = config.replace(input_shape=(*size, config.input_shape[2]))
    model = build(config, name=recipe.name)
    load_weights(model, path)
    return model


def data_of_run(
    path: str | Path, data_dir: Path, size: tuple[int, int] | None = None
) -> tuple[Recipe, Pipeline]:
    """The recipe of a run, and its dataset as its network reads it.

    Args:
        path: As for `load_run`.
        data_dir: Where datasets are kept.
        size: As for `load_run`.

    Raises:
        RecipeError: If there is no `recipe.json`.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    recipe = _recipe_of(folder)
    if recipe is None:
        raise RecipeError(f"run: expected a recipe.json in {folder}. Received: none")
    if size is not None:
        shape = (*size, recipe.model.input_shape[2])
        recipe = dataclasses.replace(recipe, model=recipe.model.replace(input_shape=shape))
    return recipe, pipeline_of(recipe, prepare(recipe.dataset, data_dir, recipe.on_bad_image))


def first_images(data: Pipeline, role: str, count: int) -> np.ndarray:
    """The first images of a split, as the network reads them, without augmentation.

    Args:
        data: Of the network.
        role: `"train"`, `"validation"` or `"test"`.
        count: How many.

    Returns:
        `(count, height, width, channels) float32`.
    """
    batches = data.eval_batches(role).unbatch().take(count).batch(count)
    images: np.ndarray = next(iter(batches))[0].numpy()
    return images


def describe_run(path: str | Path, data_dir: Path) -> dict[str, Any]:
    """What has to be known to use a run's network: `classes` by name, and `preprocessing`.

    Args:
        path: As for `load_run`.
        data_dir: Where datasets are kept. The names come from the run's results, or from the
            dataset if the run is not finished.

    Raises:
        RecipeError: If there is no `recipe.json`.
        DatasetError: If the dataset is needed and cannot be opened.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    recipe = _recipe_of(folder)
    if recipe is None:
        raise RecipeError(f"run: expected a recipe.json in {folder}. Received: none")
    if (folder / "results.json").is_file():
        keras = json.loads((folder / "results.json").read_text())["keras"]
        names = list(keras["iou"] if "iou" in keras else keras["recall"])
    else:
        names = class_names(open_dataset(recipe.dataset, data_dir, recipe.on_bad_image))
    return {"classes": names, "preprocessing": recipe.preprocessing()}


def _recipe_of(folder: Path) -> Recipe | None:
    file = folder / "recipe.json"
    return Recipe.from_dict(json.loads(file.read_text())) if file.is_file() else None


def test_images(recipe: Recipe, data: Pipeline) -> tuple[tf.data.Dataset, FullImage | None]:
    """The test set as `evaluate` takes it: batches, or full images and how to look at them."""
    if data.target == "label":
        return data.eval_batches("test"), None
    view = FullImage(data.size, recipe.normalisation, recipe.eval_scales, recipe.eval_flip)
    return data.full_images("test"), view


def pipeline_of(recipe: Recipe, builder: tfds.core.DatasetBuilder) -> Pipeline:
    """The input pipeline that a recipe describes."""
    height, width, _ = recipe.model.input_shape
    return Pipeline(
        builder,
        (height or 0, width or 0),  # _check has seen that they are fixed.
        recipe.batch_size,
        seed=recipe.seed,
        augmentation=_augmentation(recipe),
        normalisation=recipe.normalisation,
        central_crop=recipe.central_crop,
    )


def _augmentation(recipe: Recipe) -> augment.Augmentation:
    if recipe.augmentation == "colour":
        return augment.colour(recipe.colour_jitter)
    if recipe.augmentation == "segmentation":
        return augment.segmentation(mean_colour(recipe.normalisation), recipe.base_size)
    return _AUGMENTATIONS[recipe.augmentation]
