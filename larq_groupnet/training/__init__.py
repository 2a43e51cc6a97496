"""Recipes, the fit loop and evaluation. Importing this package does not import TensorFlow."""

from larq_groupnet.training.recipe import Phase, Recipe, RecipeError, load_recipe, override

__all__ = ["Phase", "Recipe", "RecipeError", "load_recipe", "override"]
