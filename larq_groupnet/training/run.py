"""One run from a recipe to a folder: train, convert, evaluate both, draw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import larq as lq
import tensorflow as tf
import tensorflow_datasets as tfds

from larq_groupnet.config import NOT_BINARY_QUANTIZERS
from larq_groupnet.data.pipeline import eval_batches, prepare, to_pixels, train_batches
from larq_groupnet.deploy import convert, count_ops
from larq_groupnet.files import replacing
from larq_groupnet.models import build
from larq_groupnet.report.pictures import draw_curves, draw_predictions
from larq_groupnet.training.evaluate import Samples, evaluate
from larq_groupnet.training.fit import train
from larq_groupnet.training.recipe import Recipe, RecipeError

NUM_PICTURES = 12

LEAST_AGREEMENT = 0.999
"""Share of pixels to which the converted file must give the class that Keras gives."""

LARGEST_MIOU_GAP = 0.002
"""Largest difference of test mIoU between the two."""


def run(recipe: Recipe, data_dir: Path, output_dir: Path) -> dict[str, Any]:
    """Does everything that `train.py` does, and returns what `results.json` holds.

    Args:
        recipe: What to train.
        data_dir: Where datasets are kept, and written on first use.
        output_dir: A folder that is empty or does not exist. Takes `recipe.json`, `history.csv`,
            `logs/`, the weights of each phase, `model.tflite`, `results.json`, `curves.png` and
            `predictions.png`.

    Raises:
        RecipeError: Before anything is written, if the recipe does not fit the dataset, its network
            cannot be built, or `output_dir` is in use.
        TrainingError: If training diverges.
        ConversionError: If the trained network does not convert; the weights are kept.
    """
    _check(recipe, data_dir, output_dir)
    tf.keras.utils.set_random_seed(recipe.seed)
    tf.config.experimental.enable_op_determinism()

    builder = prepare(recipe.dataset, data_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    _write_json(output_dir / "recipe.json", recipe.to_dict())
    model = _train(recipe, builder, output_dir)
    draw_curves(output_dir / "history.csv", output_dir / "curves.png")
    print("Converting for Larq Compute Engine (up to a minute)", flush=True)
    tflite = convert(model, output_dir / "model.tflite")

    names = builder.info.features["mask"].names
    test = eval_batches(builder, "test", _size(recipe), recipe.batch_size)
    metrics, samples = evaluate(model, tflite, test, names, NUM_PICTURES)
    results = {"name": recipe.name, "dataset": recipe.dataset, **metrics, **_costs(model, tflite)}
    results["keras"]["bytes"] = (output_dir / f"{recipe.phases[-1].name}.h5").stat().st_size
    results["lce"]["bytes"] = tflite.stat().st_size
    _draw(samples, results, names, output_dir / "predictions.png")
    _write_json(output_dir / "results.json", results)
    return results


def disagreement(results: dict[str, Any]) -> str | None:
    """A line that says how the converted file differs from Keras, or `None` if it does not."""
    gap = abs(results["keras"]["miou"] - results["lce"]["miou"])
    if gap <= LARGEST_MIOU_GAP and results["agreement"] >= LEAST_AGREEMENT:
        return None
    return (
        "The converted file disagrees with Keras, do not deploy it: expected the same class for "
        f"{LEAST_AGREEMENT:.1%} of pixels and mIoU within {LARGEST_MIOU_GAP}. Received: "
        f"{results['agreement']:.3%} and {gap:.4f}."
    )


def _train(recipe: Recipe, builder: tfds.core.DatasetBuilder, output_dir: Path) -> tf.keras.Model:
    batches = train_batches(
        builder, _size(recipe), recipe.batch_size, recipe.seed, recipe.colour_jitter
    )
    images = builder.info.splits["train"].num_examples
    steps = recipe.steps_per_epoch or max(images // recipe.batch_size, 1)
    validation = eval_batches(builder, "validation", _size(recipe), recipe.batch_size)
    return train(recipe, batches, steps, validation, output_dir)


def _costs(model: tf.keras.Model, tflite: Path) -> dict[str, Any]:
    profile = lq.models.ModelProfile(model)
    return {
        "parameters": model.count_params(),
        "macs": {str(bits): profile.op_count("mac", bits) or 0 for bits in (1, 32)},
        "ops": dict(count_ops(tflite)),
    }


def _draw(samples: Samples, results: dict[str, Any], names: list[str], path: Path) -> None:
    title = (
        f"{results['name']} on {results['dataset']}, converted for LCE: the first "
        f"{len(samples.images)} test images, test mIoU {results['lce']['miou']:.3f}"
    )
    draw_predictions(
        to_pixels(samples.images), samples.truths, samples.predictions, names, path, title
    )


def _size(recipe: Recipe) -> tuple[int, int]:
    height, width, _ = recipe.model.input_shape
    return height or 0, width or 0  # _check has seen that they are fixed.


def _check(recipe: Recipe, data_dir: Path, output_dir: Path) -> None:
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise RecipeError(
            f"output_dir: expected a new or empty folder. Received: {output_dir}, which is in "
            "use. Name another one, or remove it."
        )
    config = recipe.model
    if None in config.input_shape:
        raise RecipeError(
            "input_shape: expected a fixed height and width to train and convert. "
            f"Received: {config.input_shape}"
        )
    for option in ("input_quantizer", "kernel_quantizer"):
        if config.binary and getattr(config, option) in NOT_BINARY_QUANTIZERS:
            raise RecipeError(
                f"{option}: expected a quantizer that LCE has binary kernels for, such as "
                f"'ste_sign' or 'approx_sign'. Received: {getattr(config, option)!r}"
            )
    features = tfds.builder(recipe.dataset, data_dir=str(data_dir)).info.features
    wanted = {
        "num_classes": (config.num_classes, features["mask"].num_classes),
        "input_shape channels": (config.input_shape[2], features["image"].shape[-1]),
        "head": (config.head, "fcn32s"),
    }
    for option, (received, expected) in wanted.items():
        if received != expected:
            raise RecipeError(
                f"{option}: expected {expected!r} for the dataset {recipe.dataset}. "
                f"Received: {received!r}"
            )
    try:
        build(config)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"model: this network cannot be built. Keras says: {error}") from error


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, default=str) + "\n")
