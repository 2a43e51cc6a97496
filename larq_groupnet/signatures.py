"""Models that share most of their arguments, each with a full signature and defaults of its own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec

if TYPE_CHECKING:
    import tensorflow as tf

_Arguments = ParamSpec("_Arguments")


def arguments_of(
    model: Callable[_Arguments, tf.keras.Model],
) -> Callable[[Callable[..., tf.keras.Model]], Callable[_Arguments, tf.keras.Model]]:
    """Gives a function of `**arguments` the arguments and the defaults of `model`."""
    signature = inspect.signature(model)
    return lambda function: _checked(function, signature)


def more_arguments_of(
    model: Callable[..., tf.keras.Model], *, without: tuple[str, ...] = ()
) -> Callable[[Callable[..., tf.keras.Model]], Callable[..., tf.keras.Model]]:
    """Gives a function, for its `**options`, the arguments of `model` that it has not itself.

    Args:
        model: A function of keyword arguments.
        without: Names of those that the function does not take.
    """
    theirs = inspect.signature(model).parameters

    def decorate(function: Callable[..., tf.keras.Model]) -> Callable[..., tf.keras.Model]:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
        taken = {*without, *(p.name for p in own)}
        more = [p for name, p in theirs.items() if name not in taken]
        return _checked(function, signature.replace(parameters=[*own, *more]))

    return decorate


def _checked(function: Callable[..., Any], signature: inspect.Signature) -> Callable[..., Any]:
    """The function, called with every argument of the signature."""

    @functools.wraps(function)
    def checked(*args: Any, **arguments: Any) -> Any:
        bound = signature.bind(*args, **arguments)
        bound.apply_defaults()
        return function(**bound.arguments)

    checked.__signature__ = signature  # type: ignore[attr-defined]
    return checked
