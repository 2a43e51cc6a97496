"""`key=value` texts of a command line, applied to a recipe or read as options of a model."""

from __future__ import annotations

import ast
import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

from larq_groupnet.config import GroupNetConfig
from larq_groupnet.recipes.recipe import Phase, Recipe, RecipeError, unknown

_RECIPE_FIELDS = tuple(
    field.name
    for field in dataclasses.fields(Recipe)
    if field.name not in ("name", "model", "phases")
)
_PHASE_FIELDS = tuple(
    field.name
    for field in dataclasses.fields(Phase)
    if field.name not in ("name", "binary", "int8")
)
_MODEL_OPTIONS = tuple(field.name for field in dataclasses.fields(GroupNetConfig))


def override(recipe: Recipe, changes: Iterable[tuple[str, str]]) -> Recipe:
    """Applies `key=value` texts, as given on a command line, to a recipe.

    A key is a field of the recipe, an option of the model, or `PHASE.field`. A field of a phase
    alone, such as `epochs`, sets every phase: one value for all, or one each, separated by commas.
    Everything is set at once, because one value may be valid only beside another.

    Raises:
        RecipeError: For an unknown key (names the nearest) or a value of another type.
        ConfigError: For a model option that describes no network.
    """
    options: dict[str, Any] = {}
    own: dict[str, Any] = {}
    phases: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, text in changes:
        if key in _MODEL_OPTIONS:
            options[key] = _parse_option(recipe.model, key, text)
        elif key in _RECIPE_FIELDS:
            own[key] = _parse(key, text, getattr(recipe, key))
        else:
            for phase, field, value in _phase_changes(recipe, key, text):
                phases[phase.name][field] = _parse(key, value, getattr(phase, field))
    model = recipe.model.replace(**options)
    if not model.binary:  # The real-valued twin, in every phase.
        for phase in recipe.phases:
            phases[phase.name]["binary"] = False
    changed = tuple(dataclasses.replace(p, **phases[p.name]) for p in recipe.phases)
    return dataclasses.replace(recipe, **own, model=model, phases=changed)


def split_option(text: str) -> tuple[str, str]:
    """Key and value of a `key=value` text.

    Raises:
        RecipeError: For a text without `=`.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise RecipeError(f"--set: expected key=value. Received: {text!r}")
    return key.strip(), value.strip()


def parse_options(texts: Iterable[str], arguments: Collection[str] = ()) -> dict[str, Any]:
    """`key=value` texts as options of a model.

    Args:
        texts: From a command line.
        arguments: Names that the model takes beside the options of `GroupNetConfig`.

    Raises:
        RecipeError: For a text without `=`, an unknown key or a value of another type.
    """
    options = {}
    for text in texts:
        key, value = split_option(text)
        if key in _MODEL_OPTIONS:
            options[key] = _parse_option(GroupNetConfig(), key, value)
        elif key in arguments:
            options[key] = _literal(value)
        else:
            raise RecipeError(unknown("key", key, sorted({*_MODEL_OPTIONS, *arguments})))
    return options


def _phase_changes(recipe: Recipe, key: str, text: str) -> list[tuple[Phase, str, str]]:
    """Which phase gets which text for which field."""
    if key in _PHASE_FIELDS:
        values = text.split(",") if isinstance(getattr(recipe.phases[0], key), float | int) else []
        values = values if len(values) > 1 else [text] * len(recipe.phases)
        if len(values) != len(recipe.phases):
            names = ", ".join(phase.name for phase in recipe.phases)
            raise RecipeError(
                f"{key}: expected one value, or {len(recipe.phases)} (for {names}) separated by "
                f"commas. Received: {text!r}"
            )
        return [(p, key, value) for p, value in zip(recipe.phases, values, strict=True)]
    name, _, field = key.partition(".")
    phases = {phase.name: phase for phase in recipe.phases}
    if name in phases and field in _PHASE_FIELDS:
        return [(phases[name], field, text)]
    dotted = [f"{name}.{field}" for name in phases for field in _PHASE_FIELDS]
    raise RecipeError(
        unknown("key", key, [*_RECIPE_FIELDS, *_PHASE_FIELDS, *dotted, *_MODEL_OPTIONS])
    )


def _parse_option(config: GroupNetConfig, key: str, text: str) -> Any:
    """The config checks its values; only the type of plain numbers and switches is checked here."""
    current = getattr(config, key)
    if key not in ("num_bases", "binary") and isinstance(current, bool | int | float):
        return _parse(key, text, current)
    return _literal(text)


def _parse(key: str, text: str, current: Any) -> Any:
    """Reads `text` as the type of the current value."""
    value = _literal(text)
    wanted = type(current)
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted:
        names = {
            bool: "true or false",
            int: "an integer",
            float: "a number",
            str: "a text",
            tuple: "values in brackets, such as (20, 30)",
        }
        raise RecipeError(f"{key}: expected {names[wanted]}. Received: {key}={text!r}")
    return value


def _literal(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
