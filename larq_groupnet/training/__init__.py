"""Recipes, the fit loop and evaluation. Importing this package does not import TensorFlow."""

from larq_groupnet.errors import Interrupted as Interrupted
from larq_groupnet.recipes import *  # noqa: F403
