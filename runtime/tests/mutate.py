"""Loads and runs files with random faults: each is refused with a message, or computes.

    python mutate.py FIRST COUNT

Runs in a process of its own (see test_hostile.py), because a fault in the engine would end it. The
files stay valid FlatBuffers, and the interpreter's own operations keep types that it knows: on
others it aborts, with the engine or without.
"""

from __future__ import annotations

import sys
from typing import Any

import flatbuffers
import numpy as np
from engines import Engine
from random_graphs import RandomGraph
from random_ops import RandomFile
from tensorflow.lite.python import schema_py_generated as schema

MOST_VALUES = 1 << 22
"""Of a tensor: the interpreter itself gets slow with more, or runs out of memory."""

INTEGERS = [-(2**31), -65536, -1, 0, 1, 2, 3, 31, 32, 33, 255, 65535, 2**30, 2**31 - 1]


class Mutator:
    """Faults in a model of the schema's object API."""

    def __init__(self, rng: np.random.Generator, model: Any) -> None:
        self.rng = rng
        self.model = model
        self.graph = model.subgraphs[0]
        self.ours = [
            op for op in self.graph.operators if model.operatorCodes[op.opcodeIndex].customCode
        ]
        theirs = [op for op in self.graph.operators if op not in self.ours]
        touched = {int(t) for op in theirs for t in [*op.inputs, *op.outputs]}
        self.our_tensors = [t for i, t in enumerate(self.graph.tensors) if i not in touched]

    def one(self, items: list[Any]) -> Any:
        return items[int(self.rng.integers(len(items)))]

    def mutate(self) -> None:
        faults = [self.options, self.options, self.shape, self.shape, self.type, self.buffer,
                  self.wiring, self.quantization]  # fmt: skip
        for _ in range(int(self.rng.integers(1, 4))):
            self.one(faults)()

    def options(self) -> None:
        """Bytes of the options of an operation of LCE: other, fewer, more."""
        operator = self.one(self.ours) if self.ours else None
        if operator is None or operator.customOptions is None or len(operator.customOptions) == 0:
            return
        raw = np.array(operator.customOptions, np.uint8)
        kind = self.rng.integers(4)
        if kind == 0:
            raw = raw[: int(self.rng.integers(len(raw) + 1))]
        elif kind == 1:
            raw = self.rng.integers(0, 256, int(self.rng.integers(1, 64))).astype(np.uint8)
        else:
            for _ in range(int(self.rng.integers(1, 5))):
                # The end holds the numbers, which are hit as often as the names in front.
                half = len(raw) // 2 if kind == 2 else 0
                raw[int(self.rng.integers(half, len(raw)))] = self.rng.integers(256)
        operator.customOptions = raw

    def shape(self) -> None:
        tensor = self.one(self.graph.tensors)
        shape = [int(size) for size in tensor.shape] if tensor.shape is not None else []
        kind = self.rng.integers(4)
        if kind == 0 and shape:
            shape.pop()
        elif kind == 1:
            shape.append(int(self.rng.integers(1, 5)))
        elif shape:
            at = int(self.rng.integers(len(shape)))
            shape[at] = self.one(INTEGERS) if kind == 2 else int(self.rng.integers(1, 200))
        if abs(int(np.prod(shape, dtype=object))) <= MOST_VALUES:
            tensor.shape = shape

    def type(self) -> None:
        if not self.our_tensors:
            return
        self.one(self.our_tensors).type = int(self.rng.integers(0, 18))

    def buffer(self) -> None:
        """Constants that are shorter than their shape says, or gone, or others."""
        tensor = self.one(self.graph.tensors)
        data = self.model.buffers[tensor.buffer].data
        if data is None or len(data) == 0:
            return
        kind = self.rng.integers(3)
        if kind == 0:
            self.model.buffers[tensor.buffer].data = data[: int(self.rng.integers(len(data)))]
        elif kind == 1:
            tensor.buffer = 0
        else:
            tensor.buffer = int(self.rng.integers(len(self.model.buffers)))

    def wiring(self) -> None:
        if not self.ours:
            return
        operator = self.one(self.ours)
        tensor = int(self.rng.integers(-1, len(self.graph.tensors)))
        inputs = [int(i) for i in operator.inputs]
        kind = self.rng.integers(4)
        if kind == 0 and inputs:
            inputs[int(self.rng.integers(len(inputs)))] = tensor
        elif kind == 1:
            inputs = inputs[: int(self.rng.integers(len(inputs) + 1))]
        elif kind == 2:
            inputs.append(tensor)
        elif tensor >= 0:
            operator.outputs = [tensor]
        operator.inputs = inputs

    def quantization(self) -> None:
        if not self.our_tensors:
            return
        tensor = self.one(self.our_tensors)
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = [self.one([0.0, -1.0, 1e-45, 1e38, np.inf, np.nan, 0.5])]
        tensor.quantization.zeroPoint = [self.one(INTEGERS)]


def whole(seed: int) -> bytes:
    """A file without a fault: operations side by side, or a graph."""
    if seed % 2:
        return RandomGraph(seed, (1, 4, 5), nodes=10).content()
    file = RandomFile(np.random.default_rng(seed))
    for _ in range(4):
        file.add_random()
    return file.builder.finish()


def mutated(seed: int) -> bytes:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(whole(seed)))
    Mutator(np.random.default_rng(seed), model).mutate()
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def main(first: int, count: int) -> None:
    refused = computed = 0
    for seed in range(first, first + count):
        print(f"seed {seed}", file=sys.stderr, flush=True)
        content = mutated(seed)
        try:
            engine = Engine(content, fuse=seed % 3 > 0, num_threads=1 + seed % 2)
            engine.interpreter.invoke()
            computed += 1
        except (RuntimeError, ValueError) as error:
            refused += bool(str(error))  # A refusal without a message counts as neither.
    print(f"{refused} refused, {computed} computed")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
