"""The recipe for a user's own images: `zoo/photos.py`, fitted to a dataset and a network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from larq_groupnet.errors import RecipeError
from larq_groupnet.family import BY_SIZE, SMALL_IMAGE
from larq_groupnet.network.config import OPTIONS, GroupNetConfig, unused_options
from larq_groupnet.recipes.load import load_recipes
from larq_groupnet.recipes.overrides import INPUT_SIZE, override, sizes_in
from larq_groupnet.recipes.recipe import ROOT_MEDIAN_FREQUENCY, Phase, Recipe
from larq_groupnet.recipes.start import Changes, started
from larq_groupnet.tasks.task import kind_of

if TYPE_CHECKING:
    from larq_groupnet.data.base import Dataset

RECIPES = "photos"
"""The file of zoo/ with the recipes, one each for labels and masks."""

MOST_BASES = 3
"""Number of bases above which augmentation does not get stronger."""

LOOKED_AT = 64
"""Number of training images read to choose the input size."""

COUNTED = 2_000
"""Number of training masks read to find the frequency of each class."""

RARE = 2.0
"""Classes get weights if the most common one is at least so many times as common as the rarest."""

PASSES = 10
"""Minimum number of passes over the training images in all epochs together."""

_OF_PHOTOS = ("width", "projection", *BY_SIZE)


def own_recipe(
    model: Recipe, dataset: str, builder: Dataset, changes: Changes, path: Path
) -> tuple[Recipe, list[str]]:
    """The recipe of `zoo/photos.py` with another network, on a dataset.

    Args:
        model: A recipe of the network to train, for its structure.
        dataset: Name of the dataset.
        builder: The dataset.
        changes: The user's changes for `override`, which win; they are not applied here.
        path: The file of the model, for messages.

    Returns:
        The recipe, and lines about its adaptations to the dataset and how to change them.

    Raises:
        RecipeError: If the network does not fit the dataset's labels or masks.
    """
    recipe = _for_truth(builder, model, path)
    given = {key for key, _ in changes}
    network, phases = _structure(recipe.model, model.model), recipe.phases
    if network.decomposition == "none":
        phases = (_real(phases),)
    recipe = dataclasses.replace(
        recipe, name=model.name, dataset=dataset, model=network, phases=phases
    )
    notes = [
        f"Recipe: {load_recipes(RECIPES).path}, made for your own images, "
        f"with the network of {path}."
    ]
    shape, said = _input_shape(recipe, builder, changes)
    notes += said
    options: dict[str, Any] = {"num_classes": len(builder.classes)}
    if not kind_of(recipe.model.head).dense and min(shape[:2]) < SMALL_IMAGE:
        options |= {"stem_stride": 1, "output_stride": 8}
    network = recipe.model.replace(**options, input_shape=shape)
    recipe = dataclasses.replace(recipe, model=network)
    # Before values that follow from K, because the weights may set K.
    recipe, start = started(recipe, changes)
    wanted = override(recipe, [(k, v) for k, v in changes if k in OPTIONS]).model
    # A real-valued network overfits: on 240 other photos `resnet18` had an accuracy of 0.838 with a
    # jitter of 0.15 only, and 0.946 with the strongest augmentation.
    bases = MOST_BASES if wanted.decomposition == "none" else max(wanted.bases_per_stage)
    recipe = dataclasses.replace(recipe, **_strength(bases, kind_of(recipe.model.head).mixes))
    recipe = _budget(recipe, builder)
    if not {"class_weights", "mixup", "cutmix"} & given:
        recipe, said = _weighted(recipe, builder)
        notes += said
    return recipe, [*notes, *start]


def model_for(target: str) -> str:
    """The default model for the target of a dataset."""
    recipes = load_recipes(RECIPES).recipes
    fitting = (each for each in recipes if target in kind_of(each.model.head).targets)
    return next(fitting, recipes[0]).name


def _for_truth(builder: Dataset, model: Recipe, path: Path) -> Recipe:
    for recipe in load_recipes(RECIPES).recipes:
        kind = kind_of(recipe.model.head)
        if builder.target in kind.targets:
            if kind_of(model.model.head) is not kind:
                raise RecipeError(
                    f"model: expected a network for the {builder.target}s of {builder.name}, such "
                    f"as {recipe.name}. Received: {path.stem}"
                )
            return recipe
    raise RecipeError(
        f"dataset: expected labels or masks, or a recipe of its own: --recipe. Received: "
        f"{builder.name}, whose target is {builder.target}"
    )


def _structure(photos: GroupNetConfig, model: GroupNetConfig) -> GroupNetConfig:
    """The network of a model, with the width of the photos' network and at most as many bases."""
    same = model.head == photos.head
    values = {
        name: getattr(model, name)
        for name, about in OPTIONS.items()
        if name not in _OF_PHOTOS and (not about.of_task or (name == "dropout" and same))
    }
    bases = photos.bases_per_stage[0]
    if isinstance(model.num_bases, int):
        values["num_bases"] = min(model.num_bases, bases)
    for name in unused_options(model.decomposition, photos.head):
        values[name] = getattr(GroupNetConfig, name)
    return photos.replace(**values)


def _real(phases: Sequence[Phase]) -> Phase:
    """A single phase for a network without bases, with the epochs of all phases."""
    epochs = sum(phase.epochs for phase in phases)
    return dataclasses.replace(phases[-1], name="real", epochs=epochs, binary=False)


def _input_shape(
    recipe: Recipe, builder: Dataset, changes: Changes
) -> tuple[tuple[int, int, int], list[str]]:
    """Chooses a size with about the recipe's number of pixels and the images' common aspect."""
    given = sizes_in(changes)
    height, width = override(recipe, given).size()
    if given:
        return (height, width, builder.channels), []
    shapes = builder.shapes(LOOKED_AT)
    if not shapes:
        return (height, width, builder.channels), [
            f"The size of the images is unknown: they are read at {height} x {width} pixels; "
            f"--{INPUT_SIZE} HEIGHT,WIDTH changes it."
        ]
    heights, widths = np.array(shapes).T
    aspects = heights / widths
    same = aspects.max() < 1.1 * aspects.min()
    aspect = float(np.median(aspects)) if same else 1.0
    sides = np.array([math.sqrt(aspect), 1 / math.sqrt(aspect)]) * height
    longest = np.maximum(heights, widths).max()
    # No larger than the largest image, because that would add no detail.
    sides *= min(1.0, longest / sides.max())
    step = 32 if sides.min() >= SMALL_IMAGE else 8
    rows, columns = (max(step * round(side / step), 16) for side in sides)
    sizes = f"{heights[0]} x {widths[0]} pixels (height x width)"
    if len(set(shapes)) > 1:
        sizes = f"{min(heights.min(), widths.min())} to {longest} pixels a side"
    text = (
        f"Images of {sizes} are read at {rows} x {columns}, whole and undistorted; small things "
        f"may need more: --{INPUT_SIZE} {2 * rows},{2 * columns} costs about 4 times as much."
    )
    return (rows, columns, builder.channels), [text]


def _strength(bases: int, mixes: bool) -> dict[str, Any]:
    """Augmentation that grows with K: one base underfits where three overfit.

    On 192 photos of parts in any colours, three bases fitted 0.89 after 12 epochs with a jitter of
    0.25 only, and 0.8 with the strongest augmentation, which halved the validation loss.
    """
    level = 2 + min(bases, MOST_BASES)
    values: dict[str, Any] = {"colour_jitter": 0.1 + 0.05 * level}
    if mixes and level > 3:
        values["rand_augment"] = (1, level)
    return values


def _budget(recipe: Recipe, builder: Dataset) -> Recipe:
    """Smaller batches for few images, and longer epochs for many."""
    count = builder.sizes.get("train", 0)
    if not count:  # Not written yet.
        return recipe
    batch = min(recipe.batch_size, count)
    epochs = sum(phase.epochs for phase in recipe.phases)
    steps = max(recipe.steps_per_epoch, math.ceil(PASSES * count / (batch * epochs)))
    return dataclasses.replace(recipe, batch_size=batch, steps_per_epoch=steps)


def _weighted(recipe: Recipe, builder: Dataset) -> tuple[Recipe, list[str]]:
    """Sets mild class weights if a class is rare."""
    from larq_groupnet.data.frequencies import class_counts

    if not builder.sizes:
        return recipe, []
    counts = class_counts(builder, "train", COUNTED)
    held = np.flatnonzero(counts.own)  # The lines of `announce` name classes without an example.
    frequency = counts.own[held] / counts.beside[held]
    if not held.size or frequency.max() < RARE * frequency.min():
        return recipe, []
    rare, common = (builder.classes[held[x]] for x in (frequency.argmin(), frequency.argmax()))
    return dataclasses.replace(recipe, class_weights=ROOT_MEDIAN_FREQUENCY), [
        f"{rare} is {frequency.min() / frequency.max():.3f} times as common as {common}: rare "
        'classes count more in the loss; --set class_weights="" weighs all equally.'
    ]
