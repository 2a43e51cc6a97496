"""Compares a training step of Group-Net with its lower bound and with other implementations.

    python benchmarks/train_step.py --torch_python /path/to/python
    python benchmarks/train_step.py --contestants library --num_bases 1,2,4,5,8
    python benchmarks/train_step.py --precision mixed_bfloat16
    python benchmarks/train_step.py --contestants library,before --before CHECKOUT:PYTHON

ResNet-18, gated, full width, 64 x 64 pixels, 1000 classes, Adam; the contestants take turns of one
step:

    library   this library: its network, `compile_model` of its training, Keras' train function
    floor     only the convolutions of that network: forward and both gradients, in TensorFlow
    larq      the simplest Larq program: the same network, Keras' Adam, `train_on_batch`
    torch     the same network in PyTorch; left out if the given interpreter has no PyTorch
    before    the library from another checkout, with the packages of another Python

Every contestant runs in its own process and they take turns, so other work on the machine affects
all of them alike. On a busy machine CPU time is more reliable than seconds, but only with one
thread: threads that wait for descheduled threads burn CPU time. A ratio is the library's time
divided by the contestant's, as the median over the rounds with quartiles. Below 1 the library is
faster.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags
from terminaltables import AsciiTable
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
CONTESTANTS = ["library", "floor", "larq", "torch", "before"]

_CONTESTANTS = flags.DEFINE_list("contestants", CONTESTANTS[:-1], f"Of {', '.join(CONTESTANTS)}.")
_BASES = flags.DEFINE_list("num_bases", ["5"], "K; several are measured in turns.")
_BATCH = flags.DEFINE_integer("batch_size", 32, "Images per step.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 10, "Timed steps per contestant.", lower_bound=1)
_PRECISION = flags.DEFINE_string(
    "precision", "float32", "float32 or mixed_bfloat16; only for the library."
)
_TORCH = flags.DEFINE_string("torch_python", sys.executable, "A Python with PyTorch.")
_BEFORE = flags.DEFINE_string("before", None, "CHECKOUT:PYTHON, a folder and an interpreter.")
_NUM_THREADS = flags.DEFINE_integer("threads", 1, "Threads per contestant.", lower_bound=1)

_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
_WARM_UP = 1


class Worker:
    """A contestant's process, which runs one step per line it reads.

    Args:
        contestant: One of `CONTESTANTS`.
        bases: K.
    """

    def __init__(self, contestant: str, bases: str):
        self.name = f"{contestant} K={bases}"
        torch = contestant == "torch"
        python = _TORCH.value if torch else sys.executable
        folder = HERE
        if contestant == "before":
            checkout, _, python = _BEFORE.value.rpartition(":")
            contestant, folder = "library", Path(checkout) / HERE.name
        script = folder / f"train_step_{'torch' if torch else 'keras'}.py"
        self._process = subprocess.Popen(
            [python, str(script), contestant, bases, str(_BATCH.value), _PRECISION.value],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **dict.fromkeys(_THREADS, str(_NUM_THREADS.value))},
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self) -> dict[str, Any]:
        """Runs one step and returns its times; the first answer also has the build time."""
        stdin, stdout = self._process.stdin, self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            print(file=stdin, flush=True)
        line = stdout.readline() if stdout else ""
        if not line:
            sys.exit(f"train_step.py: {self.name} ended instead of making a step.")
        answer: dict[str, Any] = json.loads(line)
        return answer


def main(argv: list[str]) -> None:
    """Measures and prints."""
    unknown = sorted({*_CONTESTANTS.value} - {*CONTESTANTS})
    if len(argv) > 1 or unknown:
        raise app.UsageError(
            f"expected --contestants of {CONTESTANTS}. Received: {unknown or argv}"
        )
    names = list(_CONTESTANTS.value)
    if ("before" in names) != (":" in (_BEFORE.value or "")):
        raise app.UsageError("before: expected --before CHECKOUT:PYTHON with that contestant.")
    if "torch" in names and not _has_torch(_TORCH.value):
        print(f"No PyTorch in {_TORCH.value}: torch is left out. Give --torch_python.")
        names.remove("torch")
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(Worker(name, bases)) for bases in _BASES.value for name in names
        ]
        firsts = [worker.ask() for worker in tqdm(workers, desc="First steps")]
        rounds = [
            [worker.ask() for worker in workers]
            for _ in tqdm(range(_WARM_UP + _ROUNDS.value), unit="round", desc="Measuring")
        ]
    print(table([w.name for w in workers], firsts, rounds[_WARM_UP:]))


def table(
    names: Sequence[str], firsts: Sequence[dict[str, Any]], rounds: Sequence[list[dict[str, Any]]]
) -> str:
    """A row per contestant; ratios are the first contestant's time divided by the row's."""
    rows = [
        ["", "step (s)", "first / this", "step (CPU s)", "first / this", "peak (MiB)"]
        + ["build (CPU s)", "first step (CPU s)", "(s)", "operations"]
    ]
    for index, (name, first) in enumerate(zip(names, firsts, strict=True)):
        row = [name]
        for key in ("seconds", "cpu"):
            own = np.array([answers[index][key] for answers in rounds])
            ratios = np.array([answers[0][key] for answers in rounds]) / own
            low, middle, high = np.percentile(ratios, (25, 50, 75))
            row += [f"{np.median(own):.3f}", f"{middle:.2f} ({low:.2f} - {high:.2f})"]
        row += [f"{rounds[-1][index]['memory'] / 2**20:.0f}", f"{first['build']:.1f}"]
        rows.append([*row, f"{first['cpu']:.1f}", f"{first['seconds']:.1f}", first["ops"]])
    built = AsciiTable([list(map(str, row)) for row in rows])
    built.justify_columns = dict.fromkeys(range(1, len(rows[0])), "right")
    return str(built.table)


def _has_torch(python: str) -> bool:
    command = [python, "-c", "import torch"]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


if __name__ == "__main__":
    app.run(main)
