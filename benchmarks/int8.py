"""What 8-bit integers cost: the shipped networks as float, int8, and int8 trained further.

    python benchmarks/int8.py
    python benchmarks/int8.py --weights digits --epochs 2

Calibrated on training images; every figure is of the converted file on the whole test split.
Conversion takes up to half a minute a file, testing the scenes a minute.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import app, flags, logging

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from larq_groupnet import get_model  # noqa: E402
from larq_groupnet.data.pipeline import prepare  # noqa: E402
from larq_groupnet.deploy import (  # noqa: E402
    convert,
    convert_int8,
    count_ops,
    load_interpreter,
    predict_int8,
    quantize,
)
from larq_groupnet.training import load_recipe  # noqa: E402
from larq_groupnet.training.int8 import train_further  # noqa: E402
from larq_groupnet.training.saved import first_images, pipeline_of  # noqa: E402
from larq_groupnet.training.tasks import task_of  # noqa: E402

MODELS = {"digits": "groupnet_resnet18", "digit_scenes": "groupnet_dsp"}

_WEIGHTS = flags.DEFINE_multi_enum("weights", list(MODELS), list(MODELS), "Repeatable.")
_EPOCHS = flags.DEFINE_integer("epochs", 1, "Passes over the training split.", lower_bound=1)
_SAMPLES = flags.DEFINE_integer("samples", 64, "Calibration images.", lower_bound=1)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Where datasets are kept.")

Predict = Callable[[np.ndarray], np.ndarray]


def main(argv: list[str]) -> None:
    """Prints one table per set of weights: figures, then operations."""
    logging.set_verbosity(logging.ERROR)
    if len(argv) > 1:
        raise app.UsageError(f"expected only flags. Received: {' '.join(argv[1:])}")
    for name in _WEIGHTS.value:
        with tempfile.TemporaryDirectory() as folder:
            print_tables(name, measured(name, Path(folder)))


def measured(name: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Kind of file -> its headline metric, bytes and operations."""
    recipe = load_recipe(MODELS[name], ROOT / "zoo")
    builder = prepare(recipe.dataset, _DATA_DIR.value)
    data, task = pipeline_of(recipe, builder), task_of(recipe.model)
    model = get_model(MODELS[name], weights=name)
    images = first_images(data, "train", _SAMPLES.value)
    quantized = quantize(model, images)

    files = {"float": convert(model, folder / "float.tflite", data=images[:4])}
    files["int8"] = convert_int8(quantized, folder / "int8.tflite", data=images[:4])
    tf.keras.utils.set_random_seed(0)
    train_further(quantized, data, task, _EPOCHS.value, data.steps_per_pass())
    after = f"int8, {_EPOCHS.value} epochs more"
    files[after] = convert_int8(quantized, folder / "trained.tflite", data=images[:4])

    found = {}
    for kind, file in files.items():
        float_file = load_interpreter(file).predict
        predict: Predict = float_file if kind == "float" else lambda x, f=file: predict_int8(f, x)
        counts = task.counts()
        for batch, truth in data.eval_batches("test").as_numpy_iterator():
            task.add(counts, truth, predict(batch))
        headline = counts.to_dict(builder.info.features[data.target].names)[task.headline]
        found[kind] = {
            task.headline: f"{headline:.4f}",
            "bytes": f"{file.stat().st_size:,}",
            **dict(sorted(count_ops(file).items())),
        }
    return found


def print_tables(name: str, found: dict[str, dict[str, Any]]) -> None:
    """Markdown: one row per figure or operation, one column per file."""
    rows = list(dict.fromkeys(row for values in found.values() for row in values))
    print(f"\n| {MODELS[name]}, {name} | {' | '.join(found)} |\n|---|{'--:|' * len(found)}")
    for row in rows:
        print(f"| {row} | {' | '.join(str(values.get(row, 0)) for values in found.values())} |")


if __name__ == "__main__":
    app.run(main)
