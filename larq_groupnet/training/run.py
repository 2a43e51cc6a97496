"""One run from a recipe to a folder: train, evaluate, convert, evaluate again, draw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import larq as lq
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from tqdm import tqdm

from larq_groupnet.data.pipeline import eval_batches, prepare, train_batches
from larq_groupnet.deploy import convert, count_ops, load_interpreter
from larq_groupnet.files import replacing
from larq_groupnet.report.pictures import draw_curves, draw_predictions
from larq_groupnet.training.evaluate import PixelCounts
from larq_groupnet.training.fit import train
from larq_groupnet.training.recipe import Recipe, RecipeError

NUM_PICTURES = 12


def run(recipe: Recipe, data_dir: Path, output_dir: Path) -> dict[str, Any]:
    """Does everything that `train.py` does, and returns what `results.json` holds.

    Args:
        recipe: What to train.
        data_dir: Where datasets are kept, and written on first use.
        output_dir: A folder that is empty or does not exist. Takes `recipe.json`, `history.csv`,
            `logs/`, the weights of each phase, `model.tflite`, `results.json`, `curves.png` and
            `predictions.png`.

    Raises:
        RecipeError: Before anything is written, if the recipe does not fit the dataset or
            `output_dir` is in use.
    """
    _check(recipe, data_dir, output_dir)
    tf.keras.utils.set_random_seed(recipe.seed)
    tf.config.experimental.enable_op_determinism()

    builder = prepare(recipe.dataset, data_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    _write_json(output_dir / "recipe.json", recipe.to_dict())
    images = builder.info.splits["train"].num_examples
    model = train(
        recipe,
        train_batches(builder, _size(recipe), recipe.batch_size, recipe.seed, recipe.colour_jitter),
        recipe.steps_per_epoch or max(images // recipe.batch_size, 1),
        eval_batches(builder, "validation", _size(recipe), recipe.batch_size),
        output_dir,
    )
    weights = output_dir / f"{recipe.phases[-1].name}.h5"
    print("Converting for Larq Compute Engine (up to a minute)", flush=True)
    tflite = convert(model, output_dir / "model.tflite")

    evaluated = evaluate(recipe, model, tflite, builder, output_dir / "predictions.png")
    evaluated["keras"]["bytes"] = weights.stat().st_size
    evaluated["lce"]["bytes"] = tflite.stat().st_size
    profile = lq.models.ModelProfile(model)
    results = {
        "name": recipe.name,
        "dataset": recipe.dataset,
        "parameters": model.count_params(),
        "macs": {str(bits): profile.op_count("mac", bits) or 0 for bits in (1, 32)},
        "ops": dict(count_ops(tflite)),
        **evaluated,
    }
    draw_curves(output_dir / "history.csv", output_dir / "curves.png")
    _write_json(output_dir / "results.json", results)
    return results


def evaluate(
    recipe: Recipe,
    model: tf.keras.Model,
    tflite: Path,
    builder: tfds.core.DatasetBuilder,
    picture: Path,
) -> dict[str, Any]:
    """Runs the Keras model and the converted file on the same test images.

    Returns:
        `keras` and `lce`: mIoU, IoU per class and pixel accuracy of each; `agreement`: share of
        pixels to which both give the same class. The picture shows the converted file's answers.
    """
    interpreter = load_interpreter(tflite)
    names = builder.info.features["mask"].names
    counts = {"keras": PixelCounts(len(names)), "lce": PixelCounts(len(names))}
    same, pixels = 0, 0
    shown: list[tuple[np.ndarray, ...]] = []
    batches = eval_batches(builder, "test", _size(recipe), recipe.batch_size)
    for images, truth in tqdm(batches.as_numpy_iterator(), "Testing", len(batches), unit="batch"):
        keras = model.predict_on_batch(images).argmax(-1)
        lce = interpreter.predict(images).argmax(-1)
        counts["keras"].add(truth, keras)
        counts["lce"].add(truth, lce)
        same += int((keras == lce).sum())
        pixels += keras.size
        shown += list(zip(images, truth, lce, strict=True))[: NUM_PICTURES - len(shown)]
    images, truths, predictions = map(np.stack, zip(*shown, strict=True))
    draw_predictions(
        ((images + 1) * 127.5).round().astype(np.uint8),
        truths,
        predictions,
        names,
        picture,
        f"{recipe.name} on {recipe.dataset}, converted for LCE: the first {len(shown)} test "
        f"images, test mIoU {counts['lce'].miou:.3f}",
    )
    metrics = {
        name: {
            "miou": count.miou,
            "pixel_accuracy": count.pixel_accuracy,
            "iou": dict(zip(names, count.iou.tolist(), strict=True)),
        }
        for name, count in counts.items()
    }
    return {**metrics, "agreement": same / pixels}


def _size(recipe: Recipe) -> tuple[int, int]:
    height, width, _ = recipe.model.input_shape
    assert height is not None and width is not None  # _check has seen to it.
    return height, width


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


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, default=str) + "\n")
