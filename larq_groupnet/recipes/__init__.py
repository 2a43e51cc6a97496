"""Recipes: network, dataset and training phases. Importing them does not import TensorFlow."""

from larq_groupnet.errors import RecipeError
from larq_groupnet.recipes.load import load_recipe, load_recipes, load_search
from larq_groupnet.recipes.overrides import only_phase, override, with_int8
from larq_groupnet.recipes.recipe import Phase, Recipe

__all__ = [
    "Phase",
    "Recipe",
    "RecipeError",
    "load_recipe",
    "load_recipes",
    "load_search",
    "only_phase",
    "override",
    "with_int8",
]
