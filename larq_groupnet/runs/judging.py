"""The recipe with which a trained network is judged on test images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from larq_groupnet.errors import RecipeError
from larq_groupnet.recipes.overrides import check_used, override
from larq_groupnet.recipes.recipe import Phase, Recipe, differences
from larq_groupnet.runs.source import Source, find_source

READING = (
    "batch_size",
    "normalisation",
    "central_crop",
    "letterbox",
    "eval_scales",
    "eval_flip",
    "eval_crop",
    "on_bad_image",
)
"""Fields of a recipe that define how test images are read."""

_OF_SOURCE = {
    "central_crop": "central_crop", "scales": "eval_scales", "flip": "eval_flip",
    "letterbox": "letterbox",
}  # fmt: skip


def recipe_to_judge(
    weights: str | Path,
    base: Recipe | None,
    dataset: str | None = None,
    changes: Sequence[tuple[str, str]] = (),
) -> Recipe:
    """The recipe for `evaluate_only`.

    Args:
        weights: As for `find_source`.
        base: The user's recipe, which describes weights that have no other description.
        dataset: Dataset to judge on; by default the dataset of training.
        changes: Keys and texts for `override`: how images are read and, if only `base` describes
            the weights, options of the network.

    Raises:
        RecipeError: If a change cannot apply, or a fact is neither known nor given.
    """
    source = find_source(weights, base)
    if base is not None and source.recipe is not None and source.recipe.name != base.name:
        raise RecipeError(
            f"model: expected {source.recipe.name}, whose weights these are. Received: {base.name}"
        )
    recipe = source.recipe or _recipe_of(source, dataset, changes)
    recipe = dataclasses.replace(recipe, dataset=dataset or recipe.dataset)
    wanted = override(recipe, changes)
    check_used(wanted, (key for key, _ in changes))
    if base is None or source.recipe is not base:  # The weights have a description of their own.
        _check(recipe, wanted)
    return wanted


def _recipe_of(source: Source, dataset: str | None, changes: Sequence[tuple[str, str]]) -> Recipe:
    """Makes a recipe that reads images as the metadata of weights without a recipe says."""
    known = {
        _OF_SOURCE[key]: value for key, value in source.preprocessing.items() if key in _OF_SOURCE
    }
    stored = source.preprocessing.get("normalisation", "")
    normalisation = dict(changes).get("normalisation", stored)
    if not (dataset or source.dataset) or not normalisation:
        missing = "--set normalisation=symmetric or imagenet" if dataset else "--dataset"
        raise RecipeError(
            f"evaluate: expected the dataset and normalisation of {source.weights}. "
            f"Received: a file that does not state them. Give {missing}."
        )
    phase = Phase("trained", 1, 1e-3, source.config.binary)
    on = dataset or source.dataset
    return Recipe(source.name, source.config, (phase,), on, normalisation=normalisation, **known)


def _check(recipe: Recipe, wanted: Recipe) -> None:
    """Refuses changes of a trained network, or of fields that judging does not use."""
    model = recipe.model.replace(input_shape=wanted.model.input_shape)
    reading = {field: getattr(wanted, field) for field in READING}
    recipe = dataclasses.replace(recipe, model=model, **reading)
    if found := differences(recipe, wanted):
        different = "; ".join(f"{key} is {old!r}, not {new!r}" for key, (old, new) in found.items())
        raise RecipeError(
            f"evaluate: expected only options that define how images are read "
            f"({', '.join(READING)}, input_size). Received: {different}. Leave it out."
        )
