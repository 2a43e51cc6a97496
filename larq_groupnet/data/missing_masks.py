"""Photos without a mask, and files that may be their masks under another name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from larq_groupnet.data.listing import printable, relative

NO_MASK = "it has no mask: "
"""Start of the reason why a photo without a mask is bad."""


def missing(wanted: Mapping[str, str], others: Iterable[str], root: Path) -> dict[str, str]:
    """Photo, relative to `root` -> why it is bad: the expected mask, and a file of a similar name.

    Args:
        wanted: Photo without a mask -> the path at which a mask is expected.
        others: Paths of the files among the masks that belong to no photo.
        root: The folder of the dataset.
    """
    near = _near_names(wanted, others)
    return {
        relative(photo, root): f"{NO_MASK}expected {relative(mask, root)}"
        + (f"; {near[photo]} is there" if photo in near else "")
        for photo, mask in wanted.items()
    }


def _near_names(photos: Iterable[str], files: Iterable[str]) -> dict[str, str]:
    """Photo -> the name of a file that resembles its own: `n0_mask.png` for `n0.jpg`."""
    whole: dict[str, str] = {}
    parts: dict[str, str] = {}
    for file in files:
        stem, name = _stem(file), printable(os.path.basename(file))
        whole.setdefault(stem, name)
        for part in _parts(stem):
            parts.setdefault(part, name)
    found = {}
    for photo in photos:
        stem = _stem(photo)
        names = [whole.get(stem), parts.get(stem), *map(whole.get, _parts(stem))]
        if near := next(filter(None, names), None):
            found[photo] = near
    return found


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0].lower()


def _parts(stem: str) -> list[str]:
    """A name without its last words, and without its first words, longest first."""
    cuts = [match.span() for match in re.finditer(r"[\W_]+", stem)]
    parts = [stem[:start] for start, _ in cuts] + [stem[end:] for _, end in cuts]
    return sorted(filter(None, parts), key=len, reverse=True)
