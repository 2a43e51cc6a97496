"""Runs converted files with larq-groupnet-runtime if it is installed, else with LCE.

The runtime is dozens of times faster on x86. `verify` always compares with LCE's interpreter.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from larq_groupnet.deploy.flatbuffer import ConversionError, File, load_interpreter, name_of
from larq_groupnet.deploy.int8 import predict

try:
    from larq_groupnet_runtime import InputError, Interpreter
except ImportError:
    Interpreter = None

Array = NDArray[np.float32]

LCE = "LCE"
"""Name of LCE's interpreter in `Runner.engine`."""


class Runner(NamedTuple):
    """A converted file, loaded.

    Attributes:
        engine: Name of the engine: `"larq-groupnet-runtime"` or `LCE`.
        input_shapes: Shape of every input, including the batch.
        output_shape: Shape of the first output, including the batch.
        predict: Maps images `(n, height, width, channels)` to outputs, both floats, for int8 files
            as well.
    """

    engine: str
    input_shapes: list[tuple[int, ...]]
    output_shape: tuple[int, ...]
    predict: Callable[[Array], Array]


def load_file(file: File, threads: int | None = None) -> Runner:
    """Loads a file into the fastest installed engine.

    Args:
        file: The flatbuffer or its path.
        threads: Number of images of a batch to compute in parallel, one thread each, which suits
            many images. By default, and always in LCE's interpreter, all CPUs share each image.

    Raises:
        ConversionError: If the engine cannot load the file, or it reads neither float32 nor int8.
        OSError: If the file cannot be read.
    """
    if Interpreter is None:
        return load_lce(file)
    networks = [_network(file, threads and 1) for _ in range(threads or 1)]
    first = networks[0]
    _check_reads_floats(file, first.inputs[0].dtype)
    shapes = [one.shape for one in first.inputs]
    run = first.predict if len(networks) == 1 else partial(_side_by_side, networks)
    return Runner("larq-groupnet-runtime", shapes, first.outputs[0].shape, run)


def load_lce(file: File) -> Runner:
    """Loads a file into LCE's interpreter; raises the errors of `load_file`."""
    try:
        lce = load_interpreter(file)
    except RuntimeError as error:
        raise ConversionError(
            f"{name_of(file)}: LCE's interpreter does not load it: {error}"
        ) from error
    _check_reads_floats(file, np.dtype(lce.input_types[0]))
    shapes = [tuple(shape) for shape in lce.input_shapes]
    return Runner(LCE, shapes, tuple(lce.output_shapes[0]), partial(predict, lce))


def _check_reads_floats(file: File, kind: np.dtype) -> None:
    if kind not in (np.float32, np.int8):
        raise ConversionError(
            f"{name_of(file)}: expected a file that reads float32 or int8. Received: one that "
            f"reads {kind} and normalises images itself. Run it on pixels, with an interpreter."
        )


def _side_by_side(networks: list[Any], images: Array) -> Array:
    """The outputs for a batch that is split among the networks."""
    shares = np.array_split(images, max(min(len(networks), len(images)), 1))
    with ThreadPoolExecutor(len(shares)) as pool:
        found = pool.map(lambda network, share: network.predict(share), networks, shares)
        return np.concatenate(list(found))


def second_opinion(content: bytes, data: NDArray[Any]) -> Array | None:
    """The output of larq-groupnet-runtime, or `None` if it is not installed."""
    if Interpreter is None:
        return None
    outputs = _network(content).predict(data)
    return np.asarray(outputs[0] if isinstance(outputs, list) else outputs, np.float32)


def _network(file: File, threads: int | None = None) -> Any:
    try:
        return Interpreter(file, num_threads=threads)
    except InputError as error:
        raise ConversionError(str(error)) from error
