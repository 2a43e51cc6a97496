"""Random operations of LCE, many to a file: each reads an input and writes an output of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tflite_builder import LEFT_OUT, TFLiteBuilder

SAME, VALID = 0, 1
NONE, RELU, RELU_N1_TO_1, RELU6 = range(4)


def words(channels: int) -> int:
    return (channels + 31) // 32


def random_bits(rng: np.random.Generator, *shape: int, channels: int) -> NDArray[np.int32]:
    """Packed signs of shape `(*shape, words)`, the bits above the last channel 0."""
    signs = np.zeros((*shape, 32 * words(channels)), np.uint8)
    signs[..., :channels] = rng.integers(0, 2, (*shape, channels))
    return np.packbits(signs, axis=-1, bitorder="little").view(np.int32)


@dataclass
class RandomFile:
    """A file of random operations, and inputs for it."""

    rng: np.random.Generator
    builder: TFLiteBuilder = field(default_factory=TFLiteBuilder)
    inputs: list[NDArray[Any]] = field(default_factory=list)

    def read(self, values: NDArray[Any], **options: Any) -> int:
        self.inputs.append(values)
        return self.builder.input(values.shape, values.dtype, **options)

    def add_random(self) -> None:
        kinds = [self.conv, self.quantize, self.dequantize, self.pool]
        kind = self.rng.choice(4, p=[0.7, 0.1, 0.1, 0.1])
        self.builder.output(kinds[kind]())

    def shape(self) -> tuple[int, int, int]:
        batch = int(self.rng.choice([1, 1, 1, 2, 3]))
        return batch, int(self.rng.integers(1, 13)), int(self.rng.integers(1, 13))

    def conv(self) -> int:
        rng = self.rng
        batch, height, width = self.shape()
        groups = int(rng.choice([1, 1, 1, 1, 2, 3]))
        channels = (
            int(rng.integers(1, 131)) if groups == 1 else 32 * groups * int(rng.integers(1, 3))
        )
        out = groups * int(rng.integers(1, 131 if groups == 1 else 50))
        kernel = [int(rng.integers(1, 6)), int(rng.integers(1, 6))]
        dilation = [int(d) for d in rng.choice([1, 1, 1, 2, 3], 2)]
        padding = int(rng.integers(2))
        if padding == VALID:  # the window has to fit
            kernel = [min(kernel[0], height), min(kernel[1], width)]
            dilation = [
                d if (k - 1) * d < size else 1
                for k, d, size in zip(kernel, dilation, (height, width), strict=True)
            ]
        # LCE's reference kernel pads odd numbers of channels with no zeros.
        pad_values = int(rng.integers(2)) if channels % 2 == 0 else 1
        x = self.read(random_bits(rng, batch, height, width, channels=channels))
        filters = random_bits(rng, out, *kernel, channels=channels // groups)
        if rng.random() < 0.1:  # as no converter writes them: bits above the last channel
            filters = rng.integers(-(2**31), 2**31, filters.shape).astype(np.int32)
        stride = [int(rng.integers(1, 4)), int(rng.integers(1, 4))]
        size = [
            -(-n // s) if padding == SAME else (n - (k - 1) * d - 1) // s + 1
            for n, s, k, d in zip((height, width), stride, kernel, dilation, strict=True)
        ]
        options = {
            "channels_in": channels,
            "dilation_height_factor": dilation[0],
            "dilation_width_factor": dilation[1],
            "fused_activation_function": int(rng.integers(4)),
            "pad_values": pad_values,
            "padding": padding,
            "stride_height": stride[0],
            "stride_width": stride[1],
        }
        return self.conv_output(x, filters, (batch, *size, out), options)

    def conv_output(
        self,
        x: int,
        filters: NDArray[np.int32],
        shape: tuple[int, ...],
        options: dict[str, int],
        kind: str | None = None,
    ) -> int:
        rng, out = self.rng, shape[-1]
        kind = kind or str(rng.choice(["float", "int8", "bits"]))
        most = int(np.prod(filters.shape[1:3])) * options["channels_in"]
        constants = [self.builder.constant(filters), LEFT_OUT, LEFT_OUT, LEFT_OUT]
        if kind == "bits":
            thresholds = rng.integers(-2, most + 2, out)
            thresholds[rng.random(out) < 0.1] = np.iinfo(np.int32).max
            thresholds[rng.random(out) < 0.1] = np.iinfo(np.int32).min
            constants[3] = self.builder.constant(thresholds.astype(np.int32))
            # Where it pads with zeros LCE reads a multiplier, needed or not.
            if options["padding"] == SAME and options["pad_values"] == 0:
                constants[1] = self.builder.constant(np.ones(out, np.float32))
            y = self.builder.tensor((*shape[:-1], words(out)), np.int32)
        else:
            constants[1] = self.builder.constant(rng.normal(size=out).astype(np.float32))
            constants[2] = self.builder.constant(rng.normal(size=out).astype(np.float32) * 3)
            if kind == "int8":
                scale = float(np.float32(rng.uniform(0.02, 1) * np.sqrt(most) / 8))
                y = self.builder.tensor(
                    shape, np.int8, scale=scale, zero_point=int(rng.integers(-128, 128))
                )
            else:
                y = self.builder.tensor(shape, np.float32)
        return self.builder.custom("LceBconv2d", [x, *constants], y, options)

    def quantize(self) -> int:
        rng = self.rng
        shape = (*self.shape(), int(rng.integers(1, 131)))
        kind = rng.choice(["float", "int8", "bool"])
        if kind == "float":
            values = rng.normal(size=shape).astype(np.float32)
            # No denormal numbers: some interpreters, LCE's among them, take those for 0.
            special = [0.0, -0.0, np.nan, np.inf, -np.inf, 1.2e-38, -1.2e-38]
            mask = rng.random(shape) < 0.2
            values[mask] = rng.choice(np.array(special, np.float32), int(mask.sum()))
            x = self.read(values)
        elif kind == "int8":
            values = rng.integers(-128, 128, shape).astype(np.int8)
            x = self.read(values, scale=0.1, zero_point=int(rng.integers(-128, 128)))
        else:
            x = self.read(rng.integers(0, 2, shape).astype(np.bool_))
        y = self.builder.tensor((*shape[:-1], words(shape[-1])), np.int32)
        return self.builder.custom("LceQuantize", [x], y, None)

    def dequantize(self) -> int:
        rng = self.rng
        channels = int(rng.integers(1, 131))
        values = random_bits(rng, *self.shape(), channels=channels)
        x = self.read(values)
        shape = (*values.shape[:-1], channels)
        kind = rng.choice(["float", "int8", "bool"])
        if kind == "int8":
            y = self.builder.tensor(
                shape,
                np.int8,
                scale=float(np.float32(rng.uniform(0.005, 2))),
                zero_point=int(rng.integers(-128, 128)),
            )
        else:
            y = self.builder.tensor(shape, np.float32 if kind == "float" else np.bool_)
        return self.builder.custom("LceDequantize", [x], y, None)

    def pool(self) -> int:
        rng = self.rng
        values = random_bits(rng, *self.shape(), channels=int(rng.integers(1, 131)))
        batch, height, width, depth = values.shape
        padding = int(rng.integers(2))
        kernel = [int(k) for k in rng.integers(1, 5, 2)]
        if padding == VALID:
            kernel = [min(kernel[0], height), min(kernel[1], width)]
        stride = [int(s) for s in rng.integers(1, 4, 2)]
        size = [
            -(-n // s) if padding == SAME else (n - k) // s + 1
            for n, s, k in zip((height, width), stride, kernel, strict=True)
        ]
        options = {
            "filter_height": kernel[0],
            "filter_width": kernel[1],
            "padding": padding,
            "stride_height": stride[0],
            "stride_width": stride[1],
        }
        y = self.builder.tensor((batch, *size, depth), np.int32)
        return self.builder.custom("LceBMaxPool2d", [self.read(values)], y, options)
