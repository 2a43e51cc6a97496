"""Optimizers that move the head by another learning rate than the rest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from larq_groupnet.network.names import is_of_head


def with_head_factor(kind: type[Any], factor: float) -> type[Any]:
    """A subclass of a Keras optimizer whose learning rate for the head is `factor` times larger.

    Not the gradient is multiplied, which Adam would divide out again. State and snapshots are
    those of `kind`.
    """
    return type(f"{kind.__name__}WithHeadFactor", (_HeadFactor, kind), {"head_factor": factor})


class _HeadFactor:
    """Goes before a `tf.keras.optimizers.Optimizer`, which asks for the rate at each weight."""

    head_factor = 1.0
    _current_factor = 1.0

    @property
    def learning_rate(self) -> Any:
        """That of the weight at hand."""
        rate = super().learning_rate  # type: ignore[misc]
        return rate if self._current_factor == 1 else rate * self._current_factor

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Moves one weight."""
        with self._at(self.head_factor if is_of_head(variable.name) else 1.0):
            super().update_step(gradient, variable)  # type: ignore[misc]

    def _apply_weight_decay(self, variables: list[tf.Variable]) -> None:
        """Decay goes with the learning rate, too. Private in Keras 2."""
        for factor, head in ((1.0, False), (self.head_factor, True)):
            with self._at(factor):
                super()._apply_weight_decay(  # type: ignore[misc]
                    [variable for variable in variables if is_of_head(variable.name) == head]
                )

    @contextlib.contextmanager
    def _at(self, factor: float) -> Iterator[None]:
        self._current_factor = factor
        try:
            yield
        finally:
            self._current_factor = 1.0
