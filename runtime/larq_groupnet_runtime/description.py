"""The description in a converted file: class names and preprocessing.

larq-groupnet appends a ZIP archive with `larq_groupnet.json` to the flatbuffer, where TensorFlow
Lite keeps the files that belong to a model. Files from other converters have none. The content is
not trusted: at most `MOST_BYTES` are read, and every value is checked.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import zipfile
from typing import Any

import numpy as np

from larq_groupnet_runtime.errors import InputError, one_line
from larq_groupnet_runtime.images import NORMALISATIONS

NAME = "larq_groupnet.json"
MOST_BYTES = 2**20
"""Limit of the unpacked description; the same as in larq-groupnet."""

_MOST_SCALES, _LEAST_SCALE, _LARGEST_SCALE = 16, 0.01, 8.0
SCALES = f"at most {_MOST_SCALES} numbers in [{_LEAST_SCALE:g}, {_LARGEST_SCALE:g}]"

_JOINERS = "\u200c\u200d\u00a0"
"""Valid in names (Persian, emoji), although `str.isprintable` is False for them."""

_PREPROCESSING = ("size", "normalisation", "central_crop", "scales", "flip", "letterbox")


@dataclasses.dataclass(frozen=True)
class Description:
    """Class names and preprocessing of a network.

    Attributes:
        classes: Names in the order of their labels; empty if unknown.
        normalisation: One of `images.NORMALISATIONS`, or `None` if unknown.
        central_crop: For classifiers: side of the square that is read, divided by the shorter side.
        scales: For segmentation: factors on the image's own size at which it is read; empty to
            squeeze the whole image into the network's input.
        flip: For segmentation: True to also read the mirror image.
        letterbox: True to keep the aspect ratio of an image that would be squeezed: it is scaled to
            fit, and the mean colour fills the rest, below or on the right.
        logits: True if the network returns logits.
        temperature: For classifiers: divides the logits before the softmax.
    """

    classes: tuple[str, ...] = ()
    normalisation: str | None = None
    central_crop: float = 1.0
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    letterbox: bool = False
    logits: bool = False
    temperature: float = 1.0

    @classmethod
    def from_json(cls, content: Any) -> Description:
        """Checks every value.

        Raises:
            InputError: If larq-groupnet does not write such a value.
        """
        _expect(isinstance(content, dict), "an object", content)
        classes = content.get("classes", [])
        _expect(isinstance(classes, list), "classes: a list of names", classes)
        for name in classes:
            shown = isinstance(name, str) and all(x.isprintable() or x in _JOINERS for x in name)
            _expect(shown, "a class name that can be printed", name)
        known = content.get("preprocessing", {})
        _expect(isinstance(known, dict), "preprocessing: an object", known)
        new = ", ".join(sorted(set(known) - set(_PREPROCESSING)))
        fields = f"{', '.join(_PREPROCESSING)}. Install the newest version of this package"
        _expect(not new, f"a preprocessing of {fields}", new)
        normalisation, names = known.get("normalisation"), " or ".join(NORMALISATIONS)
        right = normalisation in (None, *NORMALISATIONS)
        _expect(right, f"normalisation: {names}", normalisation)
        crop = known.get("central_crop", 1.0)
        _expect(_is_number(crop) and 0 < crop <= 1, "central_crop: a number in (0, 1]", crop)
        scales = scales_of(known.get("scales", [1.0]))
        _expect(scales is not None, f"scales: {SCALES}", known.get("scales"))
        flip, letterbox = known.get("flip", False), known.get("letterbox", False)
        _expect(isinstance(flip, bool), "flip: true or false", flip)
        _expect(isinstance(letterbox, bool), "letterbox: true or false", letterbox)
        temperature = content.get("temperature", 1.0)
        right = _is_number(temperature) and 0 < temperature < math.inf
        _expect(right, "temperature: a number above 0", temperature)
        return cls(
            tuple(classes),
            normalisation,
            float(crop),
            scales or (),
            flip,
            letterbox,
            content.get("output") == "logits",
            float(temperature),
        )


def read_description(content: bytes) -> Description:
    """Reads the description after the flatbuffer; returns an empty one if there is none.

    Args:
        content: The whole `.tflite`.

    Raises:
        InputError: If the description is damaged, larger than `MOST_BYTES` or has a value that
            larq-groupnet does not write.
    """
    file = io.BytesIO(content)
    if not zipfile.is_zipfile(file):
        return Description()
    try:
        with zipfile.ZipFile(file) as archive:
            if NAME not in archive.namelist():
                return Description()
            # LZMA allocates as much memory as the file asks for.
            written = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            if archive.getinfo(NAME).compress_type not in written:
                raise ValueError("a compression that larq-groupnet does not write")
            with archive.open(NAME) as stream:
                text = stream.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES / 2**20:g} MiB")
        return Description.from_json(json.loads(text))
    except InputError:
        raise
    # A damaged archive can raise anything; deep nesting raises RecursionError.
    except Exception as error:
        raise InputError(
            f"{NAME}: expected the description that larq-groupnet writes behind a file. "
            f"Received: {one_line(error)}"
        ) from error


def scales_of(given: Any) -> tuple[float, ...] | None:
    """Factors on the size of an image, or `None` unless they match `SCALES`."""
    try:
        found = np.asarray(given)
    except ValueError:  # Lists of different lengths.
        return None
    right = found.ndim == 1 and len(found) <= _MOST_SCALES and found.dtype.kind in "fiu"
    if not right or not np.all((found >= _LEAST_SCALE) & (found <= _LARGEST_SCALE)):
        return None
    return tuple(map(float, found))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _expect(right: bool, expected: str, received: Any) -> None:
    if not right:
        raise InputError(f"{NAME}: expected {expected}. Received: {received!r:.80}")
