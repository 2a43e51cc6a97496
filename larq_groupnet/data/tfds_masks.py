"""TFDS datasets whose masks have other names and labels than this package expects."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from larq_groupnet.data.labels import only
from larq_groupnet.data.layouts import CITYSCAPES, cityscapes_meaning


class _Source(NamedTuple):
    image: str
    mask: str
    names: tuple[str, ...]
    lookup: np.ndarray


SOURCES = {
    # Its trimaps hold 1 for the pet, 2 for the background and 3 for the border between them.
    "oxford_iiit_pet": _Source(
        "image", "segmentation_mask", ("pet", "background", "border"), only((1, 2, 3), ()).lookup
    ),
    "cityscapes": _Source(
        "image_left", "segmentation_label", tuple(CITYSCAPES.values()), cityscapes_meaning().lookup
    ),
}
"""TFDS name -> features of its images and masks, and the meaning of its labels."""
