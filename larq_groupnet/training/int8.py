"""From a run to a file of 8-bit integers, trained further or not."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from larq_groupnet.data.pipeline import Pipeline
from larq_groupnet.deploy import convert_int8, quantize
from larq_groupnet.training.saved import data_of_run, describe_run, first_images, load_run
from larq_groupnet.training.tasks import Task, task_of

LEARNING_RATE = 1e-4
"""At the start; it falls to 0 along a cosine."""

VERIFIED = 4
"""On how many validation images the file is compared with Keras before it is kept."""


def convert_run(
    run: str | Path,
    path: str | Path,
    data_dir: Path,
    *,
    samples: int = 64,
    epochs: int = 0,
    size: tuple[int, int] | None = None,
) -> Path:
    """Converts the network of a run to a file of 8-bit integers.

    Args:
        run: As for `load_run`.
        path: Where to write.
        data_dir: Where datasets are kept.
        samples: On how many training images the ranges of activations are measured.
        epochs: Epochs as long as the run's to train it with the integers, see `train_further`.
        size: As for `load_run`.

    Returns:
        The path; the file was verified on validation images.

    Raises:
        ConversionError: If something cannot be int8: says which layer, why, and what to do.
        RecipeError: If `run` is no run.
    """
    recipe, data = data_of_run(run, data_dir, size)
    model = quantize(load_run(run, size=size), first_images(data, "train", samples))
    if epochs:
        tf.keras.utils.set_random_seed(recipe.seed)
        steps = recipe.steps_per_epoch or data.steps_per_pass()
        train_further(model, data, task_of(recipe.model), epochs, steps)
    return convert_int8(
        model,
        path,
        data=first_images(data, "validation", VERIFIED),
        description=describe_run(run, data_dir),
    )


def train_further(
    model: tf.keras.Model, data: Pipeline, task: Task, epochs: int, steps_per_epoch: int
) -> None:
    """Trains a network of `deploy.quantize` with Adam; the weights change in place.

    Gradients pass rounding as they pass a sign: straight through, inside of the range. Keras shows
    its progress bar.

    Args:
        model: What `quantize` returned.
        data: Of the network, with the augmentation that it was trained with.
        task: Loss and metrics.
        epochs: How often to validate.
        steps_per_epoch: Steps between two validations.
    """
    steps = epochs * steps_per_epoch
    schedule = tf.keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    model.compile(tf.keras.optimizers.Adam(schedule), task.loss(0.0), task.metrics())
    model.fit(
        data.train_batches(steps_per_epoch),
        steps_per_epoch=steps_per_epoch,
        epochs=epochs,
        validation_data=data.eval_batches("validation"),
    )
