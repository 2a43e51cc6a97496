"""Files with faults, foreign graphs, impossible options: refused with a message, no crash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from engines import EXHAUSTIVE, KERNELS, Engine, assert_same_bits
from random_ops import random_bits
from tflite_builder import LEFT_OUT, TFLiteBuilder

from larq_groupnet_runtime import load_delegate

HERE = Path(__file__).parent
FILES = 50_000 if EXHAUSTIVE else 5000

OPTIONS = {
    "channels_in": 64,
    "dilation_height_factor": 1,
    "dilation_width_factor": 1,
    "fused_activation_function": 0,
    "pad_values": 1,
    "padding": 0,
    "stride_height": 1,
    "stride_width": 1,
}


def conv(filter_shape: tuple[int, ...] = (32, 3, 3, 2), **options: int | None) -> bytes:
    """A file of one convolution of 64 channels; an option of `None` is left out."""
    builder = TFLiteBuilder()
    x = builder.input((1, 5, 5, 2), np.int32)
    filters = builder.constant(np.zeros(filter_shape, np.int32))
    ones = builder.constant(np.ones(filter_shape[0], np.float32))
    y = builder.tensor((1, 5, 5, filter_shape[0]))
    given = {name: value for name, value in {**OPTIONS, **options}.items() if value is not None}
    builder.output(builder.custom("LceBconv2d", [x, filters, ones, ones, LEFT_OUT], y, given))
    return builder.finish()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (conv(stride_height=None), "LceBconv2d: expected the option stride_height"),
        (conv(stride_height=0), "expected stride_height from 1 to .* Received: 0"),
        (conv(stride_width=-3), "expected stride_width from 1 to .* Received: -3"),
        (conv(padding=7), "expected padding from 0 to 1. Received: 7"),
        (conv(fused_activation_function=4), "fused_activation_function from 0 to 3. Received: 4"),
        (conv(channels_in=0), "expected channels_in from 1"),
        (conv(channels_in=2**40), "expected channels_in from 1"),
        (conv(channels_in=96), "whose words and channels divide into groups"),
        (conv(dilation_width_factor=2**30), "a window of at most"),
        (
            conv(padding=1, dilation_height_factor=3),
            "an input of at least 7 .* Received: 5",
        ),
        (conv(filter_shape=(32, 3, 3, 1), channels_in=33), "groups of a multiple of 32 channels"),
    ],
)
def test_faulty_convolution_is_refused_with_a_message(content: bytes, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        Engine(content)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 2}, "expected the options num_threads, kernel, fuse.* Received: threads"),
        ({"num_threads": 0}, "num_threads: expected a number from 1 to 64. Received: 0"),
        ({"num_threads": "two"}, "num_threads: expected a number .* Received: two"),
        ({"kernel": "mmx"}, f"kernel: expected auto or .*{','.join(KERNELS)}.* Received: mmx"),
        ({"fuse": 2}, "fuse: expected a number from 0 to 1. Received: 2"),
    ],
)
def test_unknown_option_is_refused_with_a_message(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_delegate(**options)


def test_mutated_files_never_crash() -> None:
    """In other processes, under AddressSanitizer if LARQ_GROUPNET_RUNTIME_SANITIZED names such a
    build (`make test-runtime` makes one where there is a compiler)."""
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    environment["OMP_NUM_THREADS"] = "1"
    sanitized = os.environ.get("LARQ_GROUPNET_RUNTIME_SANITIZED")
    if sanitized:
        compiler = shutil.which("g++")
        assert compiler, "the sanitized build needs the libraries of its compiler, g++"
        libraries = [
            subprocess.check_output([compiler, f"-print-file-name={name}"], text=True).strip()
            for name in ("libasan.so", "libubsan.so")
        ]
        environment["LARQ_GROUPNET_RUNTIME_LIBRARY"] = sanitized
        environment["LD_PRELOAD"] = " ".join(libraries)
        environment["ASAN_OPTIONS"] = "detect_leaks=0:allocator_may_return_null=1"
    command = [sys.executable, str(HERE / "mutate.py"), "0", str(FILES)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3000)
    assert run.returncode == 0, run.stderr[-5000:]
    refused, computed = (int(word) for word in run.stdout.split() if word.isdigit())
    assert refused + computed == FILES and refused > FILES // 4 and computed > FILES // 8


def test_file_without_lce_operations_is_left_alone() -> None:
    builder = TFLiteBuilder()
    x = builder.input((1, 4, 4, 64))
    total = builder.builtin("ADD", [x, x], builder.tensor((1, 4, 4, 64)), None)
    builder.output(builder.builtin("RELU", [total], builder.tensor((1, 4, 4, 64)), None))
    engine = Engine(builder.finish())
    names = [op["op_name"] for op in engine.interpreter._get_ops_details()]
    assert names == ["ADD", "RELU"]
    values = np.random.default_rng(0).normal(size=(1, 4, 4, 64)).astype(np.float32)
    assert_same_bits(engine([values]), [np.maximum(values + values, 0)], "float file")


def test_odd_channels_with_zero_padding_equal_a_float_convolution() -> None:
    """LCE's reference kernel refuses them; its default kernel rounds. NumPy says what is right."""
    rng = np.random.default_rng(0)
    channels, size = 37, 5
    builder = TFLiteBuilder()
    bits = random_bits(rng, 1, size, size, channels=channels)
    filters = random_bits(rng, 8, 3, 3, channels=channels)
    x = builder.input(bits.shape, np.int32)
    constants = [builder.constant(filters)] + [
        builder.constant(values.astype(np.float32)) for values in (np.ones(8), np.zeros(8))
    ]
    options = {**OPTIONS, "channels_in": channels, "pad_values": 0}
    y = builder.tensor((1, size, size, 8))
    builder.output(builder.custom("LceBconv2d", [x, *constants, LEFT_OUT], y, options))

    def signs(packed: np.ndarray) -> np.ndarray:
        unpacked = np.unpackbits(packed.view(np.uint8), axis=-1, bitorder="little")
        return 1.0 - 2.0 * unpacked[..., :channels]

    padded = np.pad(signs(bits)[0], ((1, 1), (1, 1), (0, 0)))
    want = np.zeros((1, size, size, 8), np.float32)
    for i in range(size):
        for j in range(size):
            window = padded[i : i + 3, j : j + 3]
            want[0, i, j] = np.einsum("yxc,oyxc->o", window, signs(filters))
    for kernel in KERNELS:
        assert_same_bits(Engine(builder.finish(), kernel=kernel)([bits]), [want], kernel)
