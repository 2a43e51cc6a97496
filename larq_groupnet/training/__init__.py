"""Recipes, the fit loop and evaluation. Importing this package does not import TensorFlow."""

from larq_groupnet.training.overrides import override
from larq_groupnet.training.recipe import Interrupted, Phase, Recipe, RecipeError
from larq_groupnet.training.zoo import load_recipe, load_search, only_phase, with_int8

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
