"""Compares latency, size and memory of `.tflite` files on this machine.

Each file has its own process and interpreter. The processes take turns, one invocation each, so
other load on the machine affects all files alike.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from larq_groupnet.deploy import benchmark_worker
from larq_groupnet.deploy.op_costs import BenchmarkError, OpCost, combine, count, profile
from larq_groupnet.files import path_of
from larq_groupnet.report.table import text_table

RUNS = 50
"""Timed invocations of each file."""

_START = """import sys; sys.path[:] = filter(None, sys.path); del sys.argv[0]
import runpy; runpy.run_path(sys.argv[0], run_name="__main__")"""
"""Runs a script without adding its folder to `sys.path`, as `python -P` does from 3.11 on."""

PROFILER = "lce_benchmark_model"
"""LCE's own benchmark binary, which times every operation."""

_WARM_UP = 2
_BUSY = 0.9
_NOT_BINARY = "-"
_ARM = ("aarch64", "arm64")


@dataclass(frozen=True)
class Measurement:
    """Measurements of one file on this machine.

    Attributes:
        file: The file.
        size: Size in bytes.
        kernel: Kernel of `LceBconv2d`: the fastest of `default`, `indirect` (`use_indirect_bgemm`)
            and `reference` that is correct for this file; `-` without binary convolutions.
        refused: Kernel -> why it cannot be used for this file.
        seconds: Latency of every timed invocation, in order: one image (or batch) copied in, the
            network run, the result copied out.
        cpu: CPU time of every timed invocation in seconds, summed over threads. On one thread, a
            time below the latency means that other programs used the CPU in between.
        memory: Peak resident bytes that the interpreter adds to its process: content of the file,
            packed weights, tensors. Python, NumPy and LCE's library are not counted; TensorFlow is
            not loaded.
        ops: Operations of the file, the most expensive first.
    """

    file: Path
    size: int
    kernel: str
    refused: Mapping[str, str]
    seconds: tuple[float, ...]
    cpu: tuple[float, ...]
    memory: int
    ops: tuple[OpCost, ...]

    @property
    def median(self) -> float:
        """Median latency in seconds."""
        return float(np.median(self.seconds))

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third quartile of the latency, in seconds."""
        low, high = np.percentile(self.seconds, (25, 75))
        return float(low), float(high)

    @property
    def cpu_share(self) -> float:
        """CPU time divided by latency, over all rounds."""
        return sum(self.cpu) / sum(self.seconds)

    def ratio(self, first: Measurement) -> float:
        """Median over the rounds: this latency divided by the other file's in the same round."""
        return float(np.median(np.divide(self.seconds, first.seconds)))


def benchmark(
    files: Sequence[str | Path], runs: int = RUNS, profiler: str | Path | None = None
) -> list[Measurement]:
    """Compares files, each on one thread.

    Args:
        files: `.tflite` files.
        runs: Timed invocations per file, in turns, after a few untimed ones.
        profiler: Path of `lce_benchmark_model` for this machine, to time each operation.

    Returns:
        One measurement per file, in the order given.

    Raises:
        ConversionError: If a file is not a `.tflite` or is damaged; names the file.
        BenchmarkError: If LCE cannot run a file (names the file), if there is no file, or if `runs`
            is below 1.
        OSError: If a file cannot be read, or the profiler cannot be started.
    """
    if isinstance(files, str | os.PathLike) or not files or runs < 1:
        raise BenchmarkError(
            "benchmark: expected a list of at least one file, and at least one run. "
            f"Received: files={files}, runs={runs}"
        )
    paths = [path_of(file) for file in files]
    costs = [count(path) for path in paths]
    kernels = [
        _kernel(path) if "LceBconv2d" in cost else ("default", {})
        for path, cost in zip(tqdm(paths, unit="file", desc="Choosing kernels"), costs, strict=True)
    ]
    workers = [
        _Worker("run", path, kernel) for path, (kernel, _) in zip(paths, kernels, strict=True)
    ]
    answers = _in_turns(workers, runs)
    return [
        Measurement(
            path,
            path.stat().st_size,
            kernel if "LceBconv2d" in cost else _NOT_BINARY,
            refused,
            tuple(answer["seconds"] for answer in own),
            tuple(answer["cpu"] for answer in own),
            own[-1]["memory"],
            combine(cost, profile(profiler, path, runs, kernel) if profiler else {}),
        )
        for path, cost, (kernel, refused), own in zip(paths, costs, kernels, answers, strict=True)
    ]


def table(measurements: Sequence[Measurement]) -> str:
    """The files side by side, relative to the first, then the operations of each."""
    first = measurements[0]
    heading = ["file", "median (ms)", "quartiles", "ratio", "CPU (ms)", "size (MiB)", "ratio"]
    rows = [[*heading, "memory (MiB)", "ratio", "kernel"]]
    for one in measurements:
        low, high = one.quartiles
        row = [str(one.file), f"{1e3 * one.median:.2f}", f"{1e3 * low:.2f} - {1e3 * high:.2f}"]
        row += [f"{one.ratio(first):.3f}", f"{1e3 * np.median(one.cpu):.2f}"]
        row += [f"{one.size / 2**20:.2f}", f"{one.size / first.size:.3f}"]
        row += [f"{one.memory / 2**20:.2f}", f"{one.memory / (first.memory or 1):.3f}"]
        rows.append([*row, one.kernel])
    parts = [text_table(rows, right=range(1, 9)), *map(_ops_table, measurements)]
    return "\n\n".join(parts)


def main(files: list[str], runs: int) -> None:
    """Prints the measurements, per operation too if `lce_benchmark_model` is on the PATH."""
    profiler = shutil.which(PROFILER)
    measurements = benchmark(files, runs, profiler=profiler)
    print(table(measurements))
    print("\n" + _explanation(measurements, profiler))


class _Worker:
    """A process that runs a command of `benchmark_worker` on one file."""

    def __init__(self, command: str, file: Path, kernel: str = ""):
        self._file = file
        script = [sys.executable, "-c", _START, benchmark_worker.__file__]
        self._process = subprocess.Popen(
            [*script, command, str(file), kernel],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self) -> dict[str, Any]:
        """Requests one answer from the process.

        Raises:
            BenchmarkError: If the process has ended, or no kernel can run the file.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            print(file=stdin, flush=True)
        line = stdout.readline() if stdout else ""
        if not line:
            raise self._failure()
        answer: dict[str, Any] = json.loads(line)
        if answer.get("kernel", "") is None:
            raise self._failure()
        return answer

    def _failure(self) -> BenchmarkError:
        _, errors = self._process.communicate()
        said = [line for line in errors.splitlines() if line.strip()]
        told = [line for line in said if line.startswith("ERROR:")] or said[-1:]
        reason = told[0] if told else f"its process ended with status {self._process.returncode}"
        return BenchmarkError(
            f"benchmark: expected a .tflite that LCE's interpreter runs. Received: {self._file}, "
            f"where it says: {reason}. larq_groupnet.deploy.audit(file) may name the operation."
        )


def _kernel(path: Path) -> tuple[str, dict[str, str]]:
    """The fastest kernel for a binary file, and why each refused kernel cannot be used."""
    with _Worker("choose", path) as worker:
        answer = worker.ask()
    return answer["kernel"], answer["refused"]


def _in_turns(workers: Sequence[_Worker], runs: int) -> list[list[dict[str, Any]]]:
    """Asks the workers in turn, `runs` times; returns the answers of each."""
    with contextlib.ExitStack() as stack:
        for worker in workers:
            stack.enter_context(worker)
        rounds = [
            [worker.ask() for worker in workers]
            for _ in tqdm(range(_WARM_UP + runs), unit="round", desc="Measuring")
        ]
    return [list(answers) for answers in zip(*rounds[_WARM_UP:], strict=True)]


def _ops_table(measurement: Measurement) -> str:
    ops = measurement.ops
    rows = [
        [str(measurement.file), "count", "MACs (M)", "of all", "elements written (k)", "of all"]
    ]
    timed = any(op.milliseconds is not None for op in ops)
    rows[0] += ["time (ms)", "of all"] * timed
    for op in ops:
        row = [op.name, str(op.count)]
        row += [f"{op.macs / 1e6:.2f}", _share(op.macs, sum(o.macs for o in ops))]
        row += [f"{op.elements / 1e3:.1f}", _share(op.elements, sum(o.elements for o in ops))]
        if timed:
            total = sum(o.milliseconds or 0 for o in ops)
            row += [f"{op.milliseconds or 0:.3f}", _share(op.milliseconds or 0, total)]
        rows.append(row)
    return text_table(rows, right=range(1, len(rows[0])))


def _share(part: float, total: float) -> str:
    return f"{part / (total or 1):.1%}"


def _explanation(measurements: Sequence[Measurement], profiler: str | None) -> str:
    machine = platform.machine()
    lines = []
    if machine not in _ARM:
        lines += [
            f"This machine is {machine}. LCE is not optimised for it: ratios between files differ "
            "on ARM, and ARM is what counts (docs/devices.md)."
        ]
    starved = min(measurements, key=lambda one: one.cpu_share)
    if starved.cpu_share < _BUSY:
        lines += [
            f"The machine is busy: {starved.file} had the CPU for only {starved.cpu_share:.0%} of "
            "its latency. Latencies are too high, long ones most, and so are their ratios; CPU "
            "times are more reliable. Measure again on an idle machine."
        ]
    lines += [
        f"Latency: median and quartiles of {len(measurements[0].seconds)} invocations on one "
        "thread, image copied in and result copied out. The files took turns.",
        f"Ratio: relative to {measurements[0].file}; for latency, the median over the rounds.",
        "CPU: median CPU time. Memory: peak that the interpreter and the file add to a process.",
        "MACs: including binary ones. Elements: values written; a word of 32 signs counts as one.",
        "Kernel of LceBconv2d: the fastest here of default, indirect (use_indirect_bgemm=True) "
        "and reference whose output equals the reference kernel's.",
    ]
    for one in measurements:
        lines += [f"{one.file}: {kernel}: {why}" for kernel, why in one.refused.items()]
    advice = f"none, because LCE's interpreter has no profiler; put {PROFILER} on the PATH"
    lines += [f"Times per operation: {profiler or advice} (docs/devices.md)."]
    return "\n".join(lines)
