"""Weight decay inside the gradient, as `weight_decay` is in PyTorch and so at the authors'."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def with_coupled_decay(kind: type[Any], decay: float) -> type[Any]:
    """A subclass of a Keras optimizer that adds `decay * weight` to each gradient.

    So does PyTorch. With momentum 0.9 a weight decays ten times faster than by Keras' own decay of
    the same size, and with Adam by about the learning rate whatever the decay is. Gradients are
    clipped before, and what `exclude_from_weight_decay` names is left alone. State and snapshots
    are those of `kind`.
    """
    return type(f"{kind.__name__}WithCoupledDecay", (_CoupledDecay, kind), {"coupled_decay": decay})


class _CoupledDecay:
    """Goes before a `tf.keras.optimizers.Optimizer`."""

    coupled_decay = 0.0

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Moves one weight."""
        if self._use_weight_decay(variable):  # type: ignore[attr-defined]
            gradient = gradient + self.coupled_decay * variable
        super().update_step(gradient, variable)  # type: ignore[misc]
