"""Mask files as they are stored. Without TensorFlow."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from larq_groupnet.data import VOID


def read_labels(path: Path | str | bytes) -> np.ndarray:
    """The stored labels of a mask file `(height, width, 1) uint8`.

    Those of a palette image are the numbers of its colours, not the colours.

    Raises:
        ValueError: If its pixels are no labels.
    """
    with opened(path) as image:
        labels = np.asarray(image)
        if labels.ndim != 2 or labels.max(initial=0) > VOID:
            raise ValueError(f"a mask is a palette or grey 8-bit PNG, not of mode {image.mode!r}")
        return labels.astype(np.uint8)[..., None]


def opened(path: Path | str | bytes | np.ndarray) -> Image.Image:
    """An image file; TensorFlow hands its path over as bytes, or eagerly as an array."""
    return Image.open(os.fsdecode(path.item() if isinstance(path, np.ndarray) else path))
