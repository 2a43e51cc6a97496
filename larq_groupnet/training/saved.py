"""What a run has left: its network, and images as that network reads them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from larq_groupnet.config import GroupNetConfig
from larq_groupnet.data import augment
from larq_groupnet.data.mixing import Mixing
from larq_groupnet.data.pipeline import Pipeline, prepare
from larq_groupnet.data.rand_augment import rand_augment
from larq_groupnet.models import build, load_weights
from larq_groupnet.training.recipe import Recipe, RecipeError
from larq_groupnet.weights import packed

RELEASE = ".safetensors"
"""Ending of a release file."""

LAST = "-last"
"""Behind the name of a phase: the file with the weights of its last epoch."""

_AUGMENTATIONS = {
    "none": augment.unchanged,
    "shift": augment.shift,
    "cifar": augment.cifar,
    "imagenet": augment.imagenet,
    "segmentation": augment.segmentation,
}


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
    model = build(_sized(recipe.model.replace(binary=binary), size), name=recipe.name)
    load_weights(model, path)
    return model


def load_start(path: str | Path, recipe: Recipe) -> tf.keras.Model:
    """The network that the first phase of a recipe starts from.

    Args:
        path: As for `load_run`. From the folder of a run that has trained the phase before, its
            weights are taken, so that a later phase can be repeated; else the best of the last.
        recipe: What is to be trained.
    """
    epochs = [phase.epochs > 0 for phase in recipe.phases]
    before = [phase.name for phase in recipe.phases[: epochs.index(True)]]
    files = [Path(path) / f"{name}.h5" for name in reversed(before)]
    return load_run(next((file for file in files if file.is_file()), path), recipe)


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


def sample_images(
    path: str | Path, count: int, data_dir: Path, size: tuple[int, int] | None = None
) -> np.ndarray:
    """The first test images, as a run's network reads them.

    Args:
        path: As for `load_run`.
        count: How many.
        data_dir: Where datasets are kept.
        size: As for `load_run`.

    Returns:
        `(count, height, width, channels) float32`.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    recipe = _recipe_of(folder)
    if recipe is None:
        raise RecipeError(f"run: expected a recipe.json in {folder}. Received: none")
    if size is not None:
        shape = (*size, recipe.model.input_shape[2])
        recipe = dataclasses.replace(recipe, model=recipe.model.replace(input_shape=shape))
    data = pipeline_of(recipe, prepare(recipe.dataset, data_dir, recipe.on_bad_image))
    batches = data.eval_batches("test").unbatch().take(count).batch(count)
    return next(iter(batches))[0].numpy()


def _recipe_of(folder: Path) -> Recipe | None:
    file = folder / "recipe.json"
    return Recipe.from_dict(json.loads(file.read_text())) if file.is_file() else None


def pipeline_of(recipe: Recipe, builder: tfds.core.DatasetBuilder) -> Pipeline:
    """The input pipeline that a recipe describes."""
    height, width, _ = recipe.model.input_shape
    augmentation = _AUGMENTATIONS.get(recipe.augmentation) or augment.colour(recipe.colour_jitter)
    if recipe.rand_augment:
        augmentation = rand_augment(augmentation, *recipe.rand_augment)
    return Pipeline(
        builder,
        (height or 0, width or 0),  # _check has seen that they are fixed.
        recipe.batch_size,
        seed=recipe.seed,
        augmentation=augmentation,
        normalisation=recipe.normalisation,
        central_crop=recipe.central_crop,
        mixing=Mixing(recipe.mixup, recipe.cutmix),
    )
