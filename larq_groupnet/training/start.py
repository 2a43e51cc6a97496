"""What training starts from: an earlier run, a file of weights, or a registered set."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import tensorflow as tf

from larq_groupnet.deploy.int8 import is_int8
from larq_groupnet.network.build import build
from larq_groupnet.recipes.recipe import Recipe, RecipeError
from larq_groupnet.runs.saved import load_run
from larq_groupnet.weights.resolve import adopt, is_path


def with_start(recipe: Recipe, start_from: str | Path | None) -> Recipe:
    """The recipe with what it starts from, and with the network that this needs.

    Args:
        recipe: A recipe.
        start_from: Instead of what the recipe says, or `None`.

    Returns:
        The recipe. If it starts from a registered set, options of its network that it leaves at
        their defaults are those of the set (see `resolve.adopt`), but for the image size.

    Raises:
        RecipeError: If there is no such set; says how to get it.
    """
    recipe = dataclasses.replace(recipe, start_from=str(start_from or recipe.start_from))
    path = Path(recipe.start_from)
    if not recipe.start_from or path.is_dir() or is_path(recipe.start_from):
        return recipe
    try:
        model = adopt(recipe.start_from, recipe.name, recipe.model, also=("input_shape",))
    except ValueError as error:
        raise RecipeError(_no_start(recipe, error)) from error
    return dataclasses.replace(recipe, model=model)


def load_start(recipe: Recipe) -> tf.keras.Model | None:
    """The network that the first phase starts from; `None` for random weights.

    Raises:
        RecipeError: If there are no such weights, or those of another network.
    """
    if not recipe.start_from:
        return None
    if Path(recipe.start_from).is_dir():
        model = load_run(_weights_before(recipe), recipe)
        if is_int8(model):
            raise RecipeError(
                "start_from: expected real weights, such as those of a phase before the integers, "
                f"{recipe.start_from}/binary.h5. Received: {recipe.start_from}, which ends with "
                "integers"
            )
        return model
    try:
        return build(recipe.model, weights=recipe.start_from, name=recipe.name)
    except (OSError, ValueError) as error:
        raise RecipeError(_no_start(recipe, error)) from error


def _weights_before(recipe: Recipe) -> Path:
    """In the folder of a run that has trained the phase before the first one, the weights of that.

    So a later phase can be repeated. Of another run, the folder, which stands for its last phase.
    """
    folder = Path(recipe.start_from)
    epochs = [phase.epochs > 0 for phase in recipe.phases]
    before = [phase.name for phase in recipe.phases[: epochs.index(True)]]
    files = [folder / f"{name}.h5" for name in reversed(before)]
    return next((file for file in files if file.is_file()), folder)


def _no_start(recipe: Recipe, error: Exception) -> str:
    return (
        "start_from: expected a run's folder, a weights file or a registered set. "
        f"Received: {recipe.start_from}. Give the folder or the file with --start_from, or start "
        f"from random weights: --set start_from= ({error})"
    )
