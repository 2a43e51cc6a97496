"""What TensorFlow traces, without the rewriting that none of this package's code needs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from larq_groupnet.lazy import Lazy

tf = Lazy("tensorflow")

P = ParamSpec("P")
R = TypeVar("R")


def package_of(value: object) -> str:
    """The package that a class, a function or an object's class is of; empty if it says none."""
    return str(getattr(value, "__module__", "")).partition(".")[0]


def as_written(function: Callable[P, R], *parts: object) -> Callable[P, R]:
    """A function for TensorFlow to trace as it is written, unless a user's code runs in it.

    AutoGraph rewrites the source of what is traced, and of all that it calls, so that `if` and
    `for` may be about tensors. That took a fifth of the CPU time of a short training, and here
    none are. A user's may be.

    Args:
        function: What is traced: for `Dataset.map`, a loss, a metric, `call` of a layer.
        parts: Functions and objects whose code runs in it.
    """
    if {*map(package_of, parts)} - {package_of(as_written)}:
        return function
    plain: Callable[P, R] = tf.autograph.experimental.do_not_convert(function)
    plain.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]  # Keras looks.
    return plain
