"""Runs converted files: with larq-groupnet-runtime where it is installed, else with LCE.

The first is dozens of times faster on x86. LCE's interpreter remains what `verify` compares with.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from larq_groupnet.deploy.flatbuffer import ConversionError, File, load_interpreter
from larq_groupnet.deploy.int8 import predict

try:
    from larq_groupnet_runtime import InputError, Interpreter
except ImportError:
    Interpreter = None

Array = NDArray[np.float32]


class Runner(NamedTuple):
    """A converted file, loaded.

    Attributes:
        engine: Who runs it: `"larq-groupnet-runtime"` or `"LCE"`.
        input_shapes: Of every input, the batch included.
        output_shape: Of the first output, the batch included.
        predict: From images `(n, height, width, channels)` to outputs, both floats; a file of
            integers is translated.
    """

    engine: str
    input_shapes: list[tuple[int, ...]]
    output_shape: tuple[int, ...]
    predict: Callable[[Array], Array]


def load_file(file: File) -> Runner:
    """Loads a file into the fastest engine that is installed.

    Raises:
        ConversionError: If the engine does not load it.
        OSError: If it cannot be read.
    """
    if Interpreter is None:
        try:
            lce = load_interpreter(file)
        except RuntimeError as error:
            name = "these bytes" if isinstance(file, bytes) else file
            raise ConversionError(f"{name}: LCE's interpreter does not load it: {error}") from error
        shapes = [tuple(shape) for shape in lce.input_shapes]
        return Runner("LCE", shapes, tuple(lce.output_shapes[0]), partial(predict, lce))
    network = _network(file)
    shapes = [one.shape for one in network.inputs]
    return Runner("larq-groupnet-runtime", shapes, network.outputs[0].shape, network.predict)


def second_opinion(content: bytes, data: NDArray[Any]) -> Array | None:
    """What larq-groupnet-runtime computes, or `None` if it is not installed."""
    if Interpreter is None:
        return None
    outputs = _network(content).predict(data)
    return np.asarray(outputs[0] if isinstance(outputs, list) else outputs, np.float32)


def _network(file: File) -> Any:
    try:
        return Interpreter(file)
    except InputError as error:
        raise ConversionError(str(error)) from error
