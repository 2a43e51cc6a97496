"""The engine against float networks in the same interpreter, and threads against one.

    python targets.py [--files FOLDER] [--rounds 20]

Makes the files if the folder lacks them (minutes; needs larq-groupnet). All files of a line run in
turn within one process; times are CPU time, for threads wall time. Prints medians of ratios, each
beside its target.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from larq_groupnet_runtime import load_delegate
from larq_groupnet_runtime._delegate import load_library

IMAGENET, SCENE = (224, 224, 3), (512, 512, 3)
FLOAT = {"decomposition": "none", "num_bases": 1, "binary": False}

NETWORKS: dict[str, dict[str, Any]] = {
    "resnet18": {"model": "GroupNetResNet18", "input_shape": IMAGENET, **FLOAT},
    "k1": {"model": "GroupNetResNet18", "input_shape": IMAGENET, "num_bases": 1},
    "k3": {"model": "GroupNetResNet18", "input_shape": IMAGENET, "num_bases": 3},
    "k5": {"model": "GroupNetResNet18", "input_shape": IMAGENET, "num_bases": 5},
    "dsp": {"model": "GroupNetDSP", "input_shape": SCENE},
    "dsp_float": {"model": "GroupNetDSP", "input_shape": SCENE, **FLOAT},
}

RATIOS = [
    # of, over, kernel, target
    ("k5", "resnet18", "avx512", 0.42),
    ("k5", "resnet18", "avx2", 0.75),
    ("k3", "resnet18", "avx512", None),
    ("k1", "resnet18", "avx512", 0.14),
    ("dsp", "dsp_float", "avx512", 0.5),
    ("dsp", "dsp_float", "avx2", None),
]


def make(folder: Path, name: str) -> Path:
    """The file of a network; its weights are untrained, which costs the same."""
    path = folder / f"{name}.tflite"
    if not path.exists():
        import larq_groupnet
        from larq_groupnet.deploy import fold
        from larq_groupnet.deploy.export import to_tflite

        options = dict(NETWORKS[name])
        model = getattr(larq_groupnet, options.pop("model"))(weights=None, **options)
        path.write_bytes(to_tflite(fold(model)))
    return path


def load(path: Path, num_threads: int = 1, **options: object) -> Callable[[], None]:
    """A run of a file, by the engine if there are options."""
    delegates = [load_delegate(num_threads=num_threads, **options)] if options else None
    interpreter = Interpreter(str(path), num_threads=num_threads, experimental_delegates=delegates)
    interpreter.allocate_tensors()
    (detail,) = interpreter.get_input_details()
    noise = np.random.default_rng(0).standard_normal(detail["shape"]).astype(np.float32)
    interpreter.set_tensor(detail["index"], noise)
    interpreter.invoke()
    return interpreter.invoke


def ratio(
    of: Callable[[], None], over: Callable[[], None], rounds: int, clock: Callable[[], float]
) -> tuple[float, float]:
    """Median of the ratios of neighbouring runs, and the median time of the first in ms."""
    ratios, times = [], []
    for _ in range(rounds):
        begin = clock()
        over()
        middle = clock()
        of()
        end = clock()
        ratios.append((end - middle) / (middle - begin))
        times.append((end - middle) * 1e3)
    return float(np.median(ratios)), float(np.median(times))


def main() -> None:
    """Prints a line for each ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--rounds", type=int, default=20)
    flags = parser.parse_args()
    flags.files.mkdir(parents=True, exist_ok=True)
    kernels = load_library().larq_groupnet_runtime_kernels().decode().split(",")
    for name, base, kernel, target in RATIOS:
        if kernel not in kernels:
            print(f"{name} {kernel}: this machine cannot run it")
            continue
        runs = load(make(flags.files, name), kernel=kernel), load(make(flags.files, base))
        value, ms = ratio(*runs, flags.rounds, time.process_time)
        beside = f" (target {target})" if target else ""
        print(f"{name} {kernel}: {value:.3f} of {base}{beside}, {ms:.1f} ms", flush=True)
    one, two = (load(make(flags.files, "k5"), num_threads=n, kernel="auto") for n in (1, 2))
    value, ms = ratio(one, two, flags.rounds, time.perf_counter)
    print(f"k5, two threads: {value:.2f} times as fast as one (target 1.7), by the wall clock")


if __name__ == "__main__":
    sys.exit(main())
