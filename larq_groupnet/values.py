"""Converts and checks plain values that a user gives."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np


def native(value: Any) -> Any:
    """Converts NumPy values to Python's and lists to tuples, at any depth, for JSON and hashing."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return tuple(map(native, value))
    return value


def is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    """True for a finite number in [low, high). A bool is not a number."""
    right = isinstance(value, int | float) and type(value) is not bool
    return right and abs(value) <= sys.float_info.max and low <= value < high


def is_positive(value: Any) -> bool:
    """True for a finite number above 0. A bool is not a number."""
    return is_number(value) and value > 0


def is_whole(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    """True for an integer in [low, high]. A bool is not an integer."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_count(value: Any, most: float = math.inf) -> bool:
    """True for an integer from 1 to `most`."""
    return is_whole(value, 1, most)
