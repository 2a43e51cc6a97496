"""Compares the input pipeline's images per second with a bare loop that decodes and resizes.

    python benchmarks/input_pipeline.py
    python benchmarks/input_pipeline.py --threads 1

All contestants read the same JPEG files of ImageNet's size (500 x 375 pixels), made from
scikit-learn's two photographs, and return batches of 224 x 224. The bare loop reads, decodes and
resizes in parallel, with and without antialiasing. The pipeline also shuffles, crops like the
ImageNet recipe, flips and normalises, always antialiased, with and without RandAugment. The
contestants take turns; a row is a round.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import app, flags
from terminaltables import AsciiTable

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import larq_groupnet  # noqa: E402, F401 (Before TensorFlow: it chooses legacy Keras.)

_FILES = flags.DEFINE_integer("files", 512, "JPEG files.", lower_bound=64)
_BATCHES = flags.DEFINE_integer("batches", 24, "Batches of 32 in a round.", lower_bound=1)
_THREADS = flags.DEFINE_integer(
    "threads", 0, "Threads of each contestant; 0 for all.", lower_bound=0
)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Rounds.", lower_bound=1)

SIZE, BATCH_SIZE = (224, 224), 32

CLOCKS: dict[str, Callable[[], float]] = {"clock": time.perf_counter, "CPU": time.process_time}
"""CPU time is less disturbed by other work on the machine."""


def main(argv: list[str]) -> None:
    """Prints the table."""
    import numpy as np

    del argv
    with tempfile.TemporaryDirectory() as folder:
        paths = write_images(Path(folder) / "set", _FILES.value)
        contestants = {
            "bare": bare(paths, antialias=False),
            "bare antialiased": bare(paths, antialias=True),
            **pipelines(Path(folder)),
        }
        contestants = {name: with_threads(data) for name, data in contestants.items()}
        rounds = []
        for number in range(_ROUNDS.value):
            names = list(contestants)
            names = names[number % len(names) :] + names[: number % len(names)]
            found = {name: speeds(contestants[name], _BATCHES.value) for name in names}
            rounds.append([found[name] for name in contestants])
    table = np.array(rounds)  # (round, contestant, clock)
    ratios = table / table[:, :1]
    # Images per second of wall time, and of CPU time.
    rows = [["", *contestants, "training / bare", "by CPU time"]]
    ours = list(contestants).index("training")
    every = [*zip(table, ratios, strict=True), (np.median(table, 0), np.median(ratios, 0))]
    for number, (fast, ratio) in enumerate(every, 1):
        name = f"round {number}" if number < len(every) else "median"
        both = [f"{clock:.0f} / {cpu:.0f}" for clock, cpu in fast]
        rows.append([name, *both, *(f"{r:.2f}" for r in ratio[ours])])
    print(AsciiTable(rows).table)
    print("If the work spreads evenly over cores, and nothing else runs on them, images a second:")
    names, cores = list(contestants), (16, 64)
    core = dict(zip(names, np.median(table, 0)[:, 1], strict=True))
    projected = [[name, *(f"{count * core[name]:.0f}" for count in cores)] for name in names]
    print(AsciiTable([["", *(f"{count} cores" for count in cores)], *projected]).table)


def write_images(root: Path, count: int) -> list[str]:
    """Random crops of two photographs, in two class folders."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    rng = np.random.RandomState(0)
    paths = []
    for number in range(count):
        photograph = photographs[number % 2]
        width = rng.randint(300, photograph.width)
        height = width * 3 // 4
        height = min(height, photograph.height)
        left = rng.randint(photograph.width - width + 1)
        top = rng.randint(photograph.height - height + 1)
        image = photograph.crop((left, top, left + width, top + height)).resize((500, 375))
        path = root / "train" / f"class{number % 2}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=95)
        paths.append(str(path))
    mean = sum(Path(path).stat().st_size for path in paths) / count
    print(f"{count} files of {mean / 1000:.0f} kB")
    return paths


def bare(paths: list[str], antialias: bool) -> Any:
    """The simplest fast loop."""
    import tensorflow as tf

    def load(path: Any) -> Any:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.image.resize(image, SIZE, antialias=antialias)

    data = tf.data.Dataset.from_tensor_slices(paths).repeat().map(load, tf.data.AUTOTUNE)
    return data.batch(BATCH_SIZE).prefetch(tf.data.AUTOTUNE)


def pipelines(folder: Path) -> dict[str, Any]:
    """The package's pipelines, for training and for evaluation."""
    from larq_groupnet.data import augment
    from larq_groupnet.data.folders import open_folder
    from larq_groupnet.data.imagenet import READING
    from larq_groupnet.data.pipeline import Pipeline
    from larq_groupnet.data.rand_augment import rand_augment

    def pipeline(augmentation: augment.Augmentation) -> Pipeline:
        return Pipeline(
            open_folder(folder / "set", folder / "data"),
            READING,
            BATCH_SIZE,
            augmentation=augmentation,
        )

    data = pipeline(augment.imagenet)
    randomly = pipeline(rand_augment(augment.imagenet, 2, 9))
    return {
        "training": data.train_batches(10**6),
        "with RandAugment": randomly.train_batches(10**6),
        "evaluation": data.eval_batches("train").repeat(),
    }


def with_threads(data: Any) -> Any:
    """The pipeline with `--threads` threads."""
    import tensorflow as tf

    options = tf.data.Options()
    if _THREADS.value:
        options.threading.private_threadpool_size = _THREADS.value
    return data.with_options(options)


def speeds(data: Any, batches: int) -> list[float]:
    """Images per second of wall time and of CPU time, once the buffers are full."""
    iterator = iter(data)
    for _ in range(8):
        next(iterator)
    start, seen = [clock() for clock in CLOCKS.values()], 0
    for _ in range(batches):
        batch = next(iterator)
        seen += len(batch[0] if isinstance(batch, tuple) else batch)
    return [seen / (clock() - before) for clock, before in zip(CLOCKS.values(), start, strict=True)]


if __name__ == "__main__":
    app.run(main)
