"""Recipes, the fit loop and evaluation. Importing this package does not import TensorFlow."""

from larq_groupnet.errors import Interrupted, RecipeError
from larq_groupnet.recipes.load import load_recipe, load_search, only_phase, with_int8
from larq_groupnet.recipes.overrides import override
from larq_groupnet.recipes.recipe import Phase, Recipe

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
