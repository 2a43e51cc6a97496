"""Turns the arguments of a command line into one recipe, and notes for the user."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from larq_groupnet.errors import RecipeError
from larq_groupnet.family import BY_SIZE, SMALL_IMAGE
from larq_groupnet.recipes import own
from larq_groupnet.recipes.load import ZooFile, load_recipes
from larq_groupnet.recipes.overrides import (
    INPUT_SIZE,
    check_trained,
    check_used,
    only_phase,
    override,
    sizes_in,
)
from larq_groupnet.recipes.overrides import with_int8 as add_int8
from larq_groupnet.recipes.recipe import Recipe
from larq_groupnet.recipes.scaling import scaled
from larq_groupnet.recipes.start import Changes

if TYPE_CHECKING:
    from larq_groupnet.data.base import Dataset

LOOKED_AT = 16
"""Number of images read to find the size of a dataset's images."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """A recipe, and how it was chosen.

    Attributes:
        recipe: The recipe to train.
        notes: Lines for the user: which recipe it is, and what was adapted.
        given: Keys that the user set.
    """

    recipe: Recipe
    notes: tuple[str, ...]
    given: frozenset[str]


def choose(
    model: str | None,
    data_dir: Path,
    *,
    dataset: str | None = None,
    recipe: str | None = None,
    changes: Changes = (),
    phase: str | None = None,
    int8_epochs: int = 0,
    scale: bool = False,
) -> Choice:
    """Chooses the recipe for a command line.

    Args:
        model: As for `load_recipes`; `None` for the model that suits the dataset.
        data_dir: Folder of the datasets.
        dataset: Dataset to train on; by default the recipe's.
        recipe: Dataset name of a recipe in the file. By default the recipe for `dataset`, or if
            there is none, the recipe for a user's own images, see `own.own_recipe`.
        changes: Keys and texts for `override`.
        phase: Train only this phase.
        int8_epochs: Epochs of a last int8 phase.
        scale: Scale the learning rates with the batch size, see `scaling.scaled`.

    Raises:
        RecipeError: For an unknown name, a value that does not fit, or images of a dataset without
            a recipe that are larger than the input of the given `recipe`, unless a size is given.
        DatasetError: If the dataset has no recipe and cannot be opened.
    """
    file = _file(model, dataset, data_dir, changes)
    if recipe is None:
        found = file.for_dataset(_plain_name(dataset) if dataset else None)
    else:
        found = file.find(recipe)
    on, keys = dataset or found.dataset, [key for key, _ in changes]
    notes: Sequence[str]
    if recipe is None and _plain_name(on) != found.dataset:
        builder = _open(on, data_dir, changes)
        chosen, notes = own.own_recipe(file.recipes[0], on, builder, changes, file.path)
    else:
        chosen, said = adapted(found, on, data_dir, changes)
        notes = (f"Recipe: {file.path}", *said)
    integers = [change for change in changes if int8_epochs and change[0].startswith("int8.")]
    chosen = override(chosen, [change for change in changes if change not in integers])
    if int8_epochs:
        if phase not in (None, "int8"):
            raise RecipeError(
                f"int8_epochs: expected no --phase other than int8. Received: --phase {phase}. "
                "Leave one of them out."
            )
        chosen = override(add_int8(chosen, int8_epochs), integers)
    if scale:
        chosen, lines = scaled(chosen, found.batch_size, keys)
        notes = (*notes, *lines)
    if phase:
        _check_one_phase(chosen, changes, phase)
        chosen = only_phase(chosen, phase)
        check_trained(chosen, keys)
    check_used(chosen, keys)
    return Choice(chosen, tuple(notes), frozenset(keys))


def _file(model: str | None, dataset: str | None, data_dir: Path, changes: Changes) -> ZooFile:
    """The recipes of a model; without a model, of the model for the dataset's labels or masks."""
    if model is None or Path(model).stem == own.RECIPES:
        dataset = dataset or load_recipes(own.RECIPES).recipes[0].dataset
        model = own.model_for(_open(dataset, data_dir, changes).target)
    return load_recipes(model)


def _open(dataset: str, data_dir: Path, changes: Changes, otherwise: str = "error") -> Dataset:
    from larq_groupnet.data.pipeline import open_dataset

    return open_dataset(dataset, data_dir, dict(changes).get("on_bad_image", otherwise))


def _plain_name(dataset: str) -> str:
    """`imagenet2012` from `imagenet2012:5.1.0` or `imagenet2012/subset`."""
    named = re.fullmatch(r"(\w+)(/[\w.+-]+)?(:[\d.*]+)?", dataset)
    return named[1] if named else dataset


def adapted(
    recipe: Recipe, dataset: str, data_dir: Path, changes: Changes = ()
) -> tuple[Recipe, tuple[str, ...]]:
    """Adapts a recipe to another dataset; returns it with a line about the changes.

    The classes and channels follow the dataset. The stem follows the size of the images.

    Args:
        recipe: Any recipe.
        dataset: Dataset to train on.
        data_dir: Folder of the datasets.
        changes: The user's other changes; without a size, images may not be larger than the
            recipe's input.

    Raises:
        RecipeError: If images are larger; asks for the size.
        DatasetError: If the dataset cannot be opened.
    """
    if _plain_name(dataset) == recipe.dataset:
        return dataclasses.replace(recipe, dataset=dataset), ()
    given = dict(changes)
    builder = _open(dataset, data_dir, changes, recipe.on_bad_image)
    sizes = sizes_in(changes)
    if not sizes:
        _check_size(recipe, dataset, builder)
    height, width = override(recipe, sizes).size()
    classes, shape = len(builder.classes), (height, width, builder.channels)
    options: dict[str, Any] = {"num_classes": classes, "input_shape": shape}
    toy = recipe.model.head == "classifier" and recipe.model.stem_stride == 1
    if toy and min(height, width) >= SMALL_IMAGE and not given.keys() & {*BY_SIZE}:
        options |= {"stem_stride": 4, "output_stride": 32}
    note = (
        f"There is no recipe for {dataset}: this is the one for {recipe.dataset}, with {classes} "
        f"classes and images of {height} x {width} pixels. --recipe selects another."
    )
    model = recipe.model.replace(**options)
    return dataclasses.replace(recipe, dataset=dataset, model=model, eval_scales=()), (note,)


def _check_size(recipe: Recipe, dataset: str, builder: Dataset) -> None:
    height, width = recipe.size()
    largest = builder.largest(LOOKED_AT)
    if largest and largest[0] <= height and largest[1] <= width:
        return
    said = f"has images of up to {largest[0]} x {largest[1]} pixels" if largest else "is unknown"
    raise RecipeError(
        f"{INPUT_SIZE}: expected the size to train at, because {dataset} has no recipe and the "
        f"one for {recipe.dataset} reads {height} x {width} pixels. Received: no size, and a "
        f"dataset that {said}. Give --{INPUT_SIZE} HEIGHT,WIDTH, such as 224,224, or --recipe."
    )


def _check_one_phase(recipe: Recipe, changes: Changes, phase: str) -> None:
    for key, text in changes:
        each = key in {field.name for field in dataclasses.fields(recipe.phases[0])}
        if each and "," in text and not text.startswith("("):
            raise RecipeError(
                f"{key}: expected one value with --phase {phase}, which trains no other phase. "
                f"Received: {text!r}"
            )
