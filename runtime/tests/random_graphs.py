"""Random graphs of binary convolutions and the float operations around them."""

from __future__ import annotations

import numpy as np
from random_ops import random_bits, words
from tensorflow.lite.python import schema_py_generated as schema
from tflite_builder import LEFT_OUT, TFLiteBuilder


def _add() -> schema.AddOptionsT:
    return schema.AddOptionsT()


def _mul() -> schema.MulOptionsT:
    return schema.MulOptionsT()


class RandomGraph:
    """Maps of one shape: each operation reads maps that exist and makes one more.

    Args:
        seed: Fixes the operations and the weights, whatever the size.
        size: Batch, height and width.
        nodes: Number of operations.
    """

    def __init__(self, seed: int, size: tuple[int, int, int], nodes: int = 30) -> None:
        self.rng = np.random.default_rng(seed)
        self.channels = int(self.rng.choice([3, 16, 32, 64, 70, 96, 128, 150]))
        self.shape = (*size, self.channels)
        self.builder = TFLiteBuilder()
        self.maps = [self.builder.input(self.shape) for _ in range(int(self.rng.integers(1, 3)))]
        self.bits: list[int] = []
        self.inputs = len(self.maps)
        makers = [self.quantize, self.conv, self.add, self.scale, self.per_channel, self.pool]
        for _ in range(nodes):
            makers[self.rng.choice(len(makers), p=[0.2, 0.25, 0.3, 0.1, 0.1, 0.05])]()
        # Always the last map, so that something is computed; else any, so that some are inner ones.
        computed = self.maps[self.inputs :] + self.bits
        chosen = [t for t in computed if self.rng.random() < 0.15]
        self.builder.output(*dict.fromkeys([*chosen, self.add()]))

    def content(self) -> bytes:
        return self.builder.finish()

    def one(self) -> int:
        """A map, more likely a late one, so that graphs grow deep."""
        late = min(len(self.maps) - 1, int(self.rng.geometric(0.3)) - 1)
        return self.maps[-1 - late]

    def put(self, tensor: int) -> int:
        self.maps.append(tensor)
        return tensor

    def quantize(self) -> int:
        y = self.builder.tensor((*self.shape[:-1], words(self.channels)), np.int32)
        self.bits.append(self.builder.custom("LceQuantize", [self.one()], y, None))
        return self.bits[-1]

    def conv(self) -> int:
        x = self.bits[int(self.rng.integers(len(self.bits)))] if self.bits else self.quantize()
        kernel = int(self.rng.choice([1, 3]))
        even = self.channels % 2 == 0
        options = {
            "channels_in": self.channels,
            "dilation_height_factor": 1,
            "dilation_width_factor": int(self.rng.choice([1, 2])),
            "fused_activation_function": int(self.rng.choice([0, 1])),
            "pad_values": int(self.rng.integers(2)) if even else 1,
            "padding": 0,
            "stride_height": 1,
            "stride_width": 1,
        }
        filters = random_bits(self.rng, self.channels, kernel, kernel, channels=self.channels)
        constants = [
            self.builder.constant(filters),
            self.builder.constant(self.rng.normal(size=self.channels).astype(np.float32)),
            self.builder.constant(self.rng.normal(size=self.channels).astype(np.float32) * 5),
            LEFT_OUT,
        ]
        y = self.builder.tensor(self.shape)
        return self.put(self.builder.custom("LceBconv2d", [x, *constants], y, options))

    def add(self) -> int:
        y = self.builder.tensor(self.shape)
        return self.put(self.builder.builtin("ADD", [self.one(), self.one()], y, _add()))

    def scale(self) -> int:
        factor = self.builder.constant(np.float32(self.rng.normal()))
        return self.with_constant(factor)

    def per_channel(self) -> int:
        shape = [(self.channels,), (1, 1, 1, self.channels)][int(self.rng.integers(2))]
        return self.with_constant(
            self.builder.constant(self.rng.normal(size=shape).astype(np.float32))
        )

    def with_constant(self, constant: int) -> int:
        operands = [self.one(), constant]
        if self.rng.random() < 0.3:
            operands.reverse()
        y = self.builder.tensor(self.shape)
        if self.rng.random() < 0.5:
            return self.put(self.builder.builtin("MUL", operands, y, _mul()))
        return self.put(self.builder.builtin("ADD", operands, y, _add()))

    def pool(self) -> int:
        options = schema.Pool2DOptionsT()
        options.filterHeight, options.filterWidth = 3, 2
        options.strideH = options.strideW = 1
        options.padding = schema.Padding.SAME
        y = self.builder.tensor(self.shape)
        return self.put(self.builder.builtin("MAX_POOL_2D", [self.one()], y, options))

    def noise(self, seed: int = 0) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        return [rng.normal(size=self.shape).astype(np.float32) * 20 for _ in range(self.inputs)]
