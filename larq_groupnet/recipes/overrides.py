"""Applies `key=value` texts of a command line to a recipe, or reads them as options of a model."""

from __future__ import annotations

import ast
import dataclasses
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from larq_groupnet.data import AUGMENTATIONS
from larq_groupnet.errors import RecipeError
from larq_groupnet.network.config import OPTIONS, RENAMED, GroupNetConfig
from larq_groupnet.recipes.recipe import SPECS, Phase, Recipe, unknown
from larq_groupnet.tasks.task import kind_of

INPUT_SIZE = "input_size"
"""`height,width`: the image size; `input_shape` has the channels, too."""


def _fields(owner: type[Recipe | Phase], *but: str) -> list[str]:
    return [field.name for field in dataclasses.fields(owner) if field.name not in but]


_RECIPE_FIELDS = _fields(Recipe, "name", "model", "phases")
_PHASE_FIELDS = _fields(Phase, "name", "binary", "int8")
_MODEL_OPTIONS = (*OPTIONS, INPUT_SIZE)


def sizes_in(changes: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The changes (as for `override`) that set the size of images."""
    return [change for change in changes if change[0] in (INPUT_SIZE, "input_shape")]


def override(recipe: Recipe, changes: Iterable[tuple[str, str]]) -> Recipe:
    """Applies `key=value` texts, as given on a command line, to a recipe.

    A key is a field of the recipe, an option of the model, or `PHASE.field`. A phase's field
    without the phase, such as `epochs`, sets every phase: one value for all, or one each, separated
    by commas; `PHASE.field` overrides it. `PHASE.optimizer.beta_2` is an argument of the optimizer;
    `schedule` and `loss` work alike. Everything is set at once, because one value may be valid only
    together with another.

    Raises:
        RecipeError: For an unknown key (suggests the nearest), a value of another type, a key with
            two values, or an option of a phase that is not trained.
        ConfigError: For a model option that describes no network.
    """
    changes = list(changes)
    check_once(changes)
    options: dict[str, Any] = {}
    own: dict[str, Any] = {}
    phases: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, text in sorted(changes, key=lambda change: "." in change[0]):
        if key == INPUT_SIZE:
            options["input_shape"] = (*parse_size(text), recipe.model.input_shape[2])
        elif key in _MODEL_OPTIONS:
            options[key] = _parse_option(recipe.model, key, text)
        elif key in _RECIPE_FIELDS:
            own[key] = _parse(key, text, getattr(recipe, key))
            if key in ("start_from", "teacher"):
                own[key] = os.path.expanduser(own[key])
        else:
            for phase, field, value in _phase_changes(recipe, key, text):
                field, _, argument = field.partition(".")
                known = phases[phase.name].get(field, getattr(phase, field))
                phases[phase.name][field] = _parse_phase(key, value, field, argument, known)
    model = recipe.model.replace(**options)
    if "binary" in options or not model.binary:
        for name, binary in _binary_phases(recipe, model.binary).items():
            phases[name]["binary"] = binary
    changed = tuple(dataclasses.replace(p, **phases[p.name]) for p in recipe.phases)
    recipe = dataclasses.replace(recipe, **own, model=model, phases=changed)
    check_trained(recipe, (key for key, _ in changes))
    return recipe


def only_phase(recipe: Recipe, name: str) -> Recipe:
    """The recipe with no epochs in any other phase.

    Raises:
        RecipeError: If the phase does not exist.
    """
    names = [phase.name for phase in recipe.phases]
    if name not in names:
        added = "; --int8_epochs adds it" if name == "int8" else ""
        raise RecipeError(unknown("phase", name, names) + added)
    phases = (p if p.name == name else dataclasses.replace(p, epochs=0) for p in recipe.phases)
    return dataclasses.replace(recipe, phases=tuple(phases))


def with_int8(recipe: Recipe, epochs: int) -> Recipe:
    """Adds a last phase `int8`: Adam with a cosine schedule from 1e-4.

    Raises:
        RecipeError: If the network is not binary, or the recipe already has the phase.
    """
    names = [phase.name for phase in recipe.phases]
    if "int8" in names:
        raise RecipeError(
            "int8_epochs: expected a recipe without a phase int8. "
            f"Received: {', '.join(names)}. Set int8.epochs instead."
        )
    phase = Phase("int8", epochs, 1e-4, recipe.model.binary, int8=True, warmup_epochs=0)
    return dataclasses.replace(recipe, phases=(*recipe.phases, phase))


def check_trained(recipe: Recipe, keys: Iterable[str]) -> None:
    """Refuses `PHASE.field` of a phase that has no epochs.

    Raises:
        RecipeError: Names the key and the phases that are trained.
    """
    trained = [phase.name for phase in recipe.trained]
    idle = {phase.name for phase in recipe.phases} - {*trained}
    for key in keys:
        name, _, field = key.partition(".")
        if name in idle and field not in ("", "epochs"):
            raise RecipeError(
                f"{key}: expected an option of a phase that is trained, {' or '.join(trained)}. "
                f"Received: phase {name}, which has no epochs. Leave the option out."
            )


def check_used(recipe: Recipe, keys: Iterable[str]) -> None:
    """Refuses options that the user switches on but nothing reads.

    Raises:
        RecipeError: Names the key and what it needs.
    """
    dense = (kind_of(recipe.model.head).dense, "a head that scores pixels")
    augments = AUGMENTATIONS[recipe.augmentation].takes
    for key in keys:
        phase, _, field = key.rpartition(".")
        trained = [each for each in recipe.trained if phase in ("", each.name)]
        takes = (field in augments, "an augmentation that takes it")
        used, beside = {
            **dict.fromkeys(("eval_scales", "eval_flip", "eval_crop"), dense),
            **dict.fromkeys(("colour_jitter", "base_size"), takes),
            "stem_pool": (recipe.model.stem_stride == 4, "stem_stride=4, whose stem has a pool,"),
            "temperature": (any(x.soft_targets for x in trained), "soft_targets above 0"),
            "coupled_decay": (any(x.weight_decay for x in trained), "a weight_decay above 0"),
        }.get(field, (True, ""))
        owners = (recipe, recipe.model, *trained[:1])
        value = next(filter(None, (getattr(owner, field, None) for owner in owners)), None)
        if value and not used:
            raise RecipeError(
                f"{key}: expected {beside} with it, because nothing else reads it. "
                f"Received: {key}={value!r} alone. Leave it out."
            )


def split_option(text: str) -> tuple[str, str]:
    """Key and value of a `key=value` text; replaces the old name of an option.

    Raises:
        RecipeError: For a text without `=`.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise RecipeError(f"--set: expected key=value. Received: {text!r}")
    key = key.strip()
    return RENAMED.get(key, key), value.strip()


def parse_size(text: str) -> tuple[int, int]:
    """Height and width from `"224,224"`, `"(224, 224)"` or, for a square, `"224"`.

    Raises:
        RecipeError: If the text has another form.
    """
    sizes = [part.strip() for part in text.strip("()[] ").split(",")]
    if len(sizes) not in (1, 2) or not all(s.isdecimal() and int(s) for s in sizes):
        raise RecipeError(
            f"{INPUT_SIZE}: expected height,width in pixels, such as 224,224. Received: {text!r}"
        )
    return int(sizes[0]), int(sizes[-1])


def parse_options(
    changes: Sequence[tuple[str, str]], arguments: Collection[str] = ()
) -> dict[str, Any]:
    """Reads keys and texts as options of a model.

    Args:
        changes: As for `override`.
        arguments: Arguments of the model besides the options of `GroupNetConfig`.

    Raises:
        RecipeError: For an unknown key or a value of another type.
    """
    check_once(changes)
    options = {}
    for key, value in changes:
        if key == INPUT_SIZE:
            options["input_shape"] = (*parse_size(value), 3)
        elif key in _MODEL_OPTIONS:
            options[key] = _parse_option(GroupNetConfig(), key, value)
        elif key in arguments:
            options[key] = _literal(value)
        else:
            raise RecipeError(unknown("key", key, sorted({*_MODEL_OPTIONS, *arguments})))
    return options


def check_once(changes: Iterable[tuple[str, str]]) -> None:
    """Raises RecipeError for a key with two values."""
    seen: dict[str, tuple[str, str]] = {}
    for key, text in changes:
        same = "input_shape" if key == INPUT_SIZE else key
        before = seen.setdefault(same, (key, text))
        if before != (key, text):
            raise RecipeError(
                f"{same}: expected one value. Received: {'='.join(before)} and {key}={text}"
            )


def _binary_phases(recipe: Recipe, binary: bool | str) -> dict[str, bool | str]:
    """Phase -> its `binary`, if the network's `binary` is set.

    `False` is the real-valued twin, in every phase. Any other value is set in the binary phases,
    or in the last phase if none is binary.
    """
    if not binary:
        return {phase.name: False for phase in recipe.phases}
    names = [phase.name for phase in recipe.phases if phase.binary is not False]
    return dict.fromkeys(names or [recipe.phases[-1].name], binary)


def _phase_changes(recipe: Recipe, key: str, text: str) -> list[tuple[Phase, str, str]]:
    """The phases that a key sets, with the field and the text for each."""
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
    if name in SPECS and field:
        return [(phase, key, text) for phase in recipe.phases]
    phases = {phase.name: phase for phase in recipe.phases}
    if name in phases and (field in _PHASE_FIELDS or field.partition(".")[0] in SPECS):
        return [(phases[name], field, text)]
    dotted = [f"{name}.{field}" for name in phases for field in _PHASE_FIELDS]
    raise RecipeError(
        unknown("key", key, [*_RECIPE_FIELDS, *_PHASE_FIELDS, *dotted, *_MODEL_OPTIONS])
    )


def _parse_phase(key: str, text: str, field: str, argument: str, known: Any) -> Any:
    """The new value of a phase's field; `known` is its current value.

    A `Spec` is a name, or a dictionary of class name and arguments; `optimizer.beta_2` sets one
    argument.
    """
    if field not in SPECS:
        return _parse(key, text, known)
    if not argument:
        value = _literal(text)
        return value if isinstance(value, dict) else text
    spec = known if isinstance(known, Mapping) else {"class_name": known}
    return {**spec, "config": {**(spec.get("config") or {}), argument: _literal(text)}}


def _parse_option(config: GroupNetConfig, key: str, text: str) -> Any:
    """Checks only the type of numbers and booleans; the config checks the rest."""
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
    if wanted is str and type(value) is not str:
        value = text  # A folder may be called 2026.
    if type(value) is not wanted:
        names = {
            bool: "true or false",
            int: "an integer",
            float: "a number",
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
