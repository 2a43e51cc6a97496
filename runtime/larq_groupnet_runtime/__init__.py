"""Runs binary networks converted by Larq Compute Engine in any stock TFLite interpreter."""

from larq_groupnet_runtime._delegate import load_delegate
from larq_groupnet_runtime.errors import InputError
from larq_groupnet_runtime.interpreter import Interpreter

__all__ = ["InputError", "Interpreter", "load_delegate"]
