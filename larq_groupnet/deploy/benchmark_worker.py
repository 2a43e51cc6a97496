"""Runs LCE's interpreter alone in a process, to measure its memory.

`benchmark` runs this file as a script. It imports only NumPy and the compiled module of LCE's
wheel, because TensorFlow takes more memory than any network here. It answers in lines of JSON.

    benchmark_worker.py choose FILE        prints {"kernel", "refused"}
    benchmark_worker.py run FILE KERNEL    prints {"seconds", "cpu", "memory"} for each line read
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

KERNELS = {"default": (False, False), "indirect": (False, True), "reference": (True, False)}
"""Name -> LCE's `use_reference_bconv` and `use_indirect_bgemm`; the last one is the reference."""

TOLERANCE = 1e-3
"""Largest allowed difference from the reference kernel, relative to its largest output."""

_TRIALS = 5


class _Run:
    """An interpreter and its input: noise, the same for every kernel."""

    def __init__(self, content: bytes, kernel: str):
        self._interpreter = _interpreter_class()(content, 1, *KERNELS[kernel], False)
        rng = np.random.RandomState(0)
        kinds = zip(self._interpreter.input_shapes, self._interpreter.input_types, strict=True)
        self._inputs = [rng.standard_normal(shape).astype(dtype) for shape, dtype in kinds]
        self.outputs: list[NDArray[Any]] = []

    def seconds(self) -> float:
        """Runs once; the time includes copying the inputs in and the outputs out."""
        start = time.perf_counter()
        self.outputs = self._interpreter.predict(self._inputs)
        return time.perf_counter() - start


def main(command: str, path: str, kernel: str) -> None:
    """Prints the answers."""
    _interpreter_class()
    # Read before measuring: the interpreter makes its own copy, and Python's is not counted.
    content = Path(path).read_bytes()
    before = _reset_peak()
    if command == "choose":
        print(json.dumps(_choose(content)), flush=True)
        return
    run = _Run(content, kernel)
    for _ in sys.stdin:
        cpu = time.process_time()
        seconds = run.seconds()
        cpu = time.process_time() - cpu
        answer = {"seconds": seconds, "cpu": cpu, "memory": _peak() - before}
        print(json.dumps(answer), flush=True)


def _choose(content: bytes) -> dict[str, Any]:
    """The fastest kernel that agrees with the reference kernel, and why others are refused."""
    runs: dict[str, _Run] = {}
    refused = {}
    for kernel in reversed(KERNELS):
        try:
            run = _Run(content, kernel)
            run.seconds()
        except RuntimeError as error:
            refused[kernel] = str(error).strip()
            continue
        truth = next(iter(runs.values()), run).outputs
        if all(map(_agree, run.outputs, truth)):
            runs[kernel] = run
        else:
            refused[kernel] = "its output differs from the reference kernel's"
    # In turns, so other programs affect all kernels alike.
    times = [{kernel: run.seconds() for kernel, run in runs.items()} for _ in range(_TRIALS)]
    fastest = min(runs, key=lambda kernel: min(time[kernel] for time in times), default=None)
    return {"kernel": fastest, "refused": refused}


def _agree(output: NDArray[Any], truth: NDArray[Any]) -> bool:
    difference = np.abs(output.astype(np.float64) - truth)
    return bool(difference.max() <= TOLERANCE * np.abs(truth).max())


def _interpreter_class() -> Any:
    """LCE's compiled interpreter, loaded without its packages, which import TensorFlow."""
    name = "interpreter_wrapper_lite"
    if name not in sys.modules:
        package = importlib.util.find_spec("larq_compute_engine")
        folders = package.submodule_search_locations if package else None
        found = [path for f in folders or () for path in Path(f).glob(f"tflite/python/{name}*")]
        if not found:
            raise ImportError(f"expected {name} of larq-compute-engine 0.16. Received: {folders}")
        loader = importlib.machinery.ExtensionFileLoader(name, str(found[0]))
        spec = importlib.machinery.ModuleSpec(name, loader, origin=str(found[0]))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        loader.exec_module(sys.modules[name])
    return sys.modules[name].LiteInterpreter


def _reset_peak() -> int:
    """Resets the peak memory if the system can, and returns it in bytes."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    """Peak resident memory in bytes.

    Reads Linux's own figure if it can, because `ru_maxrss` there starts at the parent's value.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


if __name__ == "__main__":
    main(*sys.argv[1:])
