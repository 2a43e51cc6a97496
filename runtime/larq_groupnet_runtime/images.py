"""Reads and preprocesses images as larq-groupnet's training and evaluation do.

Uses only NumPy and Pillow. `runtime/tests/test_images.py` compares every step with TensorFlow.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Union

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from larq_groupnet_runtime.errors import InputError, one_line
from larq_groupnet_runtime.files import opened

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]
ImageLike = Union[str, "os.PathLike[str]", bytes, BinaryIO, Image.Image, np.ndarray]

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
"""Suffixes of images in a folder, in lower case; the same as in training."""

JUNK = {"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "@eadir", "__pycache__"}
"""System files to ignore, in lower case, like hidden files; the same as in training."""

NORMALISATIONS = ("symmetric", "imagenet")
MEAN_RGB = (123.675, 116.28, 103.53)
STDDEV_RGB = (58.395, 57.12, 57.375)
"""Of the ImageNet training set, for pixels from 0 to 255."""

MAX_PIXELS = 2**27
"""Limit as in training; a larger image is refused before it is decoded."""

_ORIENTATION = 0x112
"""The EXIF orientation tag."""
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(image: ImageLike, channels: int = 3) -> Pixels:
    """Reads an image and turns it upright.

    Args:
        image: A path, the bytes of a file, an open file, a Pillow image, or an array
            `(height, width)` or `(height, width, 1 or 3)` of 0 to 255, which is used as it is.
        channels: 1 for grey, 3 for colour.

    Returns:
        `(height, width, channels) uint8`. The EXIF orientation is applied, transparency is dropped,
        16-bit values keep their upper 8 bits; an animation gives its first frame.

    Raises:
        InputError: If it cannot be decoded, is empty, or has more than `MAX_PIXELS`.
        OSError: If the file cannot be opened.
    """
    if isinstance(image, np.ndarray):
        return _channels(_pixels_of_array(image), channels)
    name, file = "image", None
    if not isinstance(image, Image.Image):
        name, file = opened(image, "an image")
    try:
        with contextlib.ExitStack() as stack:
            # Pillow warns above half of its limit, and refuses above the limit before it decodes.
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            source: Any = stack.enter_context(Image.open(file)) if file else image
            return _channels(_rgb(source), channels)
    except UnidentifiedImageError as error:
        raise InputError(f"{name}: expected an image. Received: no format that is known") from error
    except Exception as error:  # Pillow's decoders can raise anything on a damaged file.
        raise InputError(f"{name}: expected an image. Received: {one_line(error)}") from error
    finally:
        if file and file is not image:
            file.close()


def images_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """Lists images and other files in a folder and its subfolders, both sorted by name.

    Hidden files and system files are in neither list.
    """
    images: list[Path] = []
    others: list[Path] = []
    for here, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not _is_junk(name)]
        for path in (Path(here, name) for name in names if not _is_junk(name)):
            is_image = path.suffix.lower() in SUFFIXES and path.is_file()
            (images if is_image else others).append(path)
    return sorted(images), sorted(others)


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.lower() in JUNK


def _raise(error: OSError) -> None:
    raise error


def central_crop(pixels: Pixels, share: float) -> Pixels:
    """The central square whose side is `share` of the shorter side."""
    height, width = pixels.shape[:2]
    side = max(int(np.float32(share) * np.float32(min(height, width))), 1)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def fitted(pixels: np.ndarray, size: Sequence[int]) -> tuple[int, int]:
    """Height and width of an image scaled to fit into `size` with its aspect ratio kept."""
    height, width = pixels.shape[:2]
    rows = (2 * height * size[1] + width) // (2 * width)
    columns = (2 * width * size[0] + height) // (2 * height)
    return min(max(rows, 1), size[0]), min(max(columns, 1), size[1])


def pad(values: np.ndarray, size: Sequence[int]) -> Array:
    """Pads with zeros below and on the right; in normalised values 0 is the mean colour."""
    short = [max(side - own, 0) for side, own in zip(size, values.shape)]
    return np.pad(values, ((0, short[0]), (0, short[1]), (0, 0)))


def resize(pixels: np.ndarray, size: Sequence[int]) -> Array:
    """Resizes bilinearly with antialiasing, like `tf.image.resize(..., antialias=True)`.

    Args:
        pixels: `(height, width, channels)` of any type.
        size: Height and width of the result.

    Returns:
        `(*size, channels) float32`.
    """
    if tuple(pixels.shape[:2]) == tuple(size):
        return pixels.astype(np.float32)
    rows = _squeeze(pixels, size[0])
    return np.ascontiguousarray(_squeeze(rows.swapaxes(0, 1), size[1]).swapaxes(0, 1))


def normalise(pixels: np.ndarray, normalisation: str) -> Array:
    """Maps pixels in [0, 255] to the network's input: `"symmetric"` ([-1, 1]) or `"imagenet"`."""
    values: Array = pixels.astype(np.float32)
    if normalisation == "symmetric":
        values /= np.float32(127.5)
        values -= np.float32(1)
    else:
        values -= np.array(MEAN_RGB, np.float32)
        values /= np.array(STDDEV_RGB, np.float32)
    return values


def _squeeze(pixels: np.ndarray, length: int) -> Array:
    """Resizes the first axis: each new row is the mean of old rows under a triangular filter."""
    scale = np.float32(length) / np.float32(len(pixels))
    step = np.float32(1) / scale
    radius = max(step, np.float32(1))
    result = np.empty((length, *pixels.shape[1:]), np.float32)
    for index in range(length):
        centre = (np.float32(index) + np.float32(0.5)) * step
        first = max(int(np.ceil(centre - radius - np.float32(0.5))), 0)
        last = min(int(np.floor(centre + radius - np.float32(0.5))), len(pixels) - 1)
        places = np.arange(first, last + 1, dtype=np.float32) + np.float32(0.5)
        weights = np.maximum(np.float32(1) - np.abs(places - centre) / radius, np.float32(0))
        rows = pixels[first : last + 1].astype(np.float32)
        result[index] = np.tensordot(weights / weights.sum(), rows, 1)
    return result


def _rgb(image: Image.Image) -> Image.Image:
    if not 0 < image.width * image.height <= MAX_PIXELS:
        raise ValueError(
            f"{image.width} x {image.height} pixels instead of 1 to {MAX_PIXELS} in all"
        )
    if image.mode in ("I", "F") and image.format != "PNG":
        raise ValueError(f"mode {image.mode} instead of 8 or 16 bits per channel")
    turned = _UPRIGHT.get(_orientation(image))  # Before pixels are decoded.
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = image.convert("RGB")
    return image if turned is None else image.transpose(turned)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 if EXIF is missing or invalid."""
    # Pillow turns TIFFs itself, and would decode a whole PNG to find EXIF after the pixels.
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Pillow's EXIF parsers can raise anything.
        return 1


def _pixels_of_array(array: np.ndarray) -> Image.Image:
    pixels = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    right = pixels.dtype == np.uint8 and pixels.ndim in (2, 3) and pixels.shape[2:] in ((), (3,))
    if not right or not pixels.size:
        raise InputError(
            "image: expected pixels of shape (height, width) or (height, width, 1 or 3) and dtype "
            f"uint8. Received: shape={array.shape}, dtype={array.dtype}"
        )
    return Image.fromarray(pixels).convert("RGB")


def _channels(image: Image.Image, channels: int) -> Pixels:
    pixels = np.asarray(image.convert("L") if channels == 1 else image)
    return pixels.reshape((*pixels.shape[:2], channels))
