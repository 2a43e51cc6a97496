"""Keras optimizers and learning rate schedules as a `Phase` describes them."""

from __future__ import annotations

from typing import Any

import larq as lq
import tensorflow as tf

from larq_groupnet.network.quantizers import has_latent_kernel
from larq_groupnet.recipes.recipe import Phase
from larq_groupnet.training.head_factor import with_head_factor

optimizers: Any = tf.keras.optimizers
schedules: Any = tf.keras.optimizers.schedules

LOWEST = 0.02
"""Learning rate at the start of the warm-up and at the end of a cosine, over its peak."""


class FusedAdam(optimizers.Adam):
    """Keras' Adam, each weight in one operation instead of 25; same formula and state."""

    def _internal_apply_gradients(self, grads_and_vars: Any) -> Any:
        # What all weights share, once per step.
        step = tf.cast(self.iterations + 1, tf.float32)
        self._shared = {
            "beta1_power": tf.pow(self.beta_1, step),
            "beta2_power": tf.pow(self.beta_2, step),
            "beta1": tf.constant(self.beta_1),
            "beta2": tf.constant(self.beta_2),
            "epsilon": tf.constant(self.epsilon),
        }
        return super()._internal_apply_gradients(grads_and_vars)

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Updates one weight."""
        index = self._index_dict[self._var_key(variable)]
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].handle,
            v=self._velocities[index].handle,
            lr=tf.convert_to_tensor(self.learning_rate),
            grad=gradient,
            **self._shared,
        )


def optimizer(phase: Phase, model: tf.keras.Model, steps_per_epoch: int) -> Any:
    """The optimizer of a phase, for the weights of `model`."""
    rate = schedule(phase, steps_per_epoch)
    clip = phase.clip_norm or None
    if phase.optimizer == "bop":
        adam = optimizers.legacy.Adam(rate, **({"global_clipnorm": clip} if clip else {}))
        binary = (lq.optimizers.Bop.is_binary_variable, lq.optimizers.Bop())
        return lq.optimizers.CaseOptimizer(binary, default_optimizer=adam)
    options: dict[str, Any] = {
        "global_clipnorm": clip,
        "weight_decay": phase.weight_decay or None,
        "use_ema": phase.average > 0,
        "ema_momentum": phase.average,
        "jit_compile": False,
    }
    # Adam with a decay of weights is what Keras calls AdamW.
    kinds = {"adam": FusedAdam, "adamw": FusedAdam, "sgd": optimizers.SGD}
    kind = kinds[phase.optimizer]
    if phase.head_factor != 1:
        kind = with_head_factor(kind, phase.head_factor)
    if phase.optimizer == "sgd":
        options["momentum"] = 0.9
    chosen = kind(rate, **options)
    if phase.weight_decay:
        chosen.exclude_from_weight_decay(not_decayed(model))
    # Else the training step is traced a second time, because the first has made variables.
    chosen.build(model.trainable_variables)
    return chosen


def schedule(
    phase: Phase, steps_per_epoch: int
) -> tf.keras.optimizers.schedules.LearningRateSchedule:
    """Learning rate by step of the phase: linear warm-up, then what `phase.schedule` names."""
    peak = phase.learning_rate
    steps = phase.epochs * steps_per_epoch
    warmup = min(round(phase.warmup_epochs * steps_per_epoch), steps // 2)
    after = max(steps - warmup, 1)
    if phase.schedule == "cosine":
        main = schedules.CosineDecay(peak, after, alpha=LOWEST)
    elif phase.schedule == "poly":
        main = schedules.PolynomialDecay(peak, after, end_learning_rate=0.0, power=0.9)
    elif not phase.drops:
        main = schedules.PolynomialDecay(peak, after, end_learning_rate=peak)
    else:
        drops = [epoch * steps_per_epoch - warmup for epoch in phase.drops]
        values = [peak * 0.1**drop for drop in range(len(drops) + 1)]
        main = schedules.PiecewiseConstantDecay([d - 1 for d in drops], values)
    return WarmUp(main, peak, warmup) if warmup else main


class WarmUp(tf.keras.optimizers.schedules.LearningRateSchedule):
    """A linear rise to `peak` in `steps`, then another schedule, which starts at its step 0."""

    def __init__(self, then: Any, peak: float, steps: int):
        self.then = then
        self.peak = peak
        self.steps = steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """The learning rate at a step."""
        done = tf.cast(step, tf.float32) / self.steps
        rising = self.peak * (LOWEST + (1 - LOWEST) * done)
        return tf.where(step < self.steps, rising, self.then(step - self.steps))

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {"then": self.then, "peak": self.peak, "steps": self.steps}


def not_decayed(model: tf.keras.Model) -> list[tf.Variable]:
    """Weights that weight decay leaves alone: all but real-valued kernels.

    Decay has no meaning for a latent binary kernel, of which only the sign is used, and does harm
    to batch normalisation, biases, gates and scales.
    """
    decayed = {
        id(layer.kernel)
        for layer in model.submodules
        if isinstance(layer, tf.keras.layers.Conv2D | tf.keras.layers.Dense)
        and not has_latent_kernel(layer)
    }
    return [weight for weight in model.trainable_weights if id(weight) not in decayed]
