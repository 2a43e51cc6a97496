"""The learning rate of another batch than the recipe's, by a rule."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection

from larq_groupnet.errors import RecipeError
from larq_groupnet.recipes.recipe import Recipe, split_spec

WARM_UP = 5.0
"""Epochs of warm-up, at least, of gradient descent on a larger batch."""


def scaled(recipe: Recipe, before: int, given: Collection[str] = ()) -> tuple[Recipe, list[str]]:
    """The recipe with learning rates for its batch, and a line for each phase.

    Gradient descent: in proportion to the batch, and if that has grown, at least `WARM_UP` epochs
    of warm-up (Goyal et al., "Accurate, Large Minibatch SGD", 2017). Any other optimizer divides by
    the size of the gradient, whose noise falls with the root of the batch, and so scales with the
    root (Malladi et al., "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms", 2022).

    Args:
        recipe: With its new batch.
        before: The batch that its learning rates are for.
        given: Keys that a user has set.

    Raises:
        RecipeError: If a learning rate is among these, or the batch is the same.
    """
    if recipe.batch_size == before:
        raise RecipeError(
            f"scale_learning_rate: expected another --batch_size than the recipe's {before}. "
            f"Received: {before}"
        )
    if rates := [key for key in given if key.rpartition(".")[2] == "learning_rate"]:
        raise RecipeError(
            f"scale_learning_rate: expected no {rates[0]} beside it, which would be scaled or not. "
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
