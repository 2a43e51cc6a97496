"""What the operations of a `.tflite` cost: counted in the file, and timed by LCE's profiler."""

from __future__ import annotations

import math
import re
import subprocess
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from larq_groupnet.deploy.benchmark_worker import KERNELS
from larq_groupnet.deploy.flatbuffer import WITH_KERNELS, File, Graph, Operation, damage_named
from larq_groupnet.errors import UserError

# A row of the summary by node type: name, count, average milliseconds, ...
_PROFILE_ROW = re.compile(r"^\s*(\S+)[ \t]+(\d+)[ \t]+(\d+\.\d+)[ \t]+[\d.]+%", re.MULTILINE)


class BenchmarkError(UserError):
    """A file cannot be measured; says which and why."""


@dataclass(frozen=True)
class OpCost:
    """All operations of one kind in a file, for one invocation.

    Attributes:
        name: `CONV_2D`, `LceBconv2d`, ...
        count: How many there are; 0 for one that only the profiler names.
        macs: Multiply-accumulates of convolutions and dense layers; 0 for others.
        elements: Values that they write. A word of 32 signs is one.
        milliseconds: Time by LCE's profiler, if it names the operation.
    """

    name: str
    count: int = 0
    macs: int = 0
    elements: int = 0
    milliseconds: float | None = None


def count(file: File) -> dict[str, OpCost]:
    """Counts the operations of a file by name.

    Raises:
        ConversionError: If it is no `.tflite`, or not a whole one.
        OSError: If it cannot be read.
    """
    costs: dict[str, OpCost] = {}
    with damage_named(file):
        graph = Graph(file)
        for operation in graph.operations:
            before = costs.get(operation.name, OpCost(operation.name))
            elements = sum(math.prod(graph.tensors[t].shape) for t in operation.outputs)
            costs[operation.name] = replace(
                before,
                count=before.count + 1,
                macs=before.macs + _macs(graph, operation),
                elements=before.elements + elements,
            )
    return costs


def profile(profiler: str | Path, path: Path, runs: int, kernel: str) -> dict[str, float]:
    """Name of the operation -> milliseconds of one invocation, by LCE's benchmark binary.

    Args:
        profiler: Path of `lce_benchmark_model`.
        path: The `.tflite`.
        runs: Least number of invocations.
        kernel: One of `KERNELS`.

    Raises:
        BenchmarkError: If it fails or prints no summary.
        OSError: If it cannot be started.
    """
    reference, indirect = KERNELS[kernel]
    command = [
        str(profiler),
        f"--graph={path}",
        f"--num_runs={runs}",
        "--num_threads=1",
        f"--use_reference_bconv={str(reference).lower()}",
        f"--use_indirect_bgemm={str(indirect).lower()}",
        # Else float operations become one delegate; the Python interpreter has none either.
        "--use_xnnpack=false",
        "--enable_op_profiling=true",
    ]
    result = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    # The last summary is that of the timed runs; one of the initialisation precedes it.
    _, _, summary = result.stdout.rpartition("Summary by node type")
    times: dict[str, float] = defaultdict(float)
    for name, _, milliseconds in _PROFILE_ROW.findall(summary):
        times[name] += float(milliseconds)
    if result.returncode or not times:
        last = (result.stdout.strip().splitlines() or ["nothing"])[-1]
        raise BenchmarkError(
            f"benchmark: expected a summary by node type from {' '.join(command)}. "
            f"Received: status {result.returncode}, which ends with: {last}"
        )
    return times


def combine(costs: Mapping[str, OpCost], milliseconds: Mapping[str, float]) -> tuple[OpCost, ...]:
    """The counts with the times, if there are any; the most work first."""
    ops = [
        replace(costs.get(name, OpCost(name)), milliseconds=milliseconds.get(name))
        for name in {**costs, **milliseconds}
    ]
    return tuple(sorted(ops, key=lambda op: (op.milliseconds or 0, op.macs, op.elements)))[::-1]


def _macs(graph: Graph, operation: Operation) -> int:
    """Multiply-accumulates of one invocation."""
    if operation.name not in WITH_KERNELS:
        return 0
    kernel = graph.tensors[operation.inputs[1]].shape
    # The last axis may be packed, so it is not counted; a kernel knows its outputs.
    positions = math.prod(graph.tensors[operation.outputs[0]].shape[:-1])
    if operation.name == "LceBconv2d":
        inputs = min(32 * kernel[-1], operation.options["channels_in"])
        return positions * math.prod(kernel[:-1]) * int(inputs)
    return positions * math.prod(kernel)
