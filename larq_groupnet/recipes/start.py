"""Chooses the options of a network that starts from trained weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path

from larq_groupnet.errors import RecipeError
from larq_groupnet.family import BY_SIZE, MODELS, get_config
from larq_groupnet.network.config import OPTIONS, GroupNetConfig, fields_affecting
from larq_groupnet.recipes.overrides import override
from larq_groupnet.recipes.recipe import Recipe
from larq_groupnet.weights.metadata import compare
from larq_groupnet.weights.more_bases import may_grow
from larq_groupnet.weights.registry import UnknownSetError, list_weights
from larq_groupnet.weights.resolve import adopt, entry_of, is_path

RANDOM = "none"
"""Value of `--start_from` for random weights, if the recipe names other weights."""

PHOTOGRAPHS = ("cifar10", "cifar10_stride2")
"""Registered weights trained on photographs; training starts from the first that fit."""

_SIZES = ("width", "stage_blocks", "projection")
"""Options of the recipe for a user's own images that the weights override."""

Changes = Sequence[tuple[str, str]]


class NoStartError(RecipeError):
    """The registered set to start from does not exist. The message says how to get one."""


def with_start(
    recipe: Recipe, start_from: str | Path | None, given: Collection[str] = ()
) -> Recipe:
    """Sets the weights that a recipe starts from, and adapts its network to them.

    Args:
        recipe: A recipe.
        start_from: Weights to use instead of the recipe's, or `None`.
        given: Options of the network that the user set, which do not change.

    Returns:
        The recipe. If it starts from a registered set, options of the network that it leaves at
        their defaults are copied from the set (see `resolve.adopt`), except for the size and
        classes of the images, options that affect only training and, if the stem's kernel is the
        same, the strides.

    Raises:
        NoStartError: If the set does not exist.
        UserError: If the set belongs to another model.
    """
    start = str(start_from or recipe.start_from)
    recipe = dataclasses.replace(recipe, start_from="" if start == RANDOM else start)
    if not starts_by_name(recipe):
        return recipe
    model = _following(recipe, _chosen(recipe), given)
    return dataclasses.replace(recipe, model=model)


def starts_by_name(recipe: Recipe) -> bool:
    """True for the name of a registered set, not for a run, a file or random weights."""
    start = recipe.start_from
    return bool(start) and not Path(start).is_dir() and not is_path(start)


def started(recipe: Recipe, changes: Changes) -> tuple[Recipe, list[str]]:
    """Adds the weights to start from to the recipe for a user's own images.

    The user names them; otherwise they are weights of photographs that fit, if there are any. The
    network gets the width, blocks and projection of the weights, and their bases and stem if
    nothing else fits.

    Args:
        recipe: The recipe without weights.
        changes: The user's changes for `override`, which win.

    Returns:
        The recipe, and a line for the user.

    Raises:
        UserError: As `with_start`, for a name from the user.
    """
    asked = dict(changes).get("start_from")
    wanted = override(recipe, [(key, text) for key, text in changes if key in OPTIONS]).model
    given = {key for key, _ in changes}
    if asked is None:
        return _photographs(recipe, wanted, given)
    named = dataclasses.replace(recipe, start_from=asked, model=wanted)
    if asked == RANDOM or not starts_by_name(named):
        return recipe, []
    chosen = _chosen(named) - {*_SIZES, *BY_SIZE}
    model = _following(named, {*chosen, "num_bases"}, given)
    theirs = entry_of(asked, recipe.name, model).metadata.config
    if theirs.bases_per_stage != model.bases_per_stage and not may_grow(theirs, model):
        model = _following(named, chosen - {"num_bases"}, given)
    values = {name: getattr(model, name) for name in (*_SIZES, "num_bases", *BY_SIZE)}
    options = [f"{n}={value!r}" for n, value in values.items() if value != getattr(wanted, n)]
    taken = f", with their {', '.join(options)}" if options else ""
    line = f"It starts from the {asked!r} weights, all but the head{taken}.{_copied(theirs, model)}"
    return dataclasses.replace(recipe, model=model), [line]


def _photographs(
    recipe: Recipe, wanted: GroupNetConfig, given: Collection[str]
) -> tuple[Recipe, list[str]]:
    """The recipe with the first weights of photographs that fit, and with their `_SIZES`."""
    differing = []
    for entry in (each for each in list_weights() if each.name in PHOTOGRAPHS):
        theirs, values = entry.metadata.config, {}
        if wanted.decomposition != "none":  # "none" has one base.
            values = {name: getattr(theirs, name) for name in {*_SIZES} - {*given}}
        differences = compare(theirs, ours := wanted.replace(**values))[0]
        if may_grow(theirs, ours):
            del differences["num_bases"]
        if differences:
            text = differences.get("decomposition") or next(iter(differences.values()))
            differing.append(
                (len(differences), f"the {entry.name!r} weights fit another network ({text})")
            )
            continue
        model = recipe.model.replace(**values)
        recipe = dataclasses.replace(recipe, model=model, start_from=entry.name)
        return recipe, [
            f"It starts from the {entry.name!r} weights, all but the head; --start_from {RANDOM} "
            f"uses random weights.{_copied(theirs, ours)}"
        ]
    _, reason = min(differing, default=(0, "this machine has no weights of photographs"))
    return recipe, [
        f"It starts from random weights: {reason}. --start_from RUN_OR_FILE_OR_NAME sets others."
    ]


def _copied(theirs: GroupNetConfig, ours: GroupNetConfig) -> str:
    if not may_grow(theirs, ours):
        return ""
    return f" They have {theirs.num_bases} bases (K): the others begin as copies with scale 0."


def _chosen(recipe: Recipe) -> set[str]:
    """Options in which the network of a recipe differs from its model's defaults."""
    default = get_config(recipe.name) if recipe.name in MODELS else GroupNetConfig()
    return {name for name in OPTIONS if getattr(recipe.model, name) != getattr(default, name)}


def _following(recipe: Recipe, chosen: Collection[str], given: Collection[str]) -> GroupNetConfig:
    """The network with the options of the set that its recipe starts from.

    Args:
        recipe: The recipe.
        chosen: Options that the network keeps. An output stride changes with the stem.
        given: Options that the user set, which it keeps, too.
    """
    name, ours = recipe.start_from, recipe.model
    kept = {*chosen, *given, "input_shape", "num_classes", *fields_affecting("training")}
    try:
        sized = adopt(name, recipe.name, ours, {*kept, *BY_SIZE})
        theirs = entry_of(name, recipe.name, sized).metadata.config
        if "stem_stride" not in compare(theirs, sized)[0]:
            return sized
        if "stem_stride" not in kept:
            kept -= {"output_stride"} - {*given}
        return adopt(name, recipe.name, ours, kept)
    except UnknownSetError as error:
        raise NoStartError(
            "start_from: expected a run's folder, a weights file or a registered set. "
            f"Received: {name}. Give the folder or the file as start_from, or {RANDOM!r} for "
            f"random weights ({error})"
        ) from error
