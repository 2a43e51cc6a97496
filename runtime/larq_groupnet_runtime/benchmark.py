"""Compares the speed of files on this machine: they take turns, one invocation each.

So other work on the machine affects all files alike. A ratio is the median over the rounds.
"""

from __future__ import annotations

import os
import platform
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from larq_groupnet_runtime.errors import count
from larq_groupnet_runtime.interpreter import Interpreter

_WARM_UP = 3
_BUSY = 0.9


def benchmark(
    files: Sequence[Path], runs: int, threads: int | None = None, backend: str | None = None
) -> str:
    """Times files in turns, then the operations of each file.

    Args:
        files: `.tflite` files. Their input is noise.
        runs: Timed invocations of each file, after a few warm-up invocations.
        threads: See `Interpreter`.
        backend: See `Interpreter`.

    Returns:
        Tables: the files relative to the first, then the time of each file by operation.

    Raises:
        InputError: If a file does not run.
        OSError: If a file cannot be read.
    """
    networks = [_with_noise(Interpreter(file, threads, backend)) for file in files]
    wall, cpu = _in_turns(networks, _WARM_UP + runs)[:, _WARM_UP:]
    parts = [_compared(files, wall, cpu)]
    for file, name in zip(files, _names(files)):
        profiled = _with_noise(Interpreter(file, threads, backend, profile=True))
        parts.append(_operations(name, profiled, runs))
    first = networks[0]
    parts.append(
        f"{platform.machine()}, {os.cpu_count()} CPUs, kernel {first.delegate.kernel}, "
        f"{first.backend}, num_threads={first.num_threads}; {count(runs, 'invocation')} of each "
        "file."
    )
    share = cpu.sum() / wall.sum()
    if share < _BUSY:
        parts.append(
            f"The machine is busy: the files had a CPU for {share:.0%} of the time. CPU times are "
            "more reliable."
        )
    return "\n\n".join(parts)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Formats rows as a table: the first column left-aligned, the others right-aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        )
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _with_noise(network: Interpreter) -> Interpreter:
    rng = np.random.default_rng(0)
    for one in network.interpreter.get_input_details():
        noise = rng.standard_normal(one["shape"]).astype(one["dtype"])
        network.interpreter.set_tensor(one["index"], noise)
    return network


def _in_turns(networks: Sequence[Interpreter], runs: int) -> NDArray[np.float64]:
    """Wall and CPU seconds `(2, runs, networks)`."""
    measured = np.empty((2, runs, len(networks)))
    for number in range(runs):
        for index, network in enumerate(networks):
            wall, cpu = time.perf_counter(), time.process_time()
            network.invoke()
            measured[:, number, index] = time.perf_counter() - wall, time.process_time() - cpu
    return measured


def _names(files: Sequence[Path]) -> list[str]:
    """The names of the files, or their paths if two files share a name."""
    names = [file.name for file in files]
    return names if len(set(names)) == len(set(files)) else list(map(str, files))


def _compared(files: Sequence[Path], wall: NDArray[np.float64], cpu: NDArray[np.float64]) -> str:
    rows = [["file", "median ms", "quartiles", "ratio", "CPU ms", "ratio", "MiB"]]
    for index, (file, name) in enumerate(zip(files, _names(files))):
        low, middle, high = 1e3 * np.percentile(wall[:, index], (25, 50, 75))
        row = [name, f"{middle:.2f}", f"{low:.2f} - {high:.2f}"]
        row += [f"{np.median(wall[:, index] / wall[:, 0]):.3f}"]
        row += [f"{1e3 * np.median(cpu[:, index]):.2f}"]
        row += [f"{np.median(cpu[:, index] / cpu[:, 0]):.3f}"]
        rows.append([*row, f"{file.expanduser().stat().st_size / 2**20:.2f}"])
    return table(rows)


def _operations(file: str, network: Interpreter, runs: int) -> str:
    """The time of a file: the engine's steps by name, and the rest."""
    wall, _ = _in_turns([network], runs)
    steps: dict[str, list[float]] = defaultdict(list)
    for name, seconds, calls in network.delegate.profile():
        steps[name].append(seconds / max(calls, 1))
    total = float(wall.mean())
    rest = max(total - sum(map(sum, steps.values())), 0.0)
    named = sorted(steps.items(), key=lambda item: -sum(item[1]))
    rows = [[file, "count", "ms", "of all"]]
    for name, each in [*named, (f"others, in {network.backend.split()[0]}", [rest])]:
        number = str(len(each)) if name in steps else ""
        rows.append([name, number, f"{1e3 * sum(each):.3f}", f"{sum(each) / total:.1%}"])
    return table(rows)
