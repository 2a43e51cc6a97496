"""Replaces a method of a layer of a user's model for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf


@contextlib.contextmanager
def replaced(
    layer: tf.keras.layers.Layer, name: str, function: Callable[..., Any]
) -> Iterator[None]:
    """Within the context, replaces the method or attribute `name`; `function` takes no `self`.

    It bypasses Keras, which tracks attributes.
    """
    attributes = vars(layer)
    before = dict(attributes)
    attributes[name] = function
    try:
        yield
    finally:
        del attributes[name]
        if name in before:
            attributes[name] = before[name]
