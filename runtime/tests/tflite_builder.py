"""Writes small `.tflite` files, operation by operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from flatbuffers import flexbuffers
from tensorflow.lite.python import schema_py_generated as schema

_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.bool_): schema.TensorType.BOOL,
}

LEFT_OUT = -1


class TFLiteBuilder:
    """A graph under construction. Tensors are their indices."""

    def __init__(self) -> None:
        self._graph = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []
        self._graph.inputs, self._graph.outputs = [], []
        self._buffers = [schema.BufferT()]
        self._codes: list[schema.OperatorCodeT] = []
        self._code_of: dict[str, int] = {}

    def tensor(
        self,
        shape: Sequence[int],
        dtype: Any = np.float32,
        *,
        scale: float | None = None,
        zero_point: int = 0,
    ) -> int:
        """A tensor that an operation or the caller fills."""
        tensor = schema.TensorT()
        tensor.name = f"t{len(self._graph.tensors)}".encode()
        tensor.shape, tensor.type, tensor.buffer = list(shape), _TYPES[np.dtype(dtype)], 0
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = [scale]
            tensor.quantization.zeroPoint = [zero_point]
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def input(self, shape: Sequence[int], dtype: Any = np.float32, **options: Any) -> int:
        self._graph.inputs.append(self.tensor(shape, dtype, **options))
        return self._graph.inputs[-1]

    def constant(self, values: Any) -> int:
        values = np.ascontiguousarray(values)
        index = self.tensor(values.shape, values.dtype)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._buffers.append(buffer)
        self._graph.tensors[index].buffer = len(self._buffers) - 1
        return index

    def output(self, *tensors: int) -> None:
        self._graph.outputs.extend(tensors)

    def custom(
        self, name: str, inputs: Sequence[int], output: int, options: Mapping[str, int] | None
    ) -> int:
        """An operation of LCE; returns its output."""
        operator = self._operator(name, inputs, output)
        raw = b"" if options is None else bytes(flexbuffers.Dumps(dict(options)))
        operator.customOptions = np.frombuffer(raw, np.uint8)
        return output

    def builtin(self, name: str, inputs: Sequence[int], output: int, options: Any = None) -> int:
        """An operation of TensorFlow Lite: `ADD`, `MUL`, ...; returns its output."""
        operator = self._operator(name, inputs, output)
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        return output

    def _operator(self, name: str, inputs: Sequence[int], output: int) -> schema.OperatorT:
        if name not in self._code_of:
            code = schema.OperatorCodeT()
            builtin = getattr(schema.BuiltinOperator, name, schema.BuiltinOperator.CUSTOM)
            code.builtinCode, code.deprecatedBuiltinCode = builtin, min(builtin, 127)
            code.version = 1
            if builtin == schema.BuiltinOperator.CUSTOM:
                code.customCode = name.encode()
            self._code_of[name] = len(self._codes)
            self._codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code_of[name]
        operator.inputs, operator.outputs = list(inputs), [output]
        self._graph.operators.append(operator)
        return operator

    def finish(self) -> bytes:
        model = schema.ModelT()
        model.version, model.subgraphs = 3, [self._graph]
        model.buffers, model.operatorCodes = self._buffers, self._codes
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
