"""Checks that a recipe fits its dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_groupnet.data.pipeline import open_dataset
from larq_groupnet.data.records import RecordDataset
from larq_groupnet.deploy import audit
from larq_groupnet.hints import is_shown
from larq_groupnet.network.build import build
from larq_groupnet.network.kinds import of_task
from larq_groupnet.network.precision import NOT_BINARY_QUANTIZERS
from larq_groupnet.recipes.recipe import Recipe, RecipeError
from larq_groupnet.tasks.task import kind_of, task


def check_recipe(recipe: Recipe, data_dir: Path) -> int:
    """Checks that the recipe fits its dataset.

    Returns:
        The number of parameters of its network.

    Raises:
        RecipeError: If it does not fit, or the network cannot be built, trained or converted.
        DatasetError: If the dataset does not exist.
    """
    config = recipe.model
    recipe.size()  # Raises if the network leaves it open.
    for option in ("input_quantizer", "kernel_quantizer"):
        if config.binary and getattr(config, option) in NOT_BINARY_QUANTIZERS:
            raise RecipeError(
                f"{option}: expected a quantizer that LCE has binary kernels for, such as "
                f"'ste_sign' or 'approx_sign'. Received: {getattr(config, option)!r}"
            )
    _check_dataset(recipe, data_dir)
    try:
        model = build(config.replace(binary=recipe.last_phase.binary))
    except (TypeError, ValueError, tf.errors.OpError) as error:
        said = " ".join(str(error).split())[:300]
        raise RecipeError(f"model: this network cannot be built. Keras says: {said}") from error
    for finding in audit(model):
        if finding.severity == "wrong":
            raise RecipeError(
                f"model: expected a network that Larq Compute Engine runs. Received: {finding}"
            )
    return int(model.count_params())


def _check_dataset(recipe: Recipe, data_dir: Path) -> None:
    """Checks the classes, the channels and the type of labels."""
    config, builder = recipe.model, open_dataset(recipe.dataset, data_dir, recipe.on_bad_image)
    if isinstance(builder, RecordDataset):
        builder.check_sources()
    kind_of(config.head)  # Raises for a head without a task.
    if hidden := [name for name in builder.classes if not is_shown(name)]:
        raise RecipeError(
            f"classes: expected names that can be printed. Received: {hidden[0]!r} in "
            f"{recipe.dataset}"
        )
    fitting = [name for name, kind in task.items() if builder.target in kind.targets]
    heads = tuple(head for name in fitting for head in of_task(name))
    wanted: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "num_classes": (config.num_classes, (len(builder.classes),)),
        "input_shape channels": (config.input_shape[2], (builder.channels,)),
        "head": (config.head, heads),
    }
    for option, (received, expected) in wanted.items():
        if received not in expected:
            do = f". Set num_classes={expected[0]}" if option == "num_classes" else ""
            raise RecipeError(
                f"{option}: expected {' or '.join(map(repr, expected))} for the dataset "
                f"{recipe.dataset}. Received: {received!r}{do}"
            )
