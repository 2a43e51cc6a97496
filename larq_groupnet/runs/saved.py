"""Loads the network of a run, and images as the network reads them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tensorflow as tf

from larq_groupnet.data import AUGMENTATIONS, augment
from larq_groupnet.data.base import Dataset
from larq_groupnet.data.images import mean_colour
from larq_groupnet.data.mixing import Mixing
from larq_groupnet.data.pipeline import Pipeline, class_names, open_dataset, prepare
from larq_groupnet.data.rand_augment import rand_augment
from larq_groupnet.data.reading import Reading
from larq_groupnet.deploy.fake_quant import FakeQuant, Int8Kernel
from larq_groupnet.errors import MissingFileError, RecipeError
from larq_groupnet.files import path_of
from larq_groupnet.network import keras_ops  # noqa: F401 (Registers its layers with Keras.)
from larq_groupnet.network.kinds import HEADS
from larq_groupnet.network.synchronized import SynchronizedNorm
from larq_groupnet.recipes.recipe import Recipe
from larq_groupnet.runs.source import Source, find_source


def load_run(path: str | Path, size: tuple[int, int] | None = None) -> tf.keras.Model:
    """Loads a trained network with its weights.

    Args:
        path: As for `find_source`.
        size: Height and width of the images to read; `None` for the network's own.

    Raises:
        UserError: As `find_source` and `Source.load`.
    """
    return find_source(path).sized(size).load()


def load_model(file: str | Path, several: bool = False, *, compile: bool = False) -> tf.keras.Model:
    """Loads a whole model written by `Model.save`, ready to predict.

    Calls `tf.keras.models.load_model`, after registering the layers of this package.

    Args:
        file: A `.keras`, an `.h5` or the folder of a SavedModel.
        several: True to train on several replicas, which then normalise over the global batch.
        compile: True to compile the model as it was saved, to train it further.

    Raises:
        FileNotFoundError: If the file does not exist.
        RecipeError: If Keras cannot load it; says why.
    """
    path = path_of(file, "load_model: expected the path of a whole model saved by Keras")
    expected = f"{file}: expected a whole model saved by Keras 2 (tf_keras)"
    if not _is_whole(path):
        there = path.exists()
        raise (RecipeError if there else MissingFileError)(
            f"{expected}, as .keras, .h5 or a SavedModel. Received: "
            f"{'one without an architecture' if there else 'no such file'}. For runs, weights "
            "and registered names, use larq_groupnet.runs.saved.load_run"
        )
    parts: dict[str, type] = {"FakeQuant": FakeQuant, "Int8Kernel": Int8Kernel}
    try:
        model = tf.keras.models.load_model(path, custom_objects=parts, compile=compile)
    except Exception as error:  # Keras passes on all errors of its layers.
        raise RecipeError(
            f"{expected}, with layers of Keras and Larq, or registered ones. "
            f"Received: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from error
    return _synchronized(model) if several else model


def _synchronized(model: tf.keras.Model) -> tf.keras.Model:
    def copy(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
        is_norm = type(layer) is tf.keras.layers.BatchNormalization
        return (SynchronizedNorm if is_norm else type(layer)).from_config(layer.get_config())

    twin = tf.keras.models.clone_model(model, clone_function=copy)
    twin.set_weights(model.get_weights())
    return twin


def is_whole_model(source: str | Path) -> bool:
    """True for a whole model saved by Keras that is not a run or weights of this package."""
    path = path_of(source)
    if not _is_whole(path):
        return False
    try:
        find_source(path)
    except RecipeError:
        return True
    return False


def _is_whole(path: Path) -> bool:
    """True for a SavedModel, a `.keras`, or an HDF5 file with an architecture."""
    if path.is_dir():
        return (path / "saved_model.pb").is_file()
    if path.suffix == ".keras":
        return path.is_file()
    with contextlib.suppress(OSError), h5py.File(path) as file:
        return "model_config" in file.attrs
    return False


def data_of(source: Source, data_dir: Path) -> Pipeline:
    """The dataset of a trained network, as the network reads it.

    Args:
        source: The network.
        data_dir: Folder of the datasets.

    Raises:
        RecipeError: If the dataset or the normalisation of the network is not known.
    """
    if not source.dataset or "normalisation" not in source.preprocessing:
        raise RecipeError(
            f"samples: expected a network whose description states its dataset and normalisation. "
            f"Received: {source.weights}, which does not."
        )
    reading = {**source.preprocessing, "size": source.config.input_shape[:2]}
    builder = prepare(source.dataset, data_dir, source.on_bad_image)
    batch_size = source.recipe.batch_size if source.recipe else 1
    return Pipeline(builder, Reading.from_dict(reading), batch_size)


def first_images(data: Pipeline, role: str, count: int) -> np.ndarray:
    """The first images of a split, as the network reads them, without augmentation.

    Args:
        data: The pipeline of the network.
        role: `"train"`, `"validation"` or `"test"`.
        count: Number of images.

    Returns:
        `(count, height, width, channels) float32`.
    """
    batches = data.eval_batches(role).unbatch().take(count).batch(count)
    images: np.ndarray = next(iter(batches))[0].numpy()
    return images


def describe(source: Source, data_dir: str | Path) -> dict[str, Any]:
    """Describes how to use a network: names of `classes`, `preprocessing`, `output`, `task`.

    And `temperature`, if it is not 1.

    Args:
        source: The network.
        data_dir: Folder of the datasets. An unfinished run of an older version gets the class names
            from its dataset.

    Raises:
        DatasetError: If the dataset is needed and cannot be opened.
    """
    names = list(source.classes)
    if not names and source.recipe is not None:
        recipe = source.recipe
        names = class_names(open_dataset(recipe.dataset, data_dir, recipe.on_bad_image))
    tempered = {"temperature": source.temperature} if source.temperature != 1 else {}
    return tempered | {
        "classes": names,
        "preprocessing": dict(source.preprocessing),
        "output": source.config.gives,
        "task": HEADS[source.config.head].task if source.config.head else None,
    }


def describe_run(path: str | Path, data_dir: str | Path) -> dict[str, Any]:
    """`describe` for the network that `find_source` finds."""
    return describe(find_source(path), data_dir)


def pipeline_of(recipe: Recipe, builder: Dataset) -> Pipeline:
    """The input pipeline that a recipe describes."""
    height, width, _ = recipe.model.input_shape
    return Pipeline(
        builder,
        recipe.reading((height or 0, width or 0)),  # check_recipe makes sure that they are fixed.
        recipe.batch_size,
        seed=recipe.seed,
        augmentation=_augmentation(recipe),
        eval_crop=recipe.eval_crop,
        mixing=Mixing(recipe.mixup, recipe.cutmix),
    )


def _augmentation(recipe: Recipe) -> augment.Augmentation:
    chosen = AUGMENTATIONS[recipe.augmentation].with_options(
        colour_jitter=recipe.colour_jitter,
        base_size=recipe.base_size,
        mean=mean_colour(recipe.normalisation),
    )
    return rand_augment(chosen, *recipe.rand_augment) if recipe.rand_augment else chosen
