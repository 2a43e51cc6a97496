"""The meaning of the values in mask files, and class names. Does not import TensorFlow."""

from __future__ import annotations

import dataclasses
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from larq_groupnet.data import VOID
from larq_groupnet.data.images import opened
from larq_groupnet.errors import DatasetError

NO_CLASS = -1
"""In a `Meaning`: marks a value that no mask may hold."""

LEVELS = "levels"
"""The mapping that makes each value that occurs a class, in ascending order."""

MOST_UNNAMED = 64
"""Largest number of classes of masks without names; more values look like soft edges."""

_LOSSLESS = ("PNG", "TIFF", "BMP", "GIF", "WEBP")
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")

_ROW = re.compile(
    r"(?P<grey>\d+|\*)(?P<rest>[\s,;]+\d+[\s,;]+\d+(?=[\s,;]))?[\s,;:]+(?P<name>.*\S)"
)

_CVAT = re.compile(r"^([^:]+):(\d+,\d+,\d+):[^:]*:[^:]*$")
"""A line of the `labelmap.txt` that CVAT exports: `NAME:RED,GREEN,BLUE:PARTS:ACTIONS`."""

_CSV = re.compile(r"^([^,]*[^,\d\s][^,]*),\s*(\d+),\s*(\d+),\s*(\d+)$")
"""A line of the `class_dict.csv` of Kaggle's sets: `NAME,RED,GREEN,BLUE`."""

_TITLE = re.compile(r"name,\s*r,\s*g,\s*b|pixel value,\s*class", re.IGNORECASE)
"""The header of `class_dict.csv`, and of Roboflow's `_classes.csv` with lines `VALUE, NAME`."""


@dataclasses.dataclass(frozen=True)
class Meaning:
    """The meaning of the values in masks.

    Attributes:
        lookup: `(256,)` integers: the class of each value of a grey or palette mask, `VOID`, or
            `NO_CLASS`.
        colours: For colour masks: `0xRRGGBB` to class or `VOID`; empty for other masks.
        other: The meaning of colours that are not in `colours`: `VOID` or `NO_CLASS`.
        void: The values of grey masks that are void.
    """

    lookup: np.ndarray
    colours: Mapping[int, int] = dataclasses.field(default_factory=dict)
    other: int = NO_CLASS
    void: tuple[int, ...] = (VOID,)

    def read(self, path: Path | str | bytes) -> np.ndarray:
        """The classes of a mask file `(height, width, 1) int16`, `VOID` and `NO_CLASS` included.

        Raises:
            ValueError: If its pixels are not labels.
        """
        return self.classes(self.stored(path))

    def stored(self, path: Path | str | bytes) -> np.ndarray:
        """The values in a mask file `(height, width, 1)`: labels `uint8`, or `0xRRGGBB int32`.

        Raises:
            ValueError: If its pixels are not labels.
        """
        return _read_colours(path) if self.colours else read_labels(path)

    def classes(self, stored: np.ndarray) -> np.ndarray:
        """Maps values from `stored` to classes `int16`, `VOID` and `NO_CLASS` included."""
        return self._table.take(stored)

    @cached_property
    def _table(self) -> np.ndarray:
        """The class of each label, or of each of the 2^24 colours (32 MB)."""
        if not self.colours:
            return self.lookup.astype(np.int16)
        table = np.full(2**24, self.other, np.int16)
        table[list(self.colours)] = list(self.colours.values())
        return table

    def key(self) -> str:
        """A text that is different for every other meaning."""
        return f"{self.lookup.tolist()} {sorted(self.colours.items())} {self.other}"


def index_labels(num_classes: int = VOID, void: Iterable[int] = (VOID,)) -> Meaning:
    """For masks whose values are the class numbers, counted without the void values."""
    labels = [value for value in range(256) if value not in set(void)]
    return only(labels[: min(num_classes, VOID)], void)


def only(values: Iterable[int], void: Iterable[int]) -> Meaning:
    """For masks in which each of these values is a class, in ascending order."""
    lookup = np.full(256, NO_CLASS)
    lookup[list(void)] = VOID
    classes = sorted(set(values) - set(void))
    lookup[classes] = range(len(classes))
    return Meaning(lookup, void=tuple(void))


def parse_void(text: str | None) -> tuple[int, ...]:
    """The void values: the values in the text, and 255 unless the text is `"none"`.

    Raises:
        DatasetError: If the text holds anything but values of 0 to 255.
    """
    if text == "none":
        return ()
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    if not all(part.isdecimal() and int(part) <= VOID for part in parts):
        raise DatasetError(
            f"void: expected values of 0 to 255, such as void=11 or void=0,255, or void=none. "
            f"Received: void={text}"
        )
    return tuple(sorted({*map(int, parts), VOID}))


def read_mapping(path: Path, void: Iterable[int]) -> tuple[list[str], Meaning]:
    """Reads class names, and the meaning of mask values, from a text file.

    Each line is `VALUE NAME` for grey and palette masks, or `RED GREEN BLUE NAME` for colours, or a
    line of CVAT's `labelmap.txt`, Kaggle's `class_dict.csv` or Roboflow's `_classes.csv`. Values
    with the same name are one class; classes are numbered in the order in which their names first
    appear. The name `void` means void, and the value `*` stands for all values that are not listed.
    A comment starts with `#` at the beginning of a line or after white space.

    Raises:
        DatasetError: If a line has none of these forms, or there are fewer than two classes.
    """
    if not path.is_file():
        raise DatasetError(f"mapping: expected a file, or mapping={LEVELS}. Received: {path}")
    rows: dict[int | str, str] = {}
    lengths: set[int] = set()  # Numbers per value: 1 for greys, 3 for colours.
    for number, line in enumerate(read_text(path).splitlines(), 1):
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        if not line or (not rows and _TITLE.fullmatch(line)):
            continue
        row = _ROW.fullmatch(_CSV.sub(r"\2 \3 \4 \1", _CVAT.sub(r"\2 \1", line)))
        values = re.findall(r"\d+|\*", f"{row['grey']}{row['rest'] or ''}") if row else []
        value = _code(values)
        if row is None or value is None or rows.get(value, row["name"]) != row["name"]:
            raise DatasetError(
                f"mapping: expected a line `VALUE NAME` or `RED GREEN BLUE NAME` with values of 0 "
                f"to 255, each once, or `* void`. Received: {line!r} in line {number} of {path}"
            )
        rows[value] = row["name"]
        if value != "*":
            lengths.add(len(values))
    names = list(dict.fromkeys(name for name in rows.values() if name != "void"))
    if not 2 <= len(names) <= VOID or len(lengths) != 1:
        raise DatasetError(
            f"mapping: expected 2 to {VOID} classes, and either grey values or colours, in {path}. "
            f"Received: {names}"
        )
    classes = {v: VOID if name == "void" else names.index(name) for v, name in rows.items()}
    other = classes.pop("*", NO_CLASS)
    if lengths == {3}:
        return names, Meaning(np.full(256, NO_CLASS), classes, other)  # type: ignore[arg-type]
    lookup = np.full(256, other)
    lookup[list(void)] = VOID
    lookup[list(classes)] = list(classes.values())
    return names, Meaning(lookup)


def read_text(path: Path) -> str:
    """Reads a text file: UTF-8 or UTF-16, with or without a byte order mark, or cp1252."""
    data = path.read_bytes()
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    if b"\0" in data[:2]:  # Western text in UTF-16 has a zero in every pair.
        return data.decode("utf-16-be" if data[0] == 0 else "utf-16-le", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def read_class_names(path: Path) -> list[str]:
    """The class names in a file, one per line; empty if the file is missing.

    Raises:
        DatasetError: If a name comes twice, a line between names is empty, or there are fewer than
            two names.
    """
    if not path.is_file():
        return []
    names = [composed(line.strip()) for line in read_text(path).rstrip().splitlines()]
    if not all(names):
        raise DatasetError(
            f"{path}: expected a class name in each line, because its place is its label. "
            f"Received: nothing in line {names.index('') + 1}. Remove or fill that line."
        )
    if len(set(names)) != len(names) or not 2 <= len(names) <= VOID:
        raise DatasetError(
            f"{path}: expected 2 to {VOID} different class names, one per line. Received: {names}"
        )
    return names


def composed(name: str) -> str:
    """A name with each accented letter as one character; macOS splits them in file names."""
    return unicodedata.normalize("NFC", name)


def read_labels(path: Path | str | bytes) -> np.ndarray:
    """The stored labels of a mask file `(height, width, 1) uint8`.

    The labels of a palette image are its palette indices, not its colours; the labels of a grey PNG
    of 2 or 4 bits are its 4 or 16 levels. An RGB image whose pixels are all grey, as Krita and
    Paint save masks, gives its grey values; so does such a GIF, because GIF writers renumber the
    palette. Transparency is dropped.

    Raises:
        ValueError: If its pixels are not labels.
    """
    with opened(path) as image:
        _check_lossless(image, path)
        labels = _greys(np.asarray(image)) if _has_bands(image, path) else np.asarray(image)
        if image.format == "GIF" and image.mode == "P":
            greys = _greys(np.asarray(image.convert("RGB")))
            labels = greys if greys.ndim == 2 else labels
        if labels.ndim != 2:
            raise ValueError(
                f"a mask is a palette or grey 8-bit PNG, not a {image.format} of mode "
                f"{image.mode!r}; for colours see mapping"
            )
        with np.errstate(invalid="ignore"):  # From NaN.
            strange = labels[labels != labels.astype(np.uint8)]
        if strange.size:
            raise ValueError(
                f"a mask holds whole numbers of 0 to {VOID}, not {strange[0]:g}, as this "
                f"{image.format} of mode {image.mode!r} does"
            )
        if image.format == "PNG" and image.mode == "L":
            labels = labels // (255 // (2 ** min(_depth(path), 8) - 1))  # Undoes Pillow's scaling.
        return labels.astype(np.uint8)[..., None]


def _read_colours(path: Path | str | bytes) -> np.ndarray:
    """`0xRRGGBB` of each pixel, `(height, width, 1) int32`."""
    with opened(path) as image:
        _check_lossless(image, path)
        if image.mode[0] in "IF":
            raise ValueError(
                f"colours have 8 bits per channel; this {image.format} has mode {image.mode!r}"
            )
        # The four bytes of a pixel, with the bands reversed, are a little-endian 0x00RRGGBB.
        red, green, blue = image.convert("RGB").split()
        packed = Image.merge("RGBX", (blue, green, red, Image.new("L", image.size)))
        return np.asarray(packed).view("<i4")


def _check_lossless(image: Image.Image, path: Path | str | bytes) -> None:
    """Raises ValueError unless the file stores its pixels without loss."""
    kind = str(image.format)
    if kind == "TIFF" and image.info.get("compression") in _LOSSY_TIFF:
        kind = f"TIFF with {image.info['compression']} compression"
    elif kind == "WEBP" and _is_lossy_webp(path):
        kind = "lossy WEBP"
    if kind not in _LOSSLESS:
        raise ValueError(f"a mask is stored without loss, as in a PNG, not as {kind}")


def _is_lossy_webp(path: Path | str | bytes) -> bool:
    """True if a chunk, or a frame, holds lossy pixels."""
    with open(os.fsdecode(path), "rb") as file:
        file.seek(12)
        while head := file.read(8):
            name, size = head[:4], int.from_bytes(head[4:], "little")
            if name == b"VP8 ":
                return True
            # The chunks of a frame follow its header of 16 bytes.
            file.seek(16 if name == b"ANMF" else size + size % 2, os.SEEK_CUR)
    return False


def _has_bands(image: Image.Image, path: Path | str | bytes) -> bool:
    """True for 8-bit colours, or greys with transparency; Pillow cuts 16 bits to 8."""
    bands = image.mode in ("RGB", "RGBA", "LA")
    return bands and (image.format != "PNG" or _depth(path) == 8)


def _greys(pixels: np.ndarray) -> np.ndarray:
    """One band, `(height, width)`, if the colour bands are equal; otherwise all bands."""
    grey = pixels[..., 0]
    same = pixels.shape[-1] == 2 or (pixels[..., 1:3] == grey[..., None]).all()
    return grey if same else pixels


def _depth(path: Path | str | bytes) -> int:
    """Bits per band of a PNG."""
    with open(os.fsdecode(path), "rb") as file:
        return file.read(25)[24]


def _code(values: list[str]) -> int | str | None:
    """One number for a grey value or a colour, or the star; `None` for anything else."""
    if values == ["*"]:
        return "*"
    if "*" in values or len(values) not in (1, 3) or any(int(value) > VOID for value in values):
        return None
    return int.from_bytes(bytes(map(int, values)), "big")
