"""The search space, budget and plan: choices of each option, cost of a candidate, settings.

Values are texts as for `--set`, and `override` turns the chosen texts into a candidate. This module
uses neither TensorFlow nor keras-tuner.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from larq_groupnet.errors import ConfigError, RecipeError
from larq_groupnet.network.complexity import Counts, complexity
from larq_groupnet.network.config import GroupNetConfig, parents
from larq_groupnet.network.layouts import NUM_STAGES
from larq_groupnet.recipes.overrides import check_once, override
from larq_groupnet.recipes.recipe import Phase, Recipe, unknown
from larq_groupnet.values import is_count, is_positive, native

STAGE_BASES = tuple(f"num_bases.stage{stage}" for stage in range(1, NUM_STAGES + 1))
"""K of each stage, if `num_bases` is searched stage by stage."""

PARENTS = parents()
"""Option -> the option and value that it requires."""

TUNERS = ("random", "hyperband", "bayesian")
OBJECTIVES = ("accuracy", "frontier")
DEFAULT_TRIALS = 20

SEPARATOR = "|"
"""Separates the choices of `--set key=a|b`."""

NOT_SEARCHED = {
    "dataset": "trials are compared on the same images",
    "num_classes": "the dataset has its classes",
    "epochs": "trial_epochs says how long every trial takes",
}
"""Option -> why it cannot be searched."""

TRIED = 1000
"""Candidates drawn before a budget is refused as too small."""

Values = Mapping[str, Any]
"""One value for each active dimension, by key."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Settings of a search.

    Attributes:
        tuner: One of `TUNERS`.
        objective: `"accuracy"` for the best validation metric (mIoU for masks) within the budget,
            `"frontier"` for that metric against OPs.
        max_trials: Trials after which to stop. `DEFAULT_TRIALS` by default, and with Hyperband one
            sweep over all its brackets.
        uniform: Values of K for the comparison networks, which have the same K in all stages.
    """

    tuner: str = "random"
    objective: str = "accuracy"
    max_trials: int | None = None
    uniform: tuple[int, ...] = (1, 2, 3, 5)

    def __post_init__(self) -> None:
        for field in ("max_trials", "uniform"):
            object.__setattr__(self, field, native(getattr(self, field)))
        for field, names in (("tuner", TUNERS), ("objective", OBJECTIVES)):
            if getattr(self, field) not in names:
                raise RecipeError(unknown(field, getattr(self, field), names))
        if self.max_trials is None and self.tuner != "hyperband":
            object.__setattr__(self, "max_trials", DEFAULT_TRIALS)
        tuple_of_k = isinstance(self.uniform, tuple) and all(map(is_count, self.uniform))
        if not tuple_of_k or not (self.max_trials is None or is_count(self.max_trials)):
            raise RecipeError(
                "tune: expected max_trials and every K of uniform, a tuple, to be at least 1. "
                f"Received: max_trials={self.max_trials}, uniform={self.uniform}"
            )


@dataclasses.dataclass(frozen=True)
class Budget:
    """Limits on the cost of a candidate, per image; `None` means no limit.

    Attributes:
        max_ops: Real MACs + binary MACs / 64.
        max_memory: Bytes of all parameters.
        max_binary_macs: MACs with one-bit inputs and kernels.
    """

    max_ops: float | None = None
    max_memory: float | None = None
    max_binary_macs: float | None = None

    def __post_init__(self) -> None:
        for field, limit in dataclasses.asdict(self).items():
            limit = native(limit)
            object.__setattr__(self, field, limit)
            if limit is not None and not is_positive(limit):
                raise RecipeError(f"{field}: expected a finite number above 0. Received: {limit!r}")

    def excess(self, spent: Mapping[str, float]) -> str | None:
        """Names the first limit that the given `costs` exceed."""
        for name, cost in spent.items():
            limit = getattr(self, f"max_{name}")
            if limit is not None and cost > limit:
                return f"{name} {cost:,.0f} > {limit:,.0f}"
        return None


def costs(config: GroupNetConfig) -> dict[str, float]:
    """OPs, bytes of parameters and binary MACs per image, as limited by `Budget`."""
    total: Counts = complexity(config).total
    return {"ops": total.ops, "memory": total.total_memory, "binary_macs": total.macs.get(1, 0)}


@dataclasses.dataclass(frozen=True)
class SearchSpace:
    """A recipe and the choices of its options, as texts.

    Attributes:
        recipe: The base of all candidates, with `fixed` applied.
        choices: Key (of `--set`, or one of `STAGE_BASES`) -> its texts, in order. Parents come
            before their children.
        fixed: Options that are the same in every candidate.
        trial_epochs: Epochs of each phase in a trial.
        budget: The most that a candidate may cost.
    """

    recipe: Recipe
    choices: Mapping[str, tuple[str, ...]]
    fixed: tuple[tuple[str, str], ...]
    trial_epochs: tuple[int, ...]
    budget: Budget

    def candidate(self, values: Values) -> Recipe:
        """The recipe for these values, with the full number of epochs.

        Raises:
            RecipeError: If the values contradict each other.
            ConfigError: If they describe no network.
        """
        chosen = {key: str(values[key]) for key in self.choices if key in values}
        stages = [chosen.pop(key) for key in STAGE_BASES if key in chosen]
        if stages:
            chosen["num_bases"] = f"({', '.join(stages)})"
        for key in [key for key in chosen if key.rpartition(".")[2] == "schedule"]:
            if chosen[key] != "steps":
                chosen[key.replace("schedule", "drops")] = "()"
        return override(self.recipe, [*chosen.items(), *self.fixed])

    def trial(self, recipe: Recipe, epochs: int | None = None) -> Recipe:
        """A candidate with the epochs of a trial and its schedules scaled to them.

        Args:
            recipe: The candidate.
            epochs: Hyperband's total for all phases, out of the sum of `trial_epochs`; every phase
                gets its share, and at least one epoch. `None` for all.
        """
        share = 1.0 if epochs is None else epochs / sum(self.trial_epochs)
        phases = tuple(
            _squeeze(phase, max(round(share * given), 1) if given else 0)
            for phase, given in zip(recipe.phases, self.trial_epochs, strict=True)
        )
        return dataclasses.replace(recipe, phases=phases)

    def draw(self, generator: random.Random) -> Values:
        """Draws a choice for every option that is active with the other choices."""
        values: dict[str, str] = {}
        for key, texts in self.choices.items():
            parent, value = PARENTS.get(key, ("", ""))
            if values.get(parent, value) == value:
                values[key] = generator.choice(texts)
        return values

    def values_of(self, values: Values) -> Values:
        """The values of the space's own options, without keras-tuner's extra keys."""
        return {key: value for key, value in values.items() if key in self.choices}

    def fault(self, values: Values) -> str | None:
        """The reason not to train a candidate, or `None`. Takes a millisecond."""
        try:
            return self.budget.excess(costs(self.candidate(values).model))
        except (ConfigError, RecipeError) as error:
            return str(error)

    def uniform(self, bases: int) -> Recipe:
        """The recipe with the same K in all stages, as in the paper."""
        return override(self.recipe, [("num_bases", str(bases))])

    def describe(self) -> dict[str, Any]:
        """Everything that identifies the search, as JSON values."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return values | {"recipe": self.recipe.to_dict(), "budget": dataclasses.asdict(self.budget)}


def make_space(
    recipe: Recipe,
    declared: Mapping[str, Sequence[Any]],
    changes: Collection[tuple[str, str]],
    trial_epochs: str | None = None,
    budget: Budget | None = None,
) -> SearchSpace:
    """Narrows the space that a zoo file declares.

    Args:
        recipe: The base recipe.
        declared: Option -> choices. Integers for `num_bases` are choices for each stage.
        changes: Keys and texts of `--set`. A text with `|` sets the choices of its key; any other
            text fixes the key.
        trial_epochs: Epochs of each phase in a trial, written like `--epochs`; the recipe's by
            default.
        budget: The most that a candidate may cost.

    Raises:
        RecipeError: For an unknown key, an invalid value, nothing to search, or a budget that no
            candidate fits.
        ConfigError: For a value that gives no valid network.
    """
    choices = {}
    for key, values in declared.items():
        if not isinstance(native(values), tuple):
            raise RecipeError(f"{key}: expected a tuple of choices. Received: {key}={values!r}")
        choices[key] = tuple(v if isinstance(v, str) else repr(v) for v in values)
    fixed: dict[str, str] = {}
    check_once(changes)
    for key, text in changes:
        choices.pop(key, None)
        if SEPARATOR in text:
            choices[key] = tuple(part.strip() for part in text.split(SEPARATOR))
        else:
            fixed[key] = text
    base = override(recipe, fixed.items())
    given = override(base, [("epochs", trial_epochs)]) if trial_epochs else base
    epochs = tuple(phase.epochs for phase in given.phases)
    choices = _by_stage(_without_orphans(choices, base.model))
    space = SearchSpace(base, choices, tuple(fixed.items()), epochs, budget or Budget())
    _check(space)
    _check_budget(space)
    return space


def _check_budget(space: SearchSpace) -> None:
    """Looks for a candidate within the budget.

    Raises:
        RecipeError: If neither the first choices nor `TRIED` draws are within it.
    """
    generator, spent = random.Random(space.recipe.seed), []
    first: Values = {key: texts[0] for key, texts in space.choices.items()}
    for number in range(TRIED):
        values = space.draw(generator) if number else first
        with contextlib.suppress(ConfigError, RecipeError):
            spent.append(costs(space.candidate(values).model))
            if space.budget.excess(spent[-1]) is None:
                return
    limits = [key for key, limit in dataclasses.asdict(space.budget).items() if limit is not None]
    names = [key.removeprefix("max_") for key in limits]
    least = {name: min((each[name] for each in spent), default=math.inf) for name in names}
    raise RecipeError(
        f"tune: expected a budget that some candidate fits. Received: none of {TRIED} does; "
        f"the one of the first choices: {space.fault(first)}; the least of all: "
        f"{', '.join(f'{name} {cost:,.0f}' for name, cost in least.items())}"
    )


def _check(space: SearchSpace) -> None:
    if not any(len(texts) > 1 for texts in space.choices.values()):
        raise RecipeError(
            "tune: expected an option with several choices, from SEARCH in the zoo file or set as "
            f"key=a{SEPARATOR}b. Received: none"
        )
    for key, texts in space.choices.items():
        if why := NOT_SEARCHED.get(key.rpartition(".")[2]):
            raise RecipeError(
                f"{key}: expected one value, as {why}. Received: {SEPARATOR.join(texts)}"
            )
        repeated = {text for text in texts if texts.count(text) > 1}
        if repeated or "" in texts:
            raise RecipeError(
                f"{key}: expected different choices. Received: {SEPARATOR.join(texts)}"
            )
        parent = dict([PARENTS[key]] if key in PARENTS else [])
        for text in texts:
            one = {name: text for name in STAGE_BASES} if key in STAGE_BASES else {key: text}
            space.candidate({**parent, **one})


def _without_orphans(
    choices: Mapping[str, tuple[str, ...]], config: GroupNetConfig
) -> dict[str, tuple[str, ...]]:
    """Puts parents first; drops options whose parent never has the needed value."""
    kept = {key: texts for key, texts in choices.items() if key not in PARENTS}
    for key in choices:
        parent, value = PARENTS.get(key, (None, None))
        if parent and value in kept.get(parent, (getattr(config, parent),)):
            kept[key] = choices[key]
    return kept


def _by_stage(choices: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Splits `num_bases` into one dimension per stage if its choices are integers."""
    found = {}
    for key, texts in choices.items():
        each = key == "num_bases" and all(text.isdecimal() for text in texts)
        found.update({name: texts for name in STAGE_BASES} if each else {key: texts})
    return found


def _squeeze(phase: Phase, epochs: int) -> Phase:
    """The phase with other epochs; the warm-up scales with them."""
    factor = epochs / max(phase.epochs, 1) or 1  # A phase of 0 epochs keeps its warm-up.
    return dataclasses.replace(phase, epochs=epochs, warmup_epochs=factor * phase.warmup_epochs)


def bases_text(recipe: Recipe) -> str:
    """K of each stage, such as `1-2-3-2`."""
    return "-".join(map(str, recipe.model.bases_per_stage))
