"""Runs converted files: with larq-groupnet-runtime where it is installed, else with LCE.

The first is dozens of times faster on x86. LCE's interpreter remains what `verify` compares with.
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
"""What `Runner.engine` says of LCE's interpreter."""


class Runner(NamedTuple):
    """A converted file, loaded.

    Attributes:
        engine: Who runs it: `"larq-groupnet-runtime"` or `LCE`.
        input_shapes: Of every input, the batch included.
        output_shape: Of the first output, the batch included.
        predict: From images `(n, height, width, channels)` to outputs, both floats; a file of
            integers is translated.
    """

    engine: str
    input_shapes: list[tuple[int, ...]]
    output_shape: tuple[int, ...]
    predict: Callable[[Array], Array]


def load_file(file: File, threads: int | None = None) -> Runner:
    """Loads a file into the fastest engine that is installed.

    Args:
        file: The flatbuffer or its path.
        threads: On how many threads the images of a batch are computed side by side, which suits
            many images; by default all CPUs share each image. LCE's interpreter always does that.

    Raises:
        ConversionError: If the engine does not load it, or it reads neither floats nor integers
            that stand for them.
        OSError: If it cannot be read.
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
    """Loads a file into LCE's interpreter; for the errors see `load_file`."""
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
            f"{name_of(file)}: expected a file that reads float32, or int8 in its place. Received: "
            f"one that reads {kind} and normalises images itself; an engine runs it on pixels"
        )


def _side_by_side(networks: list[Any], images: Array) -> Array:
    """The outputs for a batch, of which each network computes a share."""
    shares = np.array_split(images, max(min(len(networks), len(images)), 1))
    with ThreadPoolExecutor(len(shares)) as pool:
        found = pool.map(lambda network, share: network.predict(share), networks, shares)
        return np.concatenate(list(found))


def second_opinion(content: bytes, data: NDArray[Any]) -> Array | None:
    """What larq-groupnet-runtime computes, or `None` if it is not installed."""
    if Interpreter is None:
        return None
    outputs = _network(content).predict(data)
    return np.asarray(outputs[0] if isinstance(outputs, list) else outputs, np.float32)


def _network(file: File, threads: int | None = None) -> Any:
    try:
        return Interpreter(file, num_threads=threads)
    except InputError as error:
        raise ConversionError(str(error)) from error
