"""The interpreters that tests compare: LCE's own, and a stock one with the engine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from larq_groupnet_runtime import load_delegate
from larq_groupnet_runtime._delegate import available_kernels

Arrays = list[NDArray[Any]]

KERNELS = available_kernels()
"""Of this machine; CI of one machine proves its own."""

EXHAUSTIVE = bool(int(os.environ.get("LARQ_GROUPNET_RUNTIME_EXHAUSTIVE", "0")))
"""Ten times as many random cases, for hours of one's own."""


def reference(content: bytes, inputs: Sequence[NDArray[Any]]) -> Arrays:
    """Outputs of LCE's interpreter with its reference kernels."""
    from larq_compute_engine.tflite.python import interpreter

    engine = interpreter.Interpreter(content, use_reference_bconv=True).interpreter
    outputs: Arrays = engine.predict(list(inputs))
    return outputs


class Engine:
    """A stock interpreter, by default without XNNPACK, that runs a file with the engine."""

    def __init__(self, content: bytes, *, xnnpack: bool = False, **options: Any) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self.delegate = load_delegate(**options)
        resolver = (
            OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        )
        self.interpreter = Interpreter(
            model_content=content,
            experimental_delegates=[self.delegate],
            experimental_op_resolver_type=resolver,
        )
        self.interpreter.allocate_tensors()

    def __call__(self, inputs: Sequence[NDArray[Any]]) -> Arrays:
        """Runs with rubbish in the outputs, so that a value that was not written shows."""
        for detail, values in zip(self.interpreter.get_input_details(), inputs, strict=True):
            self.interpreter.set_tensor(detail["index"], values)
        outputs = [detail["index"] for detail in self.interpreter.get_output_details()]
        for index in outputs:
            view = self.interpreter.tensor(index)()
            view[...] = np.frombuffer(b"\xa5" * view.dtype.itemsize, view.dtype)[0]
            del view
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(index) for index in outputs]


def assert_same_bits(got: Sequence[NDArray[Any]], want: Sequence[NDArray[Any]], case: str) -> None:
    assert len(got) == len(want)
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        b = b.reshape(a.shape)
        assert a.dtype == b.dtype, (case, i)
        # +0 and -0 are the same number, and a pass over memory may tell them no better.
        same = np.array_equal(a, b, equal_nan=a.dtype == np.float32)
        assert same, f"{case}, output {i}: {np.sum(a != b)} of {a.size} values differ"
