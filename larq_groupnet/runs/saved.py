"""What a run has left: its network, and images as that network reads them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from larq_groupnet.config import GroupNetConfig
from larq_groupnet.data import AUGMENTATIONS, augment
from larq_groupnet.data.base import Dataset
from larq_groupnet.data.images import mean_colour
from larq_groupnet.data.mixing import Mixing
from larq_groupnet.data.pipeline import (
    Pipeline,
    class_names,
    open_dataset,
    prepare,
)
from larq_groupnet.data.rand_augment import rand_augment
from larq_groupnet.deploy.fake_quant import FakeQuant, Int8Kernel
from larq_groupnet.inference.full_image import FullImage
from larq_groupnet.network.build import build, load_weights
from larq_groupnet.recipes.recipe import Recipe, RecipeError
from larq_groupnet.weights import packed

RELEASE = ".safetensors"
"""Ending of a release file."""

LAST = "-last"
"""Behind the name of a phase: the file with the weights of its last epoch."""


def load_run(
    path: str | Path, recipe: Recipe | None = None, size: tuple[int, int] | None = None
) -> tf.keras.Model:
    """The network of an earlier run with its weights.

    Args:
        path: Folder of the run, for the best weights of its last phase that has any, a weights file
            in it, or a release file (`.safetensors`).
        recipe: What to build for an `.h5` that has no `recipe.json` beside it.
        size: Height and width of the images that it is to read; `None` for the run's own.

    Raises:
        RecipeError: If there are no such weights.
    """
    path = Path(path)
    if path.suffix == RELEASE and path.is_file():
        config = _sized(packed.read(path)[0].config, size)
        return build(config, weights=path)
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
    last = {folder / f"{phase.name}{LAST}.h5": phase for phase in phases}
    phase = (files | last).get(path)
    binary = phase.binary if phase else recipe.model.binary
    if not path.is_file():
        raise RecipeError(
            f"weights: expected one of {', '.join(file.name for file in files)} in a run's folder, "
            f"or a weights file. Received: {path}"
        )
    if phase and phase.int8:
        model = load_integers(folder / f"{phase.name}.keras")
        if size not in (None, model.input_shape[1:3]):
            raise RecipeError(
                f"size: expected {model.input_shape[1:3]}, at which the ranges of the integers in "
                f"{path} were measured; the weights of an earlier phase fit any. Received: {size}"
            )
    else:
        model = build(_sized(recipe.model.replace(binary=binary), size), name=recipe.name)
    load_weights(model, path)
    return model


def load_integers(file: Path) -> tf.keras.Model:
    """The network that a phase of integers starts from."""
    parts = {"FakeQuant": FakeQuant, "Int8Kernel": Int8Kernel}
    return tf.keras.models.load_model(file, custom_objects=parts, compile=False)


def trained_recipe(path: str | Path, recipe: Recipe) -> Recipe:
    """The recipe that weights were trained with, as far as they say.

    Args:
        path: As for `load_run`.
        recipe: What holds where they say nothing.

    Returns:
        That of the run; for a release file, `recipe` with its network, dataset and preprocessing.
    """
    path = Path(path)
    if path.suffix == RELEASE and path.is_file():
        metadata = packed.read(path)[0]
        known = {
            field: metadata.preprocessing[field]
            for field in ("normalisation", "central_crop")
            if field in metadata.preprocessing
        }
        return dataclasses.replace(recipe, model=metadata.config, dataset=metadata.dataset, **known)
    return _recipe_of(path if path.is_dir() else path.parent) or recipe


def _sized(config: GroupNetConfig, size: tuple[int, int] | None) -> GroupNetConfig:
    if size is None:
        return config
    return config.replace(input_shape=(*size, config.input_shape[2]))


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
    _, recipe = _folder_of(path)
    recipe = dataclasses.replace(recipe, model=_sized(recipe.model, size))
    return recipe, pipeline_of(recipe, prepare(recipe.dataset, data_dir, recipe.on_bad_image))


class EvalData(Protocol):
    """A dataset as a network reads it; `Pipeline` is one."""

    def eval_batches(self, role: str) -> tf.data.Dataset:
        """One pass over a split, without augmentation."""


def first_images(data: EvalData, role: str, count: int) -> np.ndarray:
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
    folder, recipe = _folder_of(path)
    if (folder / "results.json").is_file():
        keras = json.loads((folder / "results.json").read_text())["keras"]
        names = list(keras["iou"] if "iou" in keras else keras["recall"])
    else:
        names = class_names(open_dataset(recipe.dataset, data_dir, recipe.on_bad_image))
    return {"classes": names, "preprocessing": recipe.preprocessing()}


def _folder_of(path: str | Path) -> tuple[Path, Recipe]:
    """The folder of a run, given it or a file in it, and its recipe."""
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    recipe = _recipe_of(folder)
    if recipe is None:
        raise RecipeError(f"run: expected a recipe.json in {folder}. Received: none")
    return folder, recipe


def _recipe_of(folder: Path) -> Recipe | None:
    file = folder / "recipe.json"
    return Recipe.from_dict(json.loads(file.read_text())) if file.is_file() else None


def test_images(recipe: Recipe, data: Pipeline) -> tuple[tf.data.Dataset, FullImage | None]:
    """The test set as `evaluate` takes it: batches, or full images and how to look at them."""
    if data.target == "label":
        return data.eval_batches("test"), None
    view = FullImage(data.size, recipe.normalisation, recipe.eval_scales, recipe.eval_flip)
    return data.full_images("test"), view


def pipeline_of(recipe: Recipe, builder: Dataset) -> Pipeline:
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
        mixing=Mixing(recipe.mixup, recipe.cutmix),
    )


def _augmentation(recipe: Recipe) -> augment.Augmentation:
    chosen = AUGMENTATIONS[recipe.augmentation].with_options(
        colour_jitter=recipe.colour_jitter,
        base_size=recipe.base_size,
        mean=mean_colour(recipe.normalisation),
    )
    return rand_augment(chosen, *recipe.rand_augment) if recipe.rand_augment else chosen
