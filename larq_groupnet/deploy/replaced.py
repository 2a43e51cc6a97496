"""Other methods for a layer of a user's model, for as long as something looks at it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf


@contextlib.contextmanager
def replaced(
    layer: tf.keras.layers.Layer, name: str, function: Callable[..., Any]
) -> Iterator[None]:
    """Meanwhile the method or attribute `name` is another function, which takes no `self`.

    It is put there past Keras, which tracks attributes.
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
