"""Checks the weights that training starts from: their network and their classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from larq_groupnet.errors import RecipeError
from larq_groupnet.network.config import GroupNetConfig
from larq_groupnet.recipes.recipe import Recipe
from larq_groupnet.recipes.start import starts_by_name
from larq_groupnet.runs.identity import check_classes
from larq_groupnet.runs.source import Source, find_source
from larq_groupnet.weights.metadata import compare
from larq_groupnet.weights.more_bases import may_grow
from larq_groupnet.weights.resolve import entry_of, is_path

_SAME_WEIGHTS = ("binary", "input_quantizer", "kernel_quantizer", "batch_norm_epsilon")
"""Options in which a run or file may differ, because training adapts to them."""


def check_start(recipe: Recipe) -> None:
    """Checks, before anything is built, that training starts from weights of this network.

    The head may differ, and the bases may be fewer, see `more_bases`.

    Raises:
        RecipeError: If the weights are of another network; says where they differ.
        UserError: If the weights do not exist.
    """
    if not recipe.start_from:
        return
    theirs, _ = _learned(recipe)
    free = set() if starts_by_name(recipe) else {*_SAME_WEIGHTS}
    different, _ = compare(theirs, recipe.model)
    if may_grow(theirs, recipe.model):
        free |= {"num_bases"}
    if texts := [text for option, text in different.items() if option not in free]:
        raise RecipeError(
            f"start_from: expected weights of the network that is trained. Received: "
            f"{recipe.start_from}, of another network: {'; '.join(texts)}. Give the options of "
            "these weights with --set, or start from other weights."
        )


def learned_other_classes(recipe: Recipe, names: Sequence[str]) -> bool:
    """True if training starts from weights known to have other classes, or another order.

    The network then gets a new head.

    Args:
        recipe: The recipe to train.
        names: The classes of its dataset.

    Raises:
        DatasetError: If the classes differ and the first phase is int8, which keeps the head.
    """
    known = _learned(recipe)[1] if recipe.start_from else ()
    if recipe.trained[0].int8:
        check_classes(known, names, recipe.start_from, recipe.dataset)
    return bool(known) and list(known) != list(names)


def _learned(recipe: Recipe) -> tuple[GroupNetConfig, Sequence[str]]:
    """The network that training starts from, and its classes."""
    if source := run_or_file(recipe):
        return source.config, source.classes
    known = entry_of(recipe.start_from, recipe.name, recipe.model).metadata
    return known.config, known.classes


def run_or_file(recipe: Recipe) -> Source | None:
    """The run or file that training starts from; `None` for a registered set or random weights."""
    if not recipe.start_from or starts_by_name(recipe):
        return None
    path = Path(recipe.start_from)
    return find_source(_weights_before(recipe) if path.is_dir() else path, recipe)


def registered(recipe: Recipe) -> GroupNetConfig:
    """The network of a recipe with the bases of the registered set that it starts from."""
    if is_path(recipe.start_from):
        return recipe.model
    theirs = entry_of(recipe.start_from, recipe.name, recipe.model).metadata.config
    grows = may_grow(theirs, recipe.model)
    return recipe.model.replace(num_bases=theirs.num_bases) if grows else recipe.model


def _weights_before(recipe: Recipe) -> Path:
    """The weights of the phase before the first trained one, if the run's folder has them.

    A later phase can thus be repeated. Otherwise the folder, which stands for its last phase.
    """
    folder = Path(recipe.start_from)
    first = recipe.trained[0]
    before = [phase.name for phase in recipe.phases[: recipe.phases.index(first)]]
    names = [first.weights_from] if first.weights_from else reversed(before)
    files = [folder / f"{name}.h5" for name in names]
    return next((file for file in files if file.is_file()), folder)
