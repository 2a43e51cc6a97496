"""TFDS datasets whose masks bear other names and labels than the rest of this package expects."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from larq_groupnet.data.labels import NO_CLASS
from larq_groupnet.data.layouts import CITYSCAPES, cityscapes_meaning


class _Source(NamedTuple):
    image: str
    mask: str
    names: tuple[str, ...]
    lookup: np.ndarray


def _pet_lookup() -> np.ndarray:
    """Its trimaps hold 1 for the pet, 2 for the background and 3 for the border between them."""
    lookup = np.full(256, NO_CLASS)
    lookup[1:4] = range(3)
    return lookup


SOURCES = {
    "oxford_iiit_pet": _Source(
        "image", "segmentation_mask", ("pet", "background", "border"), _pet_lookup()
    ),
    "cityscapes": _Source(
        "image_left", "segmentation_label", tuple(CITYSCAPES.values()), cityscapes_meaning().lookup
    ),
}
"""TFDS name -> where its images and masks are, and what the labels mean."""
