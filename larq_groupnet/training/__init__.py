"""Recipes, the fit loop and evaluation. Importing this package does not import TensorFlow."""

from larq_groupnet.errors import Interrupted, RecipeError
from larq_groupnet.recipes import (
    Phase,
    Recipe,
    load_recipe,
    load_search,
    only_phase,
    override,
    with_int8,
)

__all__ = [
    "Interrupted",
    "Phase",
    "Recipe",
    "RecipeError",
    "load_recipe",
    "load_search",
    "only_phase",
    "override",
    "with_int8",
]
