"""Finds the files of `zoo/` and reads their recipes."""

from __future__ import annotations

import contextlib
import dataclasses
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from larq_groupnet.errors import RecipeError
from larq_groupnet.files import path_of
from larq_groupnet.hints import did_you_mean
from larq_groupnet.recipes.recipe import Recipe, unknown
from larq_groupnet.tasks.task import kind_of


@dataclasses.dataclass(frozen=True)
class ZooFile:
    """A file of recipes for one model.

    Attributes:
        path: Path of the file.
        recipes: Its recipes; the first is the default. Each is named by its dataset.
        search: Dataset -> option -> its choices for `--tune`.
    """

    path: Path
    recipes: tuple[Recipe, ...]
    search: Mapping[str, Mapping[str, Sequence[Any]]]

    @property
    def own_file(self) -> str:
        """The path of a user's file, which may register names; `""` for a file of this package."""
        shipped = zoo_files(zoo_folders()[1:]).get(self.path.stem)
        same = shipped is not None and shipped.resolve() == self.path.resolve()
        return "" if same else str(self.path.resolve())

    def search_for(self, dataset: str | None) -> Mapping[str, Sequence[Any]]:
        """Option -> its choices for a dataset; if it has none, for the first dataset."""
        return self.search.get(dataset or "") or next(iter(self.search.values()), {})

    def for_dataset(self, dataset: str | None) -> Recipe:
        """The recipe for a dataset, or the first."""
        return next((each for each in self.recipes if each.dataset == dataset), self.recipes[0])

    def find(self, name: str) -> Recipe:
        """The recipe with a name.

        Raises:
            RecipeError: If there is none; suggests the nearest.
        """
        names = [recipe.dataset for recipe in self.recipes]
        if name not in names:
            raise RecipeError(
                f"recipe: expected one of {', '.join(names)}, the recipes of {self.path}. "
                f"Received: {name}.{did_you_mean(name, names)}"
            )
        return self.for_dataset(name)


def zoo_folders() -> list[Path]:
    """Folders to search for recipes: `./zoo`, the `zoo/` of a checkout, the installed one."""
    package = Path(__file__).resolve().parent.parent
    folders = [Path("zoo"), package / "recipes" / "zoo"]
    if (package.parent / "train.py").is_file():
        folders.insert(1, package.parent / "zoo")
    return folders


def load_recipes(name: str, zoo: Path | None = None) -> ZooFile:
    """Runs `NAME.py` from the first of `zoo_folders` that has it.

    Like a script, it may import modules from its own folder.

    Args:
        name: Name of the file, without the suffix, or the path of a `.py` file elsewhere.
        zoo: The only folder to search.

    Raises:
        RecipeError: If the file does not exist (suggests the nearest), or holds no recipes or two
            for one dataset.
    """
    path = path_of(name)
    if path.suffix != ".py" or not path.is_file():
        files = zoo_files(None if zoo is None else [path_of(zoo)])
        if name not in files:
            raise RecipeError(unknown("model", name, sorted(files)))
        path = files[name]
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        content = runpy.run_path(str(path))
        recipes = tuple(content["RECIPES"])
        if not recipes or not all(isinstance(recipe, Recipe) for recipe in recipes):
            raise TypeError("RECIPES holds something else")
    except Exception as error:  # A user's file can raise anything.
        raise RecipeError(
            f"{path}: expected a Python file with RECIPES, a tuple of Recipe. "
            f"Received: {type(error).__name__}: {error}"
        ) from error
    finally:
        with contextlib.suppress(ValueError):  # The file may have removed it.
            sys.path.remove(folder)
    first: dict[Any, Recipe] = {}  # A second recipe for a task and dataset is unreachable.
    for recipe in recipes:
        other = first.setdefault((recipe.dataset, kind_of(recipe.model.head)), recipe)
        if other is not recipe:
            raise RecipeError(
                f"{path}: expected one recipe for each dataset. Received: {other.name} and "
                f"{recipe.name} for {recipe.dataset}. Give each a file of its own."
            )
    return ZooFile(path, recipes, content.get("SEARCH", {}))


def load_recipe(name: str, zoo: Path | None = None, dataset: str | None = None) -> Recipe:
    """The recipe of a file for a dataset, or its first; arguments and errors as `load_recipes`."""
    return load_recipes(name, zoo).for_dataset(dataset)


def load_search(
    name: str, zoo: Path | None = None, dataset: str | None = None
) -> Mapping[str, Sequence[Any]]:
    """Options for `--tune`, see `ZooFile.search_for`; arguments and errors as `load_recipes`."""
    return load_recipes(name, zoo).search_for(dataset)


def zoo_files(folders: Sequence[Path] | None = None) -> dict[str, Path]:
    """Name -> its file of recipes, in `zoo_folders` by default."""
    files: dict[str, Path] = {}
    for folder in reversed(zoo_folders() if folders is None else folders):
        files.update({path.stem: path for path in folder.glob("[!_]*.py")})
    return files
