"""Compares Group-Net with its peers: converts them with random weights and times them in turn.

    python benchmarks/peers.py
    python benchmarks/peers.py --input_size 64 --runs 20 --folder peers

Float ResNet-18 by TFLite, Bi-Real-18 and QuickNet of larq-zoo, and Group-Net ResNet-18 at each K,
converted unfolded and folded. Files that are already in the folder are reused. The conversions take
several minutes. Needs larq-zoo: `requirements-zoo.txt`.

Up to a size of 64 the last maps of Bi-Real-18 are smaller than its kernels, which pad with zeros.
LCE's fast kernels then differ from its reference kernel: the benchmark says so and uses the
reference.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from absl import app, flags, logging

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from larq_groupnet._stack import quiet  # noqa: E402

quiet()

import tensorflow as tf  # noqa: E402

from larq_groupnet.deploy import convert  # noqa: E402
from larq_groupnet.deploy.export import to_tflite  # noqa: E402
from larq_groupnet.family import get_config  # noqa: E402
from larq_groupnet.files import replacing  # noqa: E402
from larq_groupnet.network.build import build  # noqa: E402

_SIZE = flags.DEFINE_integer("input_size", 224, "Height and width of the images.", lower_bound=32)
_RUNS = flags.DEFINE_integer("runs", 20, "Timed invocations of each file.", lower_bound=1)
_BASES = flags.DEFINE_multi_integer("num_bases", [1, 3, 5], "K; repeatable.", lower_bound=1)
_FOLDER = flags.DEFINE_string("folder", None, "Keeps the files here; default: nowhere.")


def main(argv: list[str]) -> None:
    """Converts missing files and prints the comparison."""
    from larq_groupnet.deploy.benchmark import main as benchmark

    logging.set_verbosity(logging.ERROR)
    if len(argv) > 1:
        raise app.UsageError(f"expected only flags. Received: {' '.join(argv[1:])}")
    with tempfile.TemporaryDirectory() as temporary:
        benchmark(list(map(str, converted(Path(_FOLDER.value or temporary)))), _RUNS.value)


def converted(folder: Path) -> Iterator[Path]:
    """Yields the files in the order of the table and converts missing ones."""
    for name, (model, write) in peers().items():
        path = folder / f"{name}_{_SIZE.value}.tflite"
        if not path.exists():
            print(f"converting {path.name}", flush=True)
            tf.keras.backend.clear_session()
            write(randomised(model()), path)
        yield path


def peers() -> dict[str, tuple[Callable[[], tf.keras.Model], Callable[..., object]]]:
    """Name of the file -> how to build the model, and how to write it."""
    from larq_zoo.literature import BiRealNet
    from larq_zoo.sota import QuickNet

    shape = (_SIZE.value, _SIZE.value, 3)
    zoo = {"birealnet18": BiRealNet, "quicknet": QuickNet}
    # The same stem at every size, otherwise small images would compare different networks.
    same = {"stem_stride": 4, "output_stride": 32}
    found = {
        "float_resnet18": (
            lambda: build(get_config("resnet18", input_shape=shape, **same)),
            write_float,
        )
    }
    for name, function in zoo.items():
        found[name] = (lambda f=function: f(input_shape=shape, weights=None), write_as_it_is)
    for bases in _BASES.value:
        config = get_config("groupnet_resnet18", input_shape=shape, num_bases=bases, **same)
        for suffix, write in (("unfolded", write_as_it_is), ("folded", convert)):
            found[f"groupnet18_k{bases}_{suffix}"] = (lambda c=config: build(c), write)
    return found


def randomised(model: tf.keras.Model) -> tf.keras.Model:
    """Randomises scales and normalisations: a converter would remove identities."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "kernel" not in weight.name:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def write_float(model: tf.keras.Model, path: Path) -> None:
    """Converts with TensorFlow's own converter, without quantisation."""
    _write(path, lambda: tf.lite.TFLiteConverter.from_keras_model(model).convert())


def write_as_it_is(model: tf.keras.Model, path: Path) -> None:
    """Converts with LCE's converter alone, without folding."""
    _write(path, lambda: to_tflite(model))


def _write(path: Path, content: Callable[[], bytes]) -> None:
    with warnings.catch_warnings():
        # Keras' SavedModel export warns of its own deprecated calls.
        warnings.simplefilter("ignore")
        written = content()
    with replacing(path) as temporary:
        temporary.write_bytes(written)


if __name__ == "__main__":
    app.run(main)
