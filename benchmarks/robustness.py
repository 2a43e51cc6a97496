"""Measures a classifier's accuracy on degraded photographs, and its calibration.

    python benchmarks/robustness.py runs/k1 runs/k5 runs/real --data_dir DATA
    python benchmarks/robustness.py cifar10 runs/k1/model.tflite --dataset cifar10 --sample 1000

Each argument is a run, a weights file, a registered name or a `.tflite`. The first table has the
test accuracy on the original and the changed photographs, with the same changes for all networks.
The second has the expected calibration error on the original photographs (see
`larq_groupnet.tasks.calibration`), without and with the temperature stored in the file.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags, logging
from terminaltables import GithubFlavoredMarkdownTable

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from larq_groupnet.data.pipeline import Pipeline, class_names, prepare  # noqa: E402
from larq_groupnet.errors import UserError  # noqa: E402
from larq_groupnet.inference.evaluate import compare  # noqa: E402
from larq_groupnet.inference.judge_file import pipeline_for, task_on  # noqa: E402
from larq_groupnet.inference.sources import Predictor, load_predictor  # noqa: E402
from larq_groupnet.lazy import Lazy  # noqa: E402
from larq_groupnet.runs.identity import check_classes  # noqa: E402
from larq_groupnet.tasks.task import Task  # noqa: E402

tf: Any = Lazy("tensorflow")

SIGMA = 1.0
"""Standard deviation of the blur, in pixels."""
NOISE = 16.0
"""Standard deviation of the noise, of 255."""

_DATASET = flags.DEFINE_string("dataset", "cifar10", "A classification dataset.")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Folder of the datasets.")
_SAMPLE = flags.DEFINE_integer("sample", 0, "Test images to judge; 0 for all.")


def jpeg(image: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    """Compresses and decodes as JPEG of quality 30."""
    del number
    return tf.cast(tf.image.adjust_jpeg_quality(tf.cast(image, tf.uint8), 30), tf.float32)


def blur(image: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    """Gaussian blur of `SIGMA` pixels; the border is mirrored."""
    del number
    reach = round(3 * SIGMA)
    line = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SIGMA) ** 2)
    kernel = np.outer(line, line) / line.sum() ** 2
    padded = tf.pad(image, [(reach, reach), (reach, reach), (0, 0)], "REFLECT")[None]
    kernels = np.repeat(kernel[:, :, None, None], image.shape[-1], 2).astype("float32")
    return tf.nn.depthwise_conv2d(padded, kernels, (1, 1, 1, 1), "VALID")[0]


def noise(image: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    """Gaussian noise, different for each image and the same for each network."""
    change = tf.random.stateless_normal(tf.shape(image), tf.stack([0, number]), stddev=NOISE)
    return tf.clip_by_value(image + change, 0, 255)


def crop(image: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    """Removes a tenth of the height and of the width, half of it on each side."""
    del number
    return tf.image.central_crop(image, 0.9)


CHANGES = {
    "as they are": lambda image, number: image,
    "JPEG, quality 30": jpeg,
    f"blur, {SIGMA:g} pixel": blur,
    f"noise, {NOISE:g} of 255": noise,
    "10 % crop": crop,
}


def judged(predictor: Predictor, task: Task, data: Pipeline, change: Any) -> dict[str, Any]:
    """The metrics on changed test images."""

    def read(number: tf.Tensor, example: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, ...]:
        image, label = example
        return tf.ensure_shape(data.reading(change(image, number)), predictor.input_shape), label

    batches = data.full_images("test", _SAMPLE.value).enumerate().map(read).batch(100)
    found, _ = compare({"it": predictor.network}, batches, task, class_names(data.dataset))
    metrics: dict[str, Any] = found["it"]
    return metrics


def main(argv: list[str]) -> None:
    """Judges all networks and prints both tables."""
    logging.set_verbosity(logging.ERROR)
    sources = argv[1:]
    if not sources:
        raise app.UsageError("expected runs, weights files, registered names or .tflite files.")
    builder = prepare(_DATASET.value, Path(_DATA_DIR.value))
    columns, calibration = {}, []
    for source in sources:
        predictor = load_predictor(source, _DATA_DIR.value, threads=os.cpu_count() or 1)
        check_classes(predictor.classes, class_names(builder), source, _DATASET.value)
        task = task_on(predictor, builder, source, _DATASET.value)
        data = pipeline_for(predictor, builder)
        found = [judged(predictor, task, data, change) for change in CHANGES.values()]
        columns[source] = [each["accuracy"] for each in found]
        after = found[0]["calibration_error"]
        before = found[0].get("raw_calibration_error", after)
        row = [f"{before:.4f}", f"{after:.4f}", f"{predictor.temperature:.3f}"]
        calibration.append([source, *row])
    rows = [[name, *(f"{columns[s][n]:.4f}" for s in sources)] for n, name in enumerate(CHANGES)]
    print(GithubFlavoredMarkdownTable([["test photographs", *sources], *rows]).table, end="\n\n")
    head = ["calibration error", "before", "after", "temperature"]
    print(GithubFlavoredMarkdownTable([head, *calibration]).table)


if __name__ == "__main__":
    try:
        app.run(main)
    except UserError as error:
        sys.exit(f"robustness: {error}")
