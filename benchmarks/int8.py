"""Cost of 8-bit integers: the shipped networks as float, int8, and int8 trained further.

    python benchmarks/int8.py
    python benchmarks/int8.py --weights digits --epochs 5

Files are calibrated on training images and evaluated on the whole test split. Conversion takes up
to half a minute per file, testing the scenes a minute.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

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
    quantize,
)
from larq_groupnet.deploy.int8 import predict  # noqa: E402
from larq_groupnet.runs.saved import first_images, pipeline_of  # noqa: E402
from larq_groupnet.tasks.task import task_of  # noqa: E402
from larq_groupnet.training import load_recipe, only_phase, with_int8  # noqa: E402
from larq_groupnet.training.fit import CALIBRATION_IMAGES  # noqa: E402
from larq_groupnet.training.run import run  # noqa: E402

MODELS = {"digits": "groupnet_resnet18", "digit_scenes": "groupnet_dsp"}

_WEIGHTS = flags.DEFINE_multi_enum("weights", list(MODELS), list(MODELS), "Repeatable.")
_EPOCHS = flags.DEFINE_integer("epochs", 2, "Epochs of int8 training.", lower_bound=1)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Folder of the datasets.")


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
    data_dir = Path(_DATA_DIR.value)
    builder = prepare(recipe.dataset, data_dir)
    data, task = pipeline_of(recipe, builder), task_of(recipe.model)
    model = get_model(MODELS[name], weights=name)
    images = first_images(data, "train", CALIBRATION_IMAGES)

    files = {"float": convert(model, folder / "float.tflite", data=images[:4])}
    quantized = quantize(model, images)
    files["int8"] = convert_int8(quantized, folder / "int8.tflite", data=images[:4])
    phase = only_phase(with_int8(recipe, _EPOCHS.value), "int8")
    run(phase, data_dir, folder / "run", start_from=name)
    files[f"int8, {_EPOCHS.value} more epochs"] = folder / "run" / "model.tflite"

    found = {}
    for kind, file in files.items():
        interpreter, tally = load_interpreter(file), task.tally()
        for batch, truth in data.eval_batches("test").as_numpy_iterator():
            task.add(tally, truth, predict(interpreter, batch))
        headline = tally.to_dict(builder.classes)[task.headline]
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
