"""Losses by name, each with one value per pixel or per image."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from larq_groupnet.errors import RecipeError
from larq_groupnet.registries import Registry
from larq_groupnet.values import is_number, native

if TYPE_CHECKING:
    from larq_groupnet.tasks.task import Task

Loss = Callable[..., tf.Tensor]
"""Maps `(task, target, scores, **options)` to one value per prediction.

`target` comes from `Task.target`, `scores` from the network; the task leaves void out and takes the
mean over all replicas. A recipe gives `options` as `{"class_name": ..., "config": options}`.
"""

Spec = str | Mapping[str, Any]
"""A name, or `{"class_name": NAME, "config": {...}}` as Keras serialises it."""

loss: Registry[Loss] = Registry("loss", RecipeError, "a function", callable)

LEAST = {("focal", "gamma"): 0.0}
"""Loss and option -> the smallest value allowed."""


def call(spec: Spec) -> Callable[[Task, tf.Tensor, tf.Tensor], tf.Tensor]:
    """The registered loss of a name, with its options.

    Raises:
        RecipeError: If the loss is unknown (suggests the nearest), or an option is unknown, missing
            or of another kind than its default: a number, true or false, or a list.
    """
    if isinstance(spec, str):
        spec = {"class_name": spec}
    function, options = loss.find(spec["class_name"]), spec.get("config") or {}
    signature = inspect.signature(function)
    taken = list(signature.parameters.values())[3:]
    names = [x.name for x in taken if x.kind in (x.POSITIONAL_OR_KEYWORD, x.KEYWORD_ONLY)]
    anything = any(x.kind is x.VAR_KEYWORD for x in signature.parameters.values())
    if not anything and (other := sorted({*options} - {*names})):
        raise RecipeError(
            f"loss: expected {spec['class_name']} with {' and '.join(names) or 'no argument'}. "
            f"Received: {', '.join(other)}"
        )
    try:
        signature.bind(None, None, None, **options)
    except TypeError as error:
        raise RecipeError(
            f"loss: expected {spec['class_name']} to take task, target and scores, and its options "
            f"to be given or to have defaults. Received: {error}"
        ) from error
    defaults = {option.name: option.default for option in taken}
    for name, value in options.items():
        least = LEAST.get((spec["class_name"], name), -math.inf)
        if expected := _expected(native(value), defaults.get(name), least):
            raise RecipeError(f"loss.{name}: expected {expected}. Received: {name}={value!r}")

    @functools.wraps(function)
    def configured(task: Task, target: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
        return function(task, target, scores, **options)

    return configured


def _expected(value: Any, default: Any, least: float) -> str:
    """Says what an option expects instead of a value; empty if it is of the kind of the default."""
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(default, list | tuple):
        return "" if isinstance(value, list | tuple) else "a list"
    if type(default) not in (int, float) or is_number(value, least):
        return ""
    return "a number" if least == -math.inf else f"a number of at least {least:g}"


@loss("cross_entropy")
def cross_entropy(task: Task, target: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Cross-entropy against the share of each class."""
    return tf.keras.losses.categorical_crossentropy(target, scores, from_logits=task.from_logits)


@loss("focal")
def focal(task: Task, target: tf.Tensor, scores: tf.Tensor, gamma: float = 2.0) -> tf.Tensor:
    """Cross-entropy that gives less weight to surer predictions (Lin et al., ICCV 2017).

    Args:
        task: Tells whether the scores are logits.
        target: Share of each class, on the last axis.
        scores: Same shape as `target`.
        gamma: 0 gives `cross_entropy`.
    """
    logs = task.log_probabilities(scores)
    return -tf.reduce_sum(target * (1 - tf.exp(logs)) ** gamma * logs, -1)
