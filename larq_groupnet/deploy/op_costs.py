"""The cost of a `.tflite`'s operations, counted in the file and timed by LCE's profiler."""

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
        count: Number of operations; 0 if only the profiler names the operation.
        macs: Multiply-accumulates of convolutions and dense layers; 0 for others.
        elements: Values written. A word of 32 signs counts as one.
        milliseconds: Time measured by LCE's profiler, if it names the operation.
    """

    name: str
    count: int = 0
    macs: int = 0
    elements: int = 0
    milliseconds: float | None = None


def count(file: File) -> dict[str, OpCost]:
    """Counts the operations of a file by name.

    Raises:
        ConversionError: If the file is not a `.tflite` or is damaged.
        OSError: If the file cannot be read.
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
    """Times operations with LCE's benchmark binary: name -> milliseconds per invocation.

    Args:
        profiler: Path of `lce_benchmark_model`.
        path: The `.tflite`.
        runs: Minimum number of invocations.
        kernel: One of `KERNELS`.

    Raises:
        BenchmarkError: If the profiler fails or prints no summary.
        OSError: If the profiler cannot be started.
    """
    reference, indirect = KERNELS[kernel]
    command = [
        str(profiler),
        f"--graph={path}",
        f"--num_runs={runs}",
        "--num_threads=1",
        f"--use_reference_bconv={str(reference).lower()}",
        f"--use_indirect_bgemm={str(indirect).lower()}",
        # XNNPACK would merge float operations into one; the Python interpreter does not use it.
        "--use_xnnpack=false",
        "--enable_op_profiling=true",
    ]
    result = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    # The first summary is for the initialisation, the last for the timed runs.
    _, _, summary = result.stdout.rpartition("Summary by node type")
    times: dict[str, float] = defaultdict(float)
    for name, _, milliseconds in _PROFILE_ROW.findall(summary):
        times[name] += float(milliseconds)
    if result.returncode or not times:
        last = (result.stdout.strip().splitlines() or ["nothing"])[-1]
        raise BenchmarkError(
            f"benchmark: expected a summary by node type from {' '.join(command)}. "
            f"Received: status {result.returncode}, and output that ends with: {last}"
        )
    return times


def combine(costs: Mapping[str, OpCost], milliseconds: Mapping[str, float]) -> tuple[OpCost, ...]:
    """Adds times, if any, to the counts; the most expensive operation comes first."""
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
    # The last axis may be packed; the kernel's shape includes the output channels anyway.
    positions = math.prod(graph.tensors[operation.outputs[0]].shape[:-1])
    if operation.name == "LceBconv2d":
        inputs = min(32 * kernel[-1], operation.options["channels_in"])
        return positions * math.prod(kernel[:-1]) * int(inputs)
    return positions * math.prod(kernel)
