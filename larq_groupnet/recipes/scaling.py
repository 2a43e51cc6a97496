"""Scales the learning rate for a batch size other than the recipe's."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection

from larq_groupnet.errors import RecipeError
from larq_groupnet.recipes.recipe import Recipe, split_spec

WARM_UP = 5.0
"""Minimum epochs of warm-up for gradient descent with a larger batch."""


def scaled(recipe: Recipe, before: int, given: Collection[str] = ()) -> tuple[Recipe, list[str]]:
    """Scales the learning rates to the recipe's batch size; returns a line for each phase, too.

    Gradient descent scales linearly and, with a larger batch, gets at least `WARM_UP` epochs of
    warm-up (Goyal et al., "Accurate, Large Minibatch SGD", 2017). Any other optimizer divides by
    the size of the gradient, whose noise falls with the root of the batch, and so scales with the
    root (Malladi et al., "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms", 2022).

    Args:
        recipe: The recipe, with its new batch size.
        before: The batch size that its learning rates are for.
        given: Keys that the user has set.

    Raises:
        RecipeError: If a learning rate is among `given`, or the batch size is the same.
    """
    if recipe.batch_size == before:
        raise RecipeError(
            f"scale_learning_rate: expected a --batch_size other than the recipe's {before}. "
            f"Received: {before}"
        )
    if rates := [key for key in given if key.rpartition(".")[2] == "learning_rate"]:
        raise RecipeError(
            f"scale_learning_rate: expected no {rates[0]} with it, which would be ambiguous. "
            "Leave one of them out."
        )
    ratio = recipe.batch_size / before
    phases, notes = [], []
    for phase in recipe.phases:
        descent = split_spec(phase.optimizer)[0].lower() == "sgd"
        rate = phase.learning_rate * (ratio if descent else math.sqrt(ratio))
        warm = phase.warmup_epochs
        if descent and ratio > 1 and not any(key.endswith("warmup_epochs") for key in given):
            warm = max(warm, WARM_UP)
        phases.append(dataclasses.replace(phase, learning_rate=rate, warmup_epochs=warm))
        notes.append(
            f"{phase.name}: learning rate {phase.learning_rate:g} for batches of {before}, "
            f"{rate:g} for {recipe.batch_size} ({'linear' if descent else 'square root'}), "
            f"{warm:g} epochs of warm-up"
        )
    return dataclasses.replace(recipe, phases=tuple(phases)), notes
