"""Recipes from the files of `zoo/`, as they stand, one phase of them, or with one more."""

from __future__ import annotations

import dataclasses
import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from larq_groupnet.recipes.recipe import Phase, Recipe, RecipeError, unknown


def load_recipe(name: str, zoo: Path, dataset: str | None = None) -> Recipe:
    """Runs `zoo/NAME.py` and returns one of its `RECIPES`.

    Args:
        name: Name of the file, without the ending, or the path of a `.py` file elsewhere.
        zoo: Folder of the files.
        dataset: Picks the recipe for this dataset. `None`, or one that the file has no recipe for,
            picks the first.

    Raises:
        RecipeError: If there is no such file; names the nearest one.
    """
    recipes: tuple[Recipe, ...] = _run_file(name, zoo)["RECIPES"]
    return next((recipe for recipe in recipes if recipe.dataset == dataset), recipes[0])


def load_search(name: str, zoo: Path, dataset: str) -> Mapping[str, Sequence[Any]]:
    """What the zoo file says that a search may vary: option -> choices; empty if it says nothing.

    Args:
        name: As for `load_recipe`.
        zoo: Folder of the files.
        dataset: Picks the space of this dataset from `SEARCH`; one that it does not have, the
            first.
    """
    spaces = _run_file(name, zoo).get("SEARCH", {})
    return spaces.get(dataset) or next(iter(spaces.values()), {})


def _run_file(name: str, zoo: Path) -> dict[str, Any]:
    names = sorted(path.stem for path in zoo.glob("[!_]*.py"))
    if name.endswith(".py") and Path(name).is_file():
        return runpy.run_path(name)
    if name not in names:
        raise RecipeError(unknown("model", name, names))
    return runpy.run_path(str(zoo / f"{name}.py"))


def only_phase(recipe: Recipe, name: str) -> Recipe:
    """The recipe with no epochs in any other phase.

    Raises:
        RecipeError: If there is no such phase.
    """
    names = [phase.name for phase in recipe.phases]
    if name not in names:
        added = "; --int8_epochs adds it" if name == "int8" else ""
        raise RecipeError(unknown("phase", name, names) + added)
    phases = (p if p.name == name else dataclasses.replace(p, epochs=0) for p in recipe.phases)
    return dataclasses.replace(recipe, phases=tuple(phases))


def with_int8(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe and a last phase `int8`: Adam from 1e-4 down a cosine.

    Raises:
        RecipeError: If the network is not binary, or the recipe has such a phase.
    """
    names = [phase.name for phase in recipe.phases]
    if "int8" in names:
        raise RecipeError(
            "int8_epochs: expected a recipe without a phase int8; set int8.epochs of this one. "
            f"Received: {', '.join(names)}"
        )
    phase = Phase("int8", epochs, 1e-4, recipe.model.binary, int8=True, warmup_epochs=0)
    return dataclasses.replace(recipe, phases=(*recipe.phases, phase))
