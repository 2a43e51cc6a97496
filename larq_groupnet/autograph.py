"""What TensorFlow traces, without the rewriting that none of this package's code needs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from larq_groupnet.lazy import Lazy

tf = Lazy("tensorflow")

P = ParamSpec("P")
R = TypeVar("R")


def as_written(function: Callable[P, R], *parts: object) -> Callable[P, R]:
    """A function for TensorFlow to trace as it is written, unless a user's code runs in it.

    AutoGraph rewrites the source of what is traced, and of all that it calls, so that `if` and
    `for` may be about tensors. That took a fifth of the CPU time of a short training, and here
    none are. A user's may be.

    Args:
        function: What is traced: for `Dataset.map`, a loss, a metric, `call` of a layer.
        parts: Functions and objects whose code runs in it.
    """
    package = __name__.partition(".")[0]
    if any(str(part.__module__).partition(".")[0] != package for part in parts):
        return function
    plain: Callable[P, R] = tf.autograph.experimental.do_not_convert(function)
    plain.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]  # Keras looks.
    return plain
