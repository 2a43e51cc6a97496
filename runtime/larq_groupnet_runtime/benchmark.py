"""How fast files run on this machine, side by side: they take turns, one invocation each.

Whatever else the machine does then hits all files alike. A ratio is the median over the rounds.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from larq_groupnet_runtime.interpreter import Interpreter

_WARM_UP = 3


def benchmark(files: Sequence[Path], networks: Sequence[Interpreter], runs: int) -> None:
    """Measures networks in turns and prints a table, relative to the first.

    Args:
        files: Where the networks come from.
        networks: One a file. Each is given noise of its own shape.
        runs: Timed invocations of each, after a few that are not counted.
    """
    rng = np.random.default_rng(0)
    for network in networks:
        for one in network.interpreter.get_input_details():
            noise = rng.standard_normal(one["shape"])
            network.interpreter.set_tensor(one["index"], noise.astype(one["dtype"]))
    rounds = [[_timed(network) for network in networks] for _ in range(_WARM_UP + runs)]
    wall, cpu = np.moveaxis(np.array(rounds[_WARM_UP:]), -1, 0)
    rows = [["file", "median ms", "quartiles", "ratio", "CPU ms", "ratio", "MiB"]]
    for index, file in enumerate(files):
        low, middle, high = 1e3 * np.percentile(wall[:, index], (25, 50, 75))
        rows.append(
            [
                file.name,
                f"{middle:.2f}",
                f"{low:.2f} - {high:.2f}",
                f"{np.median(wall[:, index] / wall[:, 0]):.3f}",
                f"{1e3 * np.median(cpu[:, index]):.2f}",
                f"{np.median(cpu[:, index] / cpu[:, 0]):.3f}",
                f"{file.stat().st_size / 2**20:.2f}",
            ]
        )
    print(table(rows))
    print(
        f"\n{platform.machine()}, {os.cpu_count()} CPUs, {networks[0].backend}, "
        f"num_threads={networks[0].num_threads}; {runs} invocations of each file on noise."
    )
    busy = cpu.sum() / wall.sum()
    if busy < 0.9:
        print(f"The machine is busy: its CPU was had for {busy:.0%} of the time. Trust CPU times.")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines of columns: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        )
        for row in rows
    ]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(line.rstrip() for line in lines)


def _timed(network: Interpreter) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    network.interpreter.invoke()
    return time.perf_counter() - wall, time.process_time() - cpu
