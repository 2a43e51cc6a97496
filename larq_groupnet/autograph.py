"""Lets TensorFlow trace the package's code without AutoGraph, which none of it needs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from larq_groupnet.lazy import Lazy

tf = Lazy("tensorflow")

P = ParamSpec("P")
R = TypeVar("R")


def package_of(value: object) -> str:
    """The package that defines a class, a function or an object's class; empty if unknown."""
    return str(getattr(value, "__module__", "")).partition(".")[0]


def as_written(function: Callable[P, R], *parts: object) -> Callable[P, R]:
    """Marks a function to be traced without AutoGraph, unless a user's code runs in it.

    AutoGraph rewrites the source of a traced function and of everything it calls, so that `if` and
    `for` can depend on tensors. That takes a fifth of the CPU time of a short training. No code of
    this package needs it; a user's code may.

    Args:
        function: The function to trace: for `Dataset.map`, a loss, a metric, `call` of a layer.
        parts: Functions and objects whose code runs in it.
    """
    if {*map(package_of, parts)} - {package_of(as_written)}:
        return function
    plain: Callable[P, R] = tf.autograph.experimental.do_not_convert(function)
    plain.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]  # Keras reads it.
    return plain
