"""The training phases: Keras `fit` with Keras callbacks, and weights handed on by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from larq_groupnet.models import build, copy_weights
from larq_groupnet.training.recipe import Phase, Recipe

callbacks: Any = tf.keras.callbacks


class TrainingError(ArithmeticError):
    """Training diverged. Says in which phase and epoch, and what to change."""


class PhaseCSVLogger(tf.keras.callbacks.CSVLogger):
    """Keras' CSV log with the name of the phase in each row; later phases append."""

    def __init__(self, path: Path, phase: str):
        super().__init__(str(path), append=True)
        self.phase = phase

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Writes one row."""
        super().on_epoch_end(epoch, {"phase": self.phase, **(logs or {})})


def train(
    recipe: Recipe,
    train_data: tf.data.Dataset,
    steps_per_epoch: int,
    validation_data: tf.data.Dataset,
    output_dir: Path,
) -> tf.keras.Model:
    """Runs the phases of a recipe, each from the best weights of the one before.

    Args:
        recipe: What to train.
        train_data: Endless batches of images and masks.
        steps_per_epoch: Steps between two validations.
        validation_data: One pass over the validation set.
        output_dir: Takes `history.csv`, `logs/` (TensorBoard) and `PHASE.h5` (best weights).

    Returns:
        The model of the last phase with the weights of its best epoch.

    Raises:
        TrainingError: If the loss stops being finite.
    """
    model: Any = None
    first_epoch = 0
    for phase in recipe.phases:
        if phase.epochs == 0:
            continue
        previous = model
        model = build(recipe.model.replace(binary=phase.binary), name=recipe.name)
        if previous is not None:
            copy_weights(previous, model)
        compile_model(model, phase, steps_per_epoch)
        print(f"Phase {phase.name}: {phase.epochs} epochs of {steps_per_epoch} steps", flush=True)
        best = output_dir / f"{phase.name}.h5"
        history = model.fit(
            train_data,
            steps_per_epoch=steps_per_epoch,
            initial_epoch=first_epoch,
            epochs=first_epoch + phase.epochs,
            validation_data=validation_data,
            callbacks=[
                callbacks.TerminateOnNaN(),
                callbacks.ModelCheckpoint(
                    str(best), "val_miou", mode="max", save_best_only=True, save_weights_only=True
                ),
                PhaseCSVLogger(output_dir / "history.csv", phase.name),
                callbacks.TensorBoard(str(output_dir / "logs" / phase.name)),
            ],
        )
        if not np.isfinite(history.history["loss"][-1]):
            raise TrainingError(
                f"phase {phase.name!r}: the loss became NaN or infinite in epoch "
                f"{history.epoch[-1] + 1}. Lower {phase.name}.learning_rate "
                f"({phase.learning_rate})."
            )
        model.load_weights(best)
        first_epoch += phase.epochs
    return model


def compile_model(model: tf.keras.Model, phase: Phase, steps_per_epoch: int) -> None:
    """Adam on a warmed-up cosine, cross-entropy per pixel, mIoU and pixel accuracy."""
    steps = phase.epochs * steps_per_epoch
    warmup = min(steps_per_epoch, steps // 2)
    schedule = tf.keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.02 * phase.learning_rate,
        decay_steps=steps - warmup,
        warmup_target=phase.learning_rate,
        warmup_steps=warmup,
        alpha=0.02,
    )
    model.compile(
        optimizer=tf.keras.optimizers.Adam(schedule),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[
            tf.keras.metrics.SparseCategoricalAccuracy(name="pixel_accuracy"),
            tf.keras.metrics.MeanIoU(model.output_shape[-1], sparse_y_pred=False, name="miou"),
        ],
    )
