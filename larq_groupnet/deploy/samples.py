"""Images that a converted file is calibrated or verified on, checked before the work begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from larq_groupnet.errors import ConversionError


def check_samples(
    data: Any, shape: Sequence[int | None], dtype: DTypeLike, name: str
) -> NDArray[Any]:
    """Images as an array that a network can read.

    Args:
        data: What a user gives.
        shape: `(height, width, channels)` of the network; `None` for a size that it leaves open.
        dtype: What it reads: float32, which other floats are taken for, or uint8. Integers are no
            floats: they are pixels of 0 to 255 that nobody has normalised.
        name: Of the argument, for the error.

    Returns:
        `(n, *shape)` of the type `dtype`.

    Raises:
        ConversionError: If the images are of another shape or type, not finite, or none.
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
        advice = ". Normalise them, or give x.astype('float32') if it reads 0 to 255" * pixels
        raise ConversionError(f"{expected} {type(data).__name__} of {found.dtype}{advice}")
    fits = found.ndim == 1 + len(shape) and all(
        known in (None, size) for known, size in zip(shape, found.shape[1:], strict=True)
    )
    if not fits or not len(found):
        raise ConversionError(f"{expected} shape={found.shape}")
    if not np.isfinite(found).all():
        raise ConversionError(f"{expected} values that are not finite")
    return found.astype(dtype, copy=False)
