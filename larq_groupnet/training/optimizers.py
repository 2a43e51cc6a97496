"""Makes the Keras optimizer and learning rate schedule that a `Phase` describes."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import larq as lq
import tensorflow as tf

from larq_groupnet.hints import did_you_mean
from larq_groupnet.network.names import is_of_head
from larq_groupnet.network.quantizers import has_latent_kernel
from larq_groupnet.recipes.recipe import Phase, RecipeError, split_spec

optimizers: Any = tf.keras.optimizers
schedules: Any = tf.keras.optimizers.schedules

LOWEST = 0.02
"""Learning rate at the start of the warm-up and the end of a cosine, divided by the peak."""


class FusedAdam(optimizers.Adam):
    """Keras' Adam with one operation per weight instead of 25; same formula and state."""

    def _internal_apply_gradients(self, grads_and_vars: Any) -> Any:
        # Shared by all weights, computed once per step.
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
            lr=tf.cast(self.learning_rate, variable.dtype),
            grad=gradient,
            **{key: tf.cast(value, variable.dtype) for key, value in self._shared.items()},
        )


_OPTIMIZERS: dict[str, tuple[type, dict[str, Any]]] = {
    "adam": (FusedAdam, {}),
    # Keras' AdamW is Adam with weight decay.
    "adamw": (FusedAdam, {}),
    "sgd": (optimizers.SGD, {"momentum": 0.9}),
}
"""Name in a recipe -> class, and arguments that differ from Keras' defaults."""


_SCHEDULES: dict[str, tuple[type, dict[str, Any]]] = {
    "cosine": (schedules.CosineDecay, {"alpha": LOWEST}),
    "poly": (schedules.PolynomialDecay, {"end_learning_rate": 0.0, "power": 0.9}),
    "constant": (schedules.PolynomialDecay, {}),
    "steps": (schedules.PiecewiseConstantDecay, {}),
}
"""The same for schedules; `schedule` adds the number of steps."""


def optimizer(phase: Phase, model: tf.keras.Model, steps_per_epoch: int) -> Any:
    """The optimizer of a phase, for the weights of `model`."""
    latent = [layer.kernel for layer in model.submodules if has_latent_kernel(layer)]
    chosen = make_optimizer(phase, steps_per_epoch, latent if phase.decay_all else ())
    if not isinstance(chosen, optimizers.Optimizer):  # Bop has Keras' older base class.
        return chosen
    if phase.weight_decay and not phase.decay_all:
        chosen.exclude_from_weight_decay(not_decayed(model))
    # Otherwise the first step creates variables, and is traced a second time.
    chosen.build(model.trainable_variables)
    return chosen


def make_optimizer(phase: Phase, steps_per_epoch: int, scaled: Collection[Any] = ()) -> Any:
    """The optimizer of a phase, not built for any weights yet; for `scaled` see `_CoupledDecay`.

    Raises:
        RecipeError: If the optimizer does not exist or does not take an argument; lists its
            arguments.
    """
    rate, clip = schedule(phase, steps_per_epoch), phase.clip_norm or None
    name, given = split_spec(phase.optimizer)
    if name == "bop":
        adam = optimizers.legacy.Adam(rate, **({"global_clipnorm": clip} if clip else {}))
        bop = _made(lq.optimizers.Bop, given, f"{phase.name}.optimizer")
        binary = (lq.optimizers.Bop.is_binary_variable, bop)
        return lq.optimizers.CaseOptimizer(binary, default_optimizer=adam)
    kind, options = _named(name, _OPTIMIZERS, optimizers, f"{phase.name}.optimizer")
    options |= {"jit_compile": False}
    if clip:
        options["global_clipnorm"] = clip
    if phase.average:
        options |= {"use_ema": True, "ema_momentum": phase.average}
    if phase.coupled_decay:
        decay = {"coupled_decay": phase.weight_decay, "scaled": scaled}
        kind = type(f"{kind.__name__}WithCoupledDecay", (_CoupledDecay, kind), decay)
    elif phase.weight_decay:
        options["weight_decay"] = phase.weight_decay
    if phase.head_factor != 1:
        factor = {"head_factor": phase.head_factor}
        kind = type(f"{kind.__name__}WithHeadFactor", (_HeadFactor, kind), factor)
    return _made(kind, {**options, **given}, f"{phase.name}.optimizer", rate)


def check_optimizer(phase: Phase) -> None:
    """Tries one step with the optimizer of a phase, because Keras accepts any argument.

    Raises:
        RecipeError: As `make_optimizer`, or if the optimizer cannot compute with an argument.
    """
    chosen = make_optimizer(phase, 1)
    if not isinstance(chosen, optimizers.Optimizer):  # Bop takes binary kernels only.
        return
    weight = tf.Variable(tf.zeros(1))
    try:
        chosen.build([weight])
        tf.function(chosen.apply_gradients)([(tf.ones(1), weight)])
        tf.debugging.check_numerics(weight, "its first step")
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise RecipeError(
            f"{phase.name}.optimizer: expected arguments that it can compute with. "
            f"Received: {phase.optimizer}. TensorFlow says: {' '.join(str(error).split())[:200]}"
        ) from error


def schedule(
    phase: Phase, steps_per_epoch: int
) -> tf.keras.optimizers.schedules.LearningRateSchedule:
    """Learning rate by step of the phase: linear warm-up, then the phase's schedule.

    A Keras schedule gets the phase's learning rate, and the steps after the warm-up if it has an
    argument for them that is not given.

    Raises:
        RecipeError: If the schedule does not exist or does not take an argument.
    """
    peak = phase.learning_rate
    steps = phase.epochs * steps_per_epoch
    warmup = min(round(phase.warmup_epochs * steps_per_epoch), steps // 2)
    after = max(steps - warmup, 1)
    name, given = split_spec(phase.schedule)
    if name == "steps" and not given:
        drops = [round(share * steps) - warmup for share in phase.drops]
        values = [peak * 0.1**drop for drop in range(len(drops) + 1)]
        main = schedules.PiecewiseConstantDecay([d - 1 for d in drops], values)
    else:
        option = f"{phase.name}.schedule"
        kind, options = _named(name, _SCHEDULES, schedules, option)
        taken = inspect.signature(kind).parameters
        for length in ("decay_steps", "first_decay_steps"):
            if length in taken:
                options[length] = after
        if name == "constant":
            options["end_learning_rate"] = peak
        main = _made(kind, {**options, **given}, option, peak)
    return WarmUp(main, peak, warmup) if warmup else main


def _named(
    name: str, own: Mapping[str, tuple[type, dict[str, Any]]], module: Any, option: str
) -> tuple[type, dict[str, Any]]:
    """The class of a name (ours, a registered one, or Keras' own) and its default arguments."""
    if name in own:
        kind, options = own[name]
        return kind, dict(options)
    found = tf.keras.utils.get_registered_object(name)
    found = found or getattr(module, name, None)
    if not isinstance(found, type):
        public = [each for each in vars(module) if isinstance(getattr(module, each), type)]
        hint = did_you_mean(name, [*own, *public])
        raise RecipeError(
            f"{option}: expected one of {', '.join([*own, *public])}, or a class registered with "
            f"Keras. Received: {name!r}.{hint}"
        )
    return found, {}


def _made(kind: type, options: dict[str, Any], option: str, *rate: Any) -> Any:
    """`kind(*rate, **options)`; the error lists its arguments."""
    try:
        return kind(*rate, **options)
    except (TypeError, ValueError) as error:
        taken = [
            name
            for name, each in inspect.signature(kind).parameters.items()
            if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
            and name != "learning_rate"  # The phase sets it.
        ]
        raise RecipeError(
            f"{option}: expected arguments of {kind.__name__} ({', '.join(taken)}). "
            f"Received: {options}. Keras says: {error}"
        ) from error


class WarmUp(tf.keras.optimizers.schedules.LearningRateSchedule):
    """A linear rise to `peak` in `steps`, then another schedule from its step 0."""

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
    """Weights that weight decay leaves alone: all except real-valued kernels.

    Decay is meaningless for a latent binary kernel, because only its sign is used, and harms batch
    normalisation, biases, gates and scales.
    """
    decayed = {
        id(layer.kernel)
        for layer in model.submodules
        if isinstance(layer, tf.keras.layers.Conv2D | tf.keras.layers.Dense)
        and not has_latent_kernel(layer)
    }
    return [weight for weight in model.trainable_weights if id(weight) not in decayed]


class _CoupledDecay:
    """Mixin of a Keras optimizer that adds `coupled_decay * weight` to each gradient.

    PyTorch does the same. With momentum 0.9 a weight decays ten times faster than with Keras' own
    decay of the same value, and with Adam by about the learning rate for any value. Gradients are
    clipped first. Weights of `exclude_from_weight_decay` are left alone. The state and the
    snapshots of the optimizer do not change.

    Attributes:
        coupled_decay: Factor of the weight that is added to its gradient.
        scaled: Weights whose gradient is first divided by their mean magnitude. The result is the
            gradient of the authors' kernel, `mean(|w|) * sign(w)` before a normalisation; ours is
            `sign(w)`. The authors' decay then has the same effect here.
    """

    coupled_decay = 0.0
    scaled: Collection[Any] = ()

    def build(self, var_list: Any) -> None:
        """Stores the keys by which Keras identifies the scaled weights."""
        super().build(var_list)  # type: ignore[misc]
        self._scaled = {self._var_key(each) for each in self.scaled}  # type: ignore[attr-defined]

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Moves one weight."""
        if self._var_key(variable) in self._scaled:  # type: ignore[attr-defined]
            gradient = gradient / tf.reduce_mean(tf.abs(variable))
        if self._use_weight_decay(variable):  # type: ignore[attr-defined]
            gradient = gradient + self.coupled_decay * variable
        super().update_step(gradient, variable)  # type: ignore[misc]


class _HeadFactor:
    """Mixin of a Keras optimizer that multiplies the learning rate of the head by `head_factor`.

    Keras reads the learning rate for each weight. Adam would cancel a factor of the gradient. The
    state and the snapshots of the optimizer do not change.
    """

    head_factor = 1.0
    _current_factor = 1.0

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the current weight."""
        rate = super().learning_rate  # type: ignore[misc]
        return rate if self._current_factor == 1 else rate * self._current_factor

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Moves one weight."""
        with self._at(self.head_factor if is_of_head(variable.name) else 1.0):
            super().update_step(gradient, variable)  # type: ignore[misc]

    def _apply_weight_decay(self, variables: list[tf.Variable]) -> None:
        """Decay scales with the learning rate, too. Private in Keras 2."""
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
