"""The recipe by which a trained network reads its test images."""

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
"""Fields of a recipe that say how test images are read."""

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
        base: A recipe that the user names; it describes weights that nothing else describes.
        dataset: What to judge on; what they were trained on by default.
        changes: Keys and texts for `override`: how images are read and, where nothing else does,
            what the network is.

    Raises:
        RecipeError: If something cannot apply, or is not known and not given.
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
    if base is None or source.recipe is not base:  # Something else describes them.
        _check(recipe, wanted)
    return wanted


def _recipe_of(source: Source, dataset: str | None, changes: Sequence[tuple[str, str]]) -> Recipe:
    """A recipe that reads images as a network without one is known to do."""
    known = {
        _OF_SOURCE[key]: value for key, value in source.preprocessing.items() if key in _OF_SOURCE
    }
    stored = source.preprocessing.get("normalisation", "")
    normalisation = dict(changes).get("normalisation", stored)
    if not (dataset or source.dataset) or not normalisation:
        missing = "--set normalisation=symmetric or imagenet" if dataset else "--dataset"
        raise RecipeError(
            f"evaluate: expected to know the dataset and normalisation of {source.weights}. "
            f"Received: a file that does not say. Give {missing}."
        )
    phase = Phase("trained", 1, 1e-3, source.config.binary)
    on = dataset or source.dataset
    return Recipe(source.name, source.config, (phase,), on, normalisation=normalisation, **known)


def _check(recipe: Recipe, wanted: Recipe) -> None:
    """Refuses what would change nothing, or is another network."""
    model = recipe.model.replace(input_shape=wanted.model.input_shape)
    reading = {field: getattr(wanted, field) for field in READING}
    recipe = dataclasses.replace(recipe, model=model, **reading)
    if found := differences(recipe, wanted):
        different = "; ".join(f"{key} is {old!r}, not {new!r}" for key, (old, new) in found.items())
        raise RecipeError(
            f"evaluate: expected only what says how images are read ({', '.join(READING)}, "
            f"input_size) beside trained weights. Received: {different}. Leave it out."
        )
