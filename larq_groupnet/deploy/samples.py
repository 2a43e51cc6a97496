"""Checks the images that calibrate or verify a converted file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from larq_groupnet.errors import ConversionError


def check_samples(
    data: Any, shape: Sequence[int | None], dtype: DTypeLike, name: str
) -> NDArray[Any]:
    """Checks images, and returns an array that a network can read.

    Args:
        data: The user's images.
        shape: `(height, width, channels)` of the network; `None` for an open size.
        dtype: Type that the network reads: uint8, or float32, to which other floats are converted.
            Integers are refused as floats: they are pixels of 0 to 255, not normalised.
        name: Name of the argument, for the error.

    Returns:
        `(n, *shape)` of type `dtype`.

    Raises:
        ConversionError: If the images have another shape or type, are not finite, or are empty.
    """
    dtype = np.dtype(dtype)
    expected = (
        f"{name}: expected samples of shape ({', '.join(map(str, ['n', *shape]))}), an array of "
        f"finite {dtype}, as the network reads them. Received:"
    )
    try:
        found = np.asarray(data)
    except (TypeError, ValueError) as error:
        raise ConversionError(f"{expected} {type(data).__name__}: {error}") from error
    if found.dtype.kind != dtype.kind or (dtype == np.uint8 and found.dtype != dtype):
        pixels = found.dtype.kind in "ui" and dtype != np.uint8
        advice = ". Normalise them, or pass x.astype('float32') if it reads 0 to 255" * pixels
        raise ConversionError(f"{expected} {type(data).__name__} of {found.dtype}{advice}")
    fits = found.ndim == 1 + len(shape) and all(
        known in (None, size) for known, size in zip(shape, found.shape[1:], strict=True)
    )
    if not fits or not len(found):
        raise ConversionError(f"{expected} shape={found.shape}")
    if not np.isfinite(found).all():
        raise ConversionError(f"{expected} values that are not finite")
    return found.astype(dtype, copy=False)
