"""Decodes image files to pixels, and turns pixels into a network's input.

Training, evaluation, `predict` and `preprocess_input` all read images with this module.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageOps

from larq_groupnet.data.reading import MAX_PIXELS
from larq_groupnet.errors import DatasetError
from larq_groupnet.lazy import Lazy

if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = Lazy("tensorflow")

MEAN_RGB = (123.675, 116.28, 103.53)
STDDEV_RGB = (58.395, 57.12, 57.375)
"""Statistics of the ImageNet training set, for pixels of 0 to 255 (0.485, ... and 0.229, ... times
255)."""

Size = tuple[int, int]
Part = Callable[["tf.Tensor"], "tf.Tensor"]
"""Maps an image's shape, `(3,) int32`, to top, left, height and width of a part, `(4,) int32`."""

_ORIENTATION = 0x112
"""The EXIF tag that says how the camera was held."""

_ACCURATE = "INTEGER_ACCURATE"
"""Decodes JPEG like Pillow and the runtime. TensorFlow's default differs by up to 6."""

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PN"
# These follow the first header of a file without EXIF: quantisation tables, pixels, palette.
_PLAIN_JPEG, _PLAIN_PNG = b"\xff\xdb", (b"IDAT", b"PLTE")


def read_image(path: Path | str | bytes, channels: int = 3) -> tf.Tensor:
    """The pixels of an image file, `(height, width, channels) uint8`; see `decode_image`."""
    check_regular(path)
    return decode_image(tf.io.read_file(os.fsencode(path)), channels)


def check_regular(path: Path | str | bytes) -> None:
    """Raises ValueError for a pipe, a device or a folder, because reading one may never end."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError("it is not a regular file")


def decode_image(
    data: tf.Tensor, channels: int = 3, upright: bool = True, part: Part | None = None
) -> tf.Tensor:
    """The pixels of an encoded image, or of a part of it, `(height, width, channels) uint8`.

    TensorFlow decodes JPEG and PNG; Pillow decodes every other format, first frame only. Palette
    and CMYK become RGB, 16 bits are cut to the upper 8, and transparency is dropped. An image of
    more than `MAX_PIXELS` is refused before it is decoded.

    Args:
        data: The content of a file, `() string`.
        channels: 1 for grey, 3 for colour.
        upright: True to apply the EXIF orientation.
        part: Picks the part to decode. For most JPEGs, this takes half the time of the whole image.

    Raises:
        tf.errors.OpError: If the image cannot be decoded, or is too large.
    """
    if part is not None:
        return _part(data, channels, upright, part)
    image = tf.cond(
        _starts_with(data, _JPEG, _PNG),
        lambda: _by_tensorflow(data, upright),
        lambda: tf.numpy_function(_by_pillow, [data, upright], tf.uint8, stateful=False),
    )
    return _with_channels(tf.ensure_shape(image, (None, None, 3)), channels)


def crop(image: tf.Tensor, part: Part | None) -> tf.Tensor:
    """A part of a decoded image; the image itself for `None`."""
    if part is None:
        return image
    return tf.image.crop_to_bounding_box(image, *tf.unstack(part(tf.shape(image))))


def image_size(path: Path | str | bytes) -> Size:
    """Height and width that `read_image` would return; reads only the header.

    Raises:
        DatasetError: If the image has more than `MAX_PIXELS`.
        OSError: If the file is missing or not an image.
    """
    with opened(path) as image:
        turned = image.format != "TIFF" and _orientation(image) >= 5
        return image.size if turned else image.size[::-1]


def is_turned(path: Path | str | bytes) -> bool:
    """True if the EXIF of an image file swaps its height and width."""
    with opened(path) as image:
        return _orientation(image) >= 5


def opened(source: Path | str | bytes | io.BytesIO) -> Image.Image:
    """Opens an image file, or its content, with Pillow; reads only the header.

    Raises:
        DatasetError: If the image has more than `MAX_PIXELS`.
        OSError: If the file is missing or not an image.
    """
    try:
        image = Image.open(source if isinstance(source, io.BytesIO) else os.fsdecode(source))
    except Image.DecompressionBombError as error:
        raise DatasetError(f"expected at most {MAX_PIXELS} pixels. Received: {error}") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise DatasetError(
            f"expected at most {MAX_PIXELS} pixels. Received: {width} x {height} pixels"
        )
    return image


def as_float(pixels: ArrayLike | tf.Tensor) -> tf.Tensor:
    """Pixels as a `float32` tensor."""
    return tf.cast(tf.convert_to_tensor(pixels), tf.float32)


def resize(image: tf.Tensor, size: Size | tf.Tensor) -> tf.Tensor:
    """Squeezes an image into a size: bilinear, antialiased."""
    if not tf.is_tensor(size) and tuple(image.shape[:2]) == tuple(size):
        return image
    return tf.image.resize(image, size, antialias=True)


def resize_mask(mask: tf.Tensor, size: Size | tf.Tensor) -> tf.Tensor:
    """Squeezes a class map `(height, width, 1)` into a size by nearest neighbour."""
    if not tf.is_tensor(size) and tuple(mask.shape[:2]) == tuple(size):
        return mask
    return tf.image.resize(mask, size, method="nearest")


def centre(image: tf.Tensor, mask: tf.Tensor, size: Size) -> tuple[tf.Tensor, tf.Tensor]:
    """Scales an image and its class map until they just cover a size, and crops the centre."""
    height, width = tf.unstack(tf.shape(image)[:2])
    # At most one side is larger than the size.
    covered = tf.maximum(size, [height * size[1] // width, width * size[0] // height])
    begin = (covered - size) // 2
    image, mask = resize(image, covered), resize_mask(mask, covered)
    box = (*tf.unstack(begin), *size)
    return tf.image.crop_to_bounding_box(image, *box), tf.image.crop_to_bounding_box(mask, *box)


def fitted(image: tf.Tensor, size: Size) -> tf.Tensor:
    """Height and width `(2,) int32` of an image that is scaled to fit, keeping its aspect.

    Uses integers, so that the runtime gets the same result.
    """
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.int64))
    rows = (2 * height * size[1] + width) // (2 * width)
    columns = (2 * width * size[0] + height) // (2 * height)
    return tf.cast(tf.clip_by_value([rows, columns], 1, tf.constant(size, tf.int64)), tf.int32)


def pad(image: tf.Tensor, size: Size, value: float) -> tf.Tensor:
    """Pads an image `(height, width, channels)` with `value`, below and on the right, to a size."""
    short = tf.constant(size) - tf.shape(image)[:2]
    padded = tf.pad(image, [[0, short[0]], [0, short[1]], [0, 0]], constant_values=value)
    return tf.ensure_shape(padded, (*size, image.shape[-1]))


def warp(
    image: tf.Tensor,
    rows: Sequence[tf.Tensor | float],
    size: Size,
    fill: float | tuple[float, ...],
    interpolation: str = "BILINEAR",
) -> tf.Tensor:
    """Takes pixel (x, y) of the result from (a x + b y + c, d x + e y + f), or `fill` outside.

    `rows` holds a to f, `size` is the size of the result, `interpolation` may be `"NEAREST"`.
    """
    found = tf.raw_ops.ImageProjectiveTransformV3(
        images=(image - fill)[None],
        transforms=tf.stack([*rows, 0.0, 0.0])[None],
        output_shape=[*size],
        interpolation=interpolation,
        fill_mode="CONSTANT",
        fill_value=0.0,
    )
    return tf.ensure_shape(found[0] + fill, (*size, image.shape[-1]))


def central_crop(image: tf.Tensor, share: float) -> tf.Tensor:
    """The central square whose side is `share` of the shorter side; the image itself for 1."""
    if share == 1:
        return image
    height, width = tf.unstack(tf.shape(image)[:2])
    side = tf.maximum(tf.cast(share * tf.cast(tf.minimum(height, width), tf.float32), tf.int32), 1)
    return tf.image.crop_to_bounding_box(
        image, (height - side) // 2, (width - side) // 2, side, side
    )


def normalise(image: tf.Tensor, normalisation: str) -> tf.Tensor:
    """Maps pixels in [0, 255] to the model's input; see `reading.NORMALISATIONS`."""
    image = tf.cast(image, tf.float32)
    if normalisation == "symmetric":
        return image / 127.5 - 1.0
    # Broadcast to a row first, because TensorFlow is slow to repeat three numbers.
    row = tf.shape(image)[-2:]
    mean, stddev = (tf.broadcast_to(tf.constant(each), row) for each in (MEAN_RGB, STDDEV_RGB))
    return (image - mean) / stddev


def pixels_of(image: Any, normalisation: str) -> Any:
    """The inverse of `normalise`, for a tensor or an array."""
    if normalisation == "symmetric":
        return (image + 1.0) * 127.5
    return image * STDDEV_RGB + MEAN_RGB


def to_pixels(image: np.ndarray, normalisation: str) -> np.ndarray:
    """The inverse of `normalise` as `uint8`, for display."""
    return pixels_of(image, normalisation).round().clip(0, 255).astype(np.uint8)


def mean_colour(normalisation: str) -> float | tuple[float, ...]:
    """The pixel value, or one per channel, that `normalise` maps to 0."""
    return 127.5 if normalisation == "symmetric" else MEAN_RGB


def _part(data: tf.Tensor, channels: int, upright: bool, part: Part) -> tf.Tensor:
    def of_jpeg() -> tf.Tensor:
        window = part(_checked(tf.io.extract_jpeg_shape(data)))
        image = tf.io.decode_and_crop_jpeg(data, window, channels=3, dct_method=_ACCURATE)
        return _with_channels(image, channels)

    plain = _is_plain_jpeg(data) if upright else _starts_with(data, _JPEG)
    image = tf.cond(plain, of_jpeg, lambda: crop(decode_image(data, channels, upright), part))
    return tf.ensure_shape(image, (None, None, channels))


def _starts_with(data: tf.Tensor, *starts: bytes) -> tf.Tensor:
    return tf.reduce_any(tf.equal(tf.strings.substr(data, 0, 3), starts))


def _is_plain_jpeg(data: tf.Tensor) -> tf.Tensor:
    """True for a JPEG whose header leaves no room for EXIF, like most files on the web."""
    tables = tf.equal(tf.strings.substr(data, 20, 2), _PLAIN_JPEG)
    return tf.logical_and(_starts_with(data, _JPEG), tables)


def _by_tensorflow(data: tf.Tensor, upright: bool) -> tf.Tensor:
    """Decodes a JPEG or PNG."""

    def png_size() -> tf.Tensor:
        size = tf.io.decode_raw(tf.strings.substr(data, 16, 8), tf.int32, little_endian=False)
        return size[::-1]

    jpeg = _starts_with(data, _JPEG)
    size = tf.cond(jpeg, lambda: tf.io.extract_jpeg_shape(data)[:2], png_size)
    with tf.control_dependencies([_checked(size)]):
        image = tf.cond(
            jpeg,
            lambda: tf.io.decode_jpeg(data, channels=3, dct_method=_ACCURATE),
            lambda: tf.io.decode_png(data, channels=3),
        )
    image = tf.ensure_shape(image, (None, None, 3))
    if not upright:
        return image
    png = tf.reduce_any(tf.equal(tf.strings.substr(data, 37, 4), _PLAIN_PNG))
    return tf.cond(
        tf.logical_or(_is_plain_jpeg(data), png), lambda: image, lambda: _turned(image, data)
    )


def _checked(shape: tf.Tensor) -> tf.Tensor:
    """Returns the shape; fails if it has more than `MAX_PIXELS`."""
    pixels = tf.reduce_prod(tf.cast(shape[:2], tf.int64))
    message = f"expected an image of at most {MAX_PIXELS} pixels. Received height and width:"
    with tf.control_dependencies([tf.debugging.Assert(pixels <= MAX_PIXELS, [message, shape])]):
        return tf.identity(shape)


def _turned(image: tf.Tensor, data: tf.Tensor) -> tf.Tensor:
    """Turns an image upright, by the EXIF of its encoded data."""
    number = tf.numpy_function(_stored_orientation, [data], tf.int32, stateful=False)
    image = tf.cond(number >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    for axis, mirrored in ((0, (3, 4, 7, 8)), (1, (2, 3, 6, 7))):
        flip = tf.reduce_any(tf.equal(number, mirrored))
        image = tf.cond(flip, lambda: tf.reverse(image, [axis]), lambda: image)  # noqa: B023
    return image


def _stored_orientation(data: Any) -> np.ndarray:
    return np.array(_orientation(Image.open(io.BytesIO(bytes_of(data)))), np.int32)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) if it is missing or invalid."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # Pillow would decode the whole file to look for EXIF behind the pixels.
    try:
        number = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow's EXIF parsers raise all kinds of errors.
        return 1
    return number if isinstance(number, int) and 1 <= number <= 8 else 1


def _by_pillow(data: Any, upright: Any) -> np.ndarray:
    image = opened(io.BytesIO(bytes_of(data)))
    if image.mode in ("I", "F"):
        raise ValueError(f"expected 8 or 16 bits per channel. Received: mode {image.mode}")
    if upright:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return np.asarray(image.convert("RGB"))


def bytes_of(data: bytes | np.ndarray) -> bytes:
    """Unwraps a string from `numpy_function`: bytes, or an array in eager mode."""
    return data.item() if isinstance(data, np.ndarray) else data


def _with_channels(image: tf.Tensor, channels: int) -> tf.Tensor:
    """RGB, or grey as in Pillow's mode L."""
    if channels == 3:
        return image
    weighted = tf.reduce_sum(tf.cast(image, tf.int32) * (19595, 38470, 7471), -1, keepdims=True)
    return tf.cast((weighted + 2**15) // 2**16, tf.uint8)
