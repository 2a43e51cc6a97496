"""Writes a recipe as a file of `zoo/`."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from larq_groupnet.errors import RecipeError
from larq_groupnet.files import write_text
from larq_groupnet.network.config import GroupNetConfig
from larq_groupnet.recipes.recipe import Phase, Recipe

LINE = 100
"""Longest line, as in the rest of this project."""


def write_zoo_file(
    path: Path, recipe: Recipe, title: str, paragraphs: list[str], source: str = ""
) -> None:
    """Writes a file that `train --model PATH` trains.

    Args:
        path: A `.py` file; its stem becomes the name of the recipe.
        recipe: Its only recipe.
        title: First line of its docstring.
        paragraphs: The rest of the docstring; indented paragraphs are not wrapped.
        source: The zoo file to run first, as for `load_recipes`; `""` for none.

    Raises:
        RecipeError: As `recipe_source`.
    """
    recipe = dataclasses.replace(recipe, name=path.stem)
    body = "\n\n".join(map(_wrapped, [title, *paragraphs]))
    load = f"load_recipes({recipe_source(source)})"
    first = f"# It may register names of the recipe.\n{load}{_unbroken(load)}\n\n" if source else ""
    text = (
        f'"""{body}\n"""{_unbroken(body)}\n\n'
        "from larq_groupnet import GroupNetConfig\n"
        f"from larq_groupnet.recipes import Phase, Recipe{', load_recipes' if source else ''}\n\n"
        f"{first}RECIPE = {recipe_source(recipe)}\n\n"
        "RECIPES = (RECIPE,)\n"
    )
    write_text(path, text)


def _unbroken(text: str) -> str:
    """A noqa comment if a line is too long, because paths and commands are not broken."""
    return "  # noqa: E501" if max(map(len, text.splitlines())) > LINE else ""


def _wrapped(paragraph: str) -> str:
    if paragraph.startswith(" "):
        return paragraph
    text = paragraph.replace("\\", "/").replace('"', "'")
    return textwrap.fill(text, LINE, break_long_words=False, break_on_hyphens=False)


def recipe_source(value: Any, depth: int = 0) -> str:
    """A recipe, or a part of one, as Python code formatted like ruff's.

    One field per line; fields with their default value are left out.

    Raises:
        RecipeError: If a value cannot be written as code, such as a quantizer object.
    """
    inner, outer = "    " * (depth + 1), "    " * depth
    if isinstance(value, Recipe | Phase | GroupNetConfig):
        lines = "".join(
            f"{inner}{field.name}={recipe_source(getattr(value, field.name), depth + 1)},\n"
            for field in dataclasses.fields(value)
            if field.default is dataclasses.MISSING or getattr(value, field.name) != field.default
        )
        return f"{type(value).__name__}(\n{lines}{outer})" if lines else f"{type(value).__name__}()"
    if isinstance(value, tuple) and value and isinstance(value[0], Phase):
        lines = "".join(f"{inner}{recipe_source(item, depth + 1)},\n" for item in value)
        return f"(\n{lines}{outer})"
    if isinstance(value, tuple):
        comma = "," if len(value) == 1 else ""
        return f"({', '.join(map(recipe_source, value))}{comma})"
    if isinstance(value, Mapping):
        items = [f"{recipe_source(k)}: {recipe_source(v)}" for k, v in value.items()]
        return f"{{{', '.join(items)}}}"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    raise RecipeError(
        "tune: expected a recipe of plain values that can be written to a file. "
        f"Received: {value!r}"
    )
