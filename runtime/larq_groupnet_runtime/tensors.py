"""Inputs and outputs of a file, and conversion between stored and real values."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from larq_groupnet_runtime.errors import InputError


@dataclasses.dataclass(frozen=True)
class TensorDetails:
    """An input or an output of a file.

    Attributes:
        name: As in the file.
        shape: Shape, including the batch.
        dtype: Type of the stored values.
        scale: A stored integer q means `scale * (q - zero_point)`; 0 for plain integers.
        zero_point: See `scale`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float
    zero_point: int


def details(found: dict[str, Any]) -> TensorDetails:
    """Converts an interpreter's description of a tensor."""
    scale, zero_point = found["quantization"]
    dtype: DTypeLike = found["dtype"]
    shape = tuple(int(size) for size in found["shape"])
    return TensorDetails(found["name"], shape, np.dtype(dtype), float(scale), int(zero_point))


def stored(x: NDArray[Any], one: TensorDetails) -> NDArray[Any]:
    """Converts values to the tensor's stored type."""
    # Binary layers would turn a NaN into a valid sign.
    if np.issubdtype(x.dtype, np.floating):
        with np.errstate(over="ignore"):
            finite = np.isfinite(x.astype(np.float32, copy=False))
        if not finite.all():
            raise InputError(
                f"predict: expected numbers that float32 holds. Received: {(~finite).sum()} of "
                f"{x.size} that are NaN or infinite"
            )
    if x.dtype == one.dtype:
        return np.ascontiguousarray(x)
    if np.issubdtype(x.dtype, np.floating) and one.dtype == np.float32:
        return np.ascontiguousarray(x, np.float32)
    if np.issubdtype(x.dtype, np.floating) and one.scale:
        steps = np.rint(x / np.float32(one.scale) + one.zero_point)
        limits = np.iinfo(one.dtype)
        return np.ascontiguousarray(np.clip(steps, limits.min, limits.max).astype(one.dtype))
    floats = "floats" if one.dtype == np.float32 or one.scale else str(one.dtype)
    hint = "; preprocess(image) turns an image into them" if floats == "floats" else ""
    raise InputError(f"predict: expected {floats}{hint}. Received: dtype={x.dtype}")


def meant(values: NDArray[Any], one: TensorDetails) -> NDArray[Any]:
    """Converts stored integers to real numbers."""
    if not one.scale or not np.issubdtype(one.dtype, np.integer):
        return values
    return (values.astype(np.float32) - one.zero_point) * np.float32(one.scale)
