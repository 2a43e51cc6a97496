"""Float max-pools in front of what the engine fuses: claimed where that pays, equal to NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from engines import KERNELS, Engine, assert_same_bits, reference
from random_ops import random_bits, words
from tensorflow.lite.python import schema_py_generated as schema
from test_hostile import OPTIONS
from tflite_builder import LEFT_OUT, TFLiteBuilder

CLAIMED = 64
"""Channels of a file whose pool is claimed."""


def pool(
    filters: tuple[int, int] = (3, 3),
    strides: tuple[int, int] = (1, 1),
    *,
    same: bool = True,
    activation: int = schema.ActivationFunctionType.NONE,
) -> Any:
    options = schema.Pool2DOptionsT()
    options.filterHeight, options.filterWidth = filters
    options.strideH, options.strideW = strides
    options.padding = schema.Padding.SAME if same else schema.Padding.VALID
    options.fusedActivationFunction = activation
    return options


def network(options: Any, channels: int = CLAIMED, reader: str | None = None) -> bytes:
    """Pool, MUL, ADD, LceQuantize; a `reader` of the pool's result besides stays as it is."""
    builder = TFLiteBuilder()
    shape = (1, 32, 32, channels)
    x = builder.input(shape)
    pooled = builder.builtin("MAX_POOL_2D", [x], builder.tensor(shape), options)
    factor, shift = (builder.constant(np.float32(value)) for value in (-1.25, 0.1))
    product = builder.builtin("MUL", [pooled, factor], builder.tensor(shape), schema.MulOptionsT())
    total = builder.builtin("ADD", [product, shift], builder.tensor(shape), schema.AddOptionsT())
    bits = builder.tensor((*shape[:-1], words(channels)), np.int32)
    builder.output(total, builder.custom("LceQuantize", [total], bits, None))
    if reader:
        more = pool() if reader == "MAX_POOL_2D" else None
        builder.output(builder.builtin(reader, [pooled], builder.tensor(shape), more))
    return builder.finish()


def largest(x: np.ndarray, options: Any) -> np.ndarray:
    """The pool by NumPy."""
    spans = []
    for size, window, stride in (
        (x.shape[1], options.filterHeight, options.strideH),
        (x.shape[2], options.filterWidth, options.strideW),
    ):
        same = options.padding == schema.Padding.SAME
        out = -(-size // stride) if same else (size - window) // stride + 1
        before = max((out - 1) * stride + window - size, 0) // 2 if same else 0
        first = [i * stride - before for i in range(out)]
        spans.append([slice(max(at, 0), at + window) for at in first])
    rows = [[x[:, row, column].max(axis=(1, 2)) for column in spans[1]] for row in spans[0]]
    return np.moveaxis(np.array(rows), 2, 0)


@pytest.mark.parametrize("seed", range(30))
def test_random_pool_equals_numpy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    filters, strides = ((int(a), int(b)) for a, b in rng.integers(1, 6, (2, 2)))
    options = pool(filters, strides, same=bool(rng.integers(2)))
    content = network(options)
    for kernel in KERNELS:
        engine = Engine(content, kernel=kernel, num_threads=1 + seed % 4, profile=True)
        for _ in range(2):
            # Only the file's channels fill blocks.
            channels = int(rng.choice([CLAIMED, rng.integers(1, 131)]))
            shape = (*(int(n) for n in rng.integers((1, 5, 5), (3, 16, 16))), channels)
            engine.interpreter.resize_tensor_input(0, shape)
            engine.interpreter.allocate_tensors()
            x = rng.normal(size=shape).astype(np.float32)
            want = largest(x, options) * np.float32(-1.25) + np.float32(0.1)
            total, bits = engine([x])
            case = f"{kernel}, {filters}, {strides}, {shape}"
            assert_same_bits([total], [want], case)
            packed = np.packbits(want < 0, axis=-1, bitorder="little")
            got = bits.view(np.uint8)
            np.testing.assert_array_equal(got[..., : packed.shape[-1]], packed, case)
            assert not got[..., packed.shape[-1] :].any(), case
        assert [name for name, _, _ in engine.delegate.profile()] == ["MAX_POOL_2D"]


@pytest.mark.parametrize(
    ("options", "more", "fuse"),
    [
        (pool(), {}, False),
        (pool(), {"channels": 48}, True),
        (pool(), {"reader": "RELU"}, True),
        (pool(), {"reader": "MAX_POOL_2D"}, True),
        (pool(activation=schema.ActivationFunctionType.RELU), {}, True),
    ],
)
def test_pool_that_does_not_pay_stays_with_the_interpreter(
    options: Any, more: dict[str, Any], fuse: bool
) -> None:
    content = network(options, **more)
    engine = Engine(content, fuse=fuse, profile=True)
    assert "MAX_POOL_2D" not in [name for name, _, _ in engine.delegate.profile()]
    (detail,) = engine.interpreter.get_input_details()
    x = np.random.default_rng(0).normal(size=detail["shape"]).astype(np.float32)
    assert_same_bits(engine([x]), reference(content, [x]), "left alone")


@pytest.mark.parametrize("kernel", KERNELS)
def test_sum_with_its_own_input_is_not_stored_over_it(kernel: str) -> None:
    """Later windows read the rows of the input again."""
    rng = np.random.default_rng(0)
    shape = (1, 9, 7, CLAIMED)
    builder = TFLiteBuilder()

    def add(a: int, b: int) -> int:
        return builder.builtin("ADD", [a, b], builder.tensor(shape), schema.AddOptionsT())

    x = add(builder.input(shape), builder.constant(np.float32(0.5)))
    pooled = builder.builtin("MAX_POOL_2D", [x], builder.tensor(shape), pool())
    total = add(pooled, builder.constant(np.float32(-0.5)))
    residual = add(total, x)
    bits = builder.tensor((*shape[:-1], 2), np.int32)
    builder.custom("LceQuantize", [residual], bits, None)
    constants = [builder.constant(random_bits(rng, CLAIMED, 3, 3, channels=CLAIMED))]
    constants += [builder.constant(np.ones(CLAIMED, np.float32)) for _ in range(2)]
    y = builder.custom("LceBconv2d", [bits, *constants, LEFT_OUT], builder.tensor(shape), OPTIONS)
    builder.output(add(residual, y))
    content = builder.finish()
    noise = [rng.normal(size=shape).astype(np.float32)]
    engine = Engine(content, kernel=kernel, num_threads=2)
    assert_same_bits(engine(noise), reference(content, noise), kernel)


def test_window_without_room_is_refused_with_a_message() -> None:
    engine = Engine(network(pool((9, 9), same=False)))
    engine.interpreter.resize_tensor_input(0, (1, 9, 8, CLAIMED))
    with pytest.raises(RuntimeError, match="MAX_POOL_2D: expected an input of at least 9"):
        engine.interpreter.allocate_tensors()
    with pytest.raises(RuntimeError, match="MAX_POOL_2D: expected an image, and a window of"):
        Engine(network(pool((2**31 - 1, 1))))


def test_window_larger_than_the_image_is_cut() -> None:
    options = pool((2**30 - 1, 7), (2**31 - 1, 2))
    engine = Engine(network(options))
    x = np.random.default_rng(0).normal(size=(1, 32, 32, CLAIMED)).astype(np.float32)
    want = largest(x, options) * np.float32(-1.25) + np.float32(0.1)
    assert_same_bits(engine([x])[:1], [want], "one row")
