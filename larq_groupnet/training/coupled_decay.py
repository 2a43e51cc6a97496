"""Weight decay inside the gradient, as `weight_decay` is in PyTorch and so at the authors'."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import tensorflow as tf


def with_coupled_decay(kind: type[Any], decay: float, scaled: Collection[Any] = ()) -> type[Any]:
    """A subclass of a Keras optimizer that adds `decay * weight` to each gradient.

    So does PyTorch. With momentum 0.9 a weight decays ten times faster than by Keras' own decay of
    the same size, and with Adam by about the learning rate whatever the decay is. Gradients are
    clipped before, and what `exclude_from_weight_decay` names is left alone. State and snapshots
    are those of `kind`.

    Args:
        kind: The optimizer's class.
        decay: Share of a weight that joins its gradient.
        scaled: Weights whose gradient is first divided by their mean magnitude. That is the
            gradient of a kernel `mean(|w|) * sign(w)` before a normalisation, as the authors have
            it, where ours is `sign(w)`; a decay of their size then weighs as much as theirs.
    """
    options = {"coupled_decay": decay, "scaled": scaled}
    return type(f"{kind.__name__}WithCoupledDecay", (_CoupledDecay, kind), options)


class _CoupledDecay:
    """Goes before a `tf.keras.optimizers.Optimizer`."""

    coupled_decay = 0.0
    scaled: Collection[Any] = ()

    def build(self, var_list: Any) -> None:
        """Notes which weights are scaled, as Keras tells weights apart."""
        super().build(var_list)  # type: ignore[misc]
        self._scaled = {self._var_key(each) for each in self.scaled}  # type: ignore[attr-defined]

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Moves one weight."""
        if self._var_key(variable) in self._scaled:  # type: ignore[attr-defined]
            gradient = gradient / tf.reduce_mean(tf.abs(variable))
        if self._use_weight_decay(variable):  # type: ignore[attr-defined]
            gradient = gradient + self.coupled_decay * variable
        super().update_step(gradient, variable)  # type: ignore[misc]
