"""Names the folders of runs, and finds the one to resume."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from larq_groupnet.errors import RecipeError
from larq_groupnet.recipes.overrides import override
from larq_groupnet.recipes.recipe import Recipe
from larq_groupnet.runs.source import read_recipe

RUNS = Path("runs")


def new_folder(name: str) -> Path:
    """`runs/NAME-TIME-PROCESS`, so that runs that start at the same time have separate folders."""
    return RUNS / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"


def newest_folder(name: str) -> Path:
    """The folder of the newest run of a model.

    Raises:
        RecipeError: If there is no run.
    """
    runs = sorted(RUNS.glob(f"{name}-[0-9]*"))
    if not runs:
        raise RecipeError(
            f"--resume: expected a folder {RUNS / name}-TIME. Received: none. Name the folder: "
            "--resume FOLDER."
        )
    return runs[-1]


def recipe_to_resume(folder: Path, changes: Sequence[tuple[str, str]]) -> Recipe:
    """The recipe of a run, with the user's changes.

    Args:
        folder: Folder of the run.
        changes: Keys and texts for `override`; `guards.check_folder` checks later if they may be
            changed.

    Raises:
        RecipeError: If the folder holds no run.
    """
    recipe = read_recipe(folder)
    if recipe is None:
        search = " It holds a search: repeat its command." * (folder / "search.json").is_file()
        raise RecipeError(
            f"--resume: expected a run's folder, with recipe.json. Received: {folder}, which has "
            f"none.{search}"
        )
    return override(recipe, changes)
