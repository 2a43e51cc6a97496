"""A release file beside Keras' `.h5`: size, and time to save and to load.

    python benchmarks/load_weights.py
    python benchmarks/load_weights.py --model groupnet_resnet50 --num_bases 8

The weights are random: neither size nor time depends on them. Times are the best of `--repeats`,
with the file in the page cache.
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

_MODEL = flags.DEFINE_string("model", "groupnet_resnet18", "One of larq_groupnet.list_models().")
_BASES = flags.DEFINE_integer("num_bases", 5, "K.")
_REPEATS = flags.DEFINE_integer("repeats", 3, "Times that each step is done.", lower_bound=1)


def main(argv: list[str]) -> None:
    """Prints the table, and whether the loaded network gives the same bits."""
    import numpy as np
    import tensorflow as tf

    from larq_groupnet import build
    from larq_groupnet.family import get_config
    from larq_groupnet.weights import packed
    from larq_groupnet.weights.metadata import Metadata

    config = get_config(_MODEL.value, num_bases=_BASES.value)
    start = time.perf_counter()
    model = build(config)
    built = time.perf_counter() - start
    target = build(config)
    about = Metadata(config, "none", (), {}, (), "-")
    with tempfile.TemporaryDirectory() as folder:
        h5, release = (Path(folder) / name for name in ("a.h5", "a.safetensors"))
        kinds: dict[str, tuple[Path, Callable[[], Any], Callable[[], Any]]] = {
            ".h5": (h5, lambda: model.save_weights(h5), lambda: target.load_weights(h5)),
            ".safetensors": (
                release,
                lambda: packed.save(model, about, release),
                lambda: packed.load(target, release, config),
            ),
        }
        rows = [["", "Bytes", "MB", "Save (s)", "Load (s)"]]
        for kind, (path, save, load) in kinds.items():
            saved, loaded = _best(save), _best(load)
            size = path.stat().st_size
            rows.append([kind, f"{size:,}", f"{size / 1e6:.2f}", f"{saved:.2f}", f"{loaded:.2f}"])
    images = tf.random.stateless_uniform((2, *config.input_shape), (1, 2), -1.0, 1.0)
    same = np.array_equal(model(images), target(images))
    print(AsciiTable(rows, f"{_MODEL.value}, K={_BASES.value}").table)
    print(f"Building the model: {built:.1f} s. Outputs of .safetensors bit-identical: {same}.")


def _best(action: Callable[[], Any]) -> float:
    """Seconds of the fastest run."""
    times = []
    for _ in range(_REPEATS.value):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    app.run(main)
