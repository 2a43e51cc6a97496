"""A recipe: a network, its data and its training phases, as one frozen value.

Knows nothing of TensorFlow, so that a wrong option is reported at once.
"""

from __future__ import annotations

import ast
import dataclasses
import math
import runpy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from larq_groupnet.config import GroupNetConfig
from larq_groupnet.data import DATASETS
from larq_groupnet.hints import did_you_mean


class RecipeError(ValueError):
    """A recipe that cannot be run. One line: what was expected, received, and the choices."""


@dataclasses.dataclass(frozen=True)
class Phase:
    """One call of `fit`; it starts from the best weights of the phase before.

    Attributes:
        name: Prefix of the phase's options and name of its weights file.
        epochs: Passes over the training set; 0 leaves the phase out.
        learning_rate: Adam's, at its peak: one epoch of linear warm-up, then a cosine to 2 %.
        binary: Train the binary network, or its twin with real kernels and tanh.
    """

    name: str
    epochs: int
    learning_rate: float
    binary: bool


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        name: File name in `zoo/`, without the ending.
        model: The network.
        phases: What is trained, in this order.
        dataset: One of `larq_groupnet.data.DATASETS`.
        batch_size: Images per step.
        steps_per_epoch: Steps between two validations; 0 for one pass over the training set.
        seed: Of initial weights, data order and augmentation.
        colour_jitter: Largest change of contrast (as a factor) and brightness per colour channel.
    """

    name: str
    model: GroupNetConfig
    phases: tuple[Phase, ...]
    dataset: str
    batch_size: int = 16
    steps_per_epoch: int = 0
    seed: int = 0
    colour_jitter: float = 0.2

    def __post_init__(self) -> None:
        if self.dataset not in DATASETS:
            raise RecipeError(_unknown("dataset", self.dataset, DATASETS))
        for field, least in (("batch_size", 1), ("steps_per_epoch", 0), ("seed", 0)):
            if not least <= getattr(self, field) < 2**32:
                raise RecipeError(
                    f"{field}: expected an integer of at least {least} and below 2**32. "
                    f"Received: {field}={getattr(self, field)!r}"
                )
        if not 0 <= self.colour_jitter <= 1:
            raise RecipeError(
                f"colour_jitter: expected a number in [0, 1]. Received: {self.colour_jitter!r}"
            )
        for phase in self.phases:
            if phase.epochs < 0 or not 0 < phase.learning_rate < math.inf:
                raise RecipeError(
                    f"phase {phase.name!r}: expected epochs of at least 0 and a learning rate "
                    f"above 0. Received: epochs={phase.epochs}, "
                    f"learning_rate={phase.learning_rate}"
                )
        if not self.phases or self.phases[-1].epochs == 0:
            raise RecipeError("epochs: expected at least 1 in the last phase. Received: 0")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return dataclasses.asdict(self)


_OWN_FIELDS = ("dataset", "batch_size", "steps_per_epoch", "seed", "colour_jitter")
_PHASE_FIELDS = ("epochs", "learning_rate")
_MODEL_OPTIONS = tuple(field.name for field in dataclasses.fields(GroupNetConfig))


def load_recipe(name: str, zoo: Path) -> Recipe:
    """Runs `zoo/NAME.py` and returns its `RECIPE`.

    Raises:
        RecipeError: If there is no such file; names the nearest one.
    """
    names = sorted(path.stem for path in zoo.glob("[!_]*.py"))
    if name not in names:
        raise RecipeError(_unknown("model", name, names))
    return runpy.run_path(str(zoo / f"{name}.py"))["RECIPE"]


def override(recipe: Recipe, changes: Iterable[tuple[str, str]]) -> Recipe:
    """Applies `key=value` texts, as given on a command line, to a recipe.

    A key is a field of the recipe, an option of the model, or `PHASE.field`. `epochs` and
    `learning_rate` alone set every phase: one value for all, or one each, separated by commas.

    Raises:
        RecipeError: For an unknown key (names the nearest) or a value of another type.
        ConfigError: For a model option that describes no network.
    """
    options: dict[str, Any] = {}
    for key, text in changes:
        if key in _MODEL_OPTIONS:
            options[key] = _parse_option(recipe.model, key, text)
        else:
            recipe = _override_one(recipe, key, text)
    # Together, because one option may be valid only beside another.
    recipe = dataclasses.replace(recipe, model=recipe.model.replace(**options))
    if not recipe.model.binary:  # The real-valued twin, in every phase.
        phases = [dataclasses.replace(phase, binary=False) for phase in recipe.phases]
        recipe = dataclasses.replace(recipe, phases=tuple(phases))
    return recipe


def split_option(text: str) -> tuple[str, str]:
    """Key and value of a `key=value` text.

    Raises:
        RecipeError: For a text without `=`.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise RecipeError(f"--set: expected key=value. Received: {text!r}")
    return key.strip(), value.strip()


def parse_options(texts: Iterable[str]) -> dict[str, Any]:
    """`key=value` texts as options of a model.

    Raises:
        RecipeError: For a text without `=`, an unknown key or a value of another type.
    """
    options = {}
    for text in texts:
        key, value = split_option(text)
        if key not in _MODEL_OPTIONS:
            raise RecipeError(_unknown("key", key, _MODEL_OPTIONS))
        options[key] = _parse_option(GroupNetConfig(), key, value)
    return options


def _override_one(recipe: Recipe, key: str, text: str) -> Recipe:
    phases = {phase.name: phase for phase in recipe.phases}
    phase_name, _, field = key.partition(".")
    if key in _OWN_FIELDS:
        return dataclasses.replace(recipe, **{key: _parse(key, text, getattr(recipe, key))})
    if key in _PHASE_FIELDS:
        values = text.split(",")
        if len(values) == 1:
            values *= len(phases)
        if len(values) != len(phases):
            raise RecipeError(
                f"{key}: expected one value, or {len(phases)} (for {', '.join(phases)}) "
                f"separated by commas. Received: {text!r}"
            )
        changed = zip(recipe.phases, values, strict=True)
        return _replace_phases(recipe, {p.name: _replace(p, key, v) for p, v in changed})
    if phase_name in phases and field in _PHASE_FIELDS:
        return _replace_phases(recipe, {phase_name: _replace(phases[phase_name], field, text)})
    dotted = [f"{phase}.{field}" for phase in phases for field in _PHASE_FIELDS]
    raise RecipeError(
        _unknown("key", key, [*_OWN_FIELDS, *_PHASE_FIELDS, *dotted, *_MODEL_OPTIONS])
    )


def _parse_option(config: GroupNetConfig, key: str, text: str) -> Any:
    """The config checks its values; only the type of plain numbers and switches is checked here."""
    current = getattr(config, key)
    if key != "num_bases" and isinstance(current, bool | int | float):
        return _parse(key, text, current)
    return _literal(text)


def _replace_phases(recipe: Recipe, changed: Mapping[str, Phase]) -> Recipe:
    phases = tuple(changed.get(phase.name, phase) for phase in recipe.phases)
    return dataclasses.replace(recipe, phases=phases)


def _replace(phase: Phase, field: str, text: str) -> Phase:
    value = _parse(f"{phase.name}.{field}", text, getattr(phase, field))
    return dataclasses.replace(phase, **{field: value})


def _parse(key: str, text: str, current: Any) -> Any:
    """Reads `text` as the type of the current value."""
    value = _literal(text)
    wanted = type(current)
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted:
        names = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}
        raise RecipeError(f"{key}: expected {names[wanted]}. Received: {key}={text!r}")
    return value


def _literal(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _unknown(kind: str, received: str, choices: Iterable[str]) -> str:
    choices = list(choices)
    hint = did_you_mean(received, choices)
    return f"unknown {kind} {received!r}.{hint} Choices: {', '.join(choices)}"
