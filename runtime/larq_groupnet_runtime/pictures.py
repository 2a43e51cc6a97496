"""Draws class maps: as an overlay with a legend, and as a palette PNG."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from functools import cache
from itertools import cycle, groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont, PngImagePlugin

from larq_groupnet_runtime.images import Pixels

BACKGROUND = "#20242b"
CLASS_COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9",
    "#d55e00", "#f0e442", "#8700f0", "#5a2d00", "#ffffff",
    "#b4ffa5", "#3c2da5", "#9678ff", "#961e69", "#e1004b",
    "#3c005a", "#96c369", "#f0b4b4", "#d2c3e1", "#4b693c",
)  # fmt: skip
"""The same as in larq-groupnet; a test compares both."""

SOFTWARE = "larq-groupnet predict"
"""Marks result PNGs, like the desktop's command; a test compares both."""

OPACITY = 0.6
"""Opacity of a class's colour over the image."""

LEAST_WIDTH = 480
"""In pixels; a smaller image is enlarged by a whole factor to keep its legend readable."""

MOST_HEIGHT = 4000
"""In pixels; a narrow image is not enlarged beyond this height."""

FONTS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "FreeSans.ttf", "LiberationSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc", "NotoSansCJKjp-Regular.otf", "NotoSansJP-Regular.otf",
    "NotoSansSC-Regular.otf", "NotoSansKR-Regular.otf", "DroidSansFallbackFull.ttf",
    "wqy-zenhei.ttc", "wqy-microhei.ttc", "ipaexg.ttf", "ipag.ttf", "NanumGothic.ttf",
    "NotoSansDevanagari-Regular.ttf", "NotoSansThai-Regular.ttf", "NotoSansArabic-Regular.ttf",
    "NotoSansHebrew-Regular.ttf", "Arial Unicode.ttf",
)  # fmt: skip
"""A letter is drawn in the first installed font that has it; ASCII in Pillow's own font."""

_BETWEEN = 0.25
"""Brightness of the line between two classes, relative to the image."""
_LINE, _SWATCH, _MARGIN = 16, 12, 6
_FONT_SIZE, _BASELINE = 11, 10
_MOST_LONG = 8000
"""In pixels; a legend's letters grow with the longer side of the picture up to this size."""

Classes = NDArray[np.integer]


def result_mark() -> PngImagePlugin.PngInfo:
    """PNG metadata that marks a result, so that it is not mistaken for a photo."""
    about = PngImagePlugin.PngInfo()
    about.add_text("Software", SOFTWARE)
    return about


def is_result(path: Path) -> bool:
    """True for a picture that this command or `larq-groupnet predict` wrote."""
    # Do not open every photo of a folder.
    if path.suffix != ".png" or not path.is_file():
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Only the header is read.
            with Image.open(path) as image:
                return bool(image.info.get("Software") == SOFTWARE)
    except Exception:  # The reader reports files that are not images.
        return False


def palette_of(class_names: Sequence[str]) -> Pixels:
    """Colours `(classes, 3)`: dark for a background."""
    colours = list(islice(cycle(CLASS_COLOURS), len(class_names)))
    if has_background(class_names):
        colours = [BACKGROUND, *colours[:-1]]
    return np.array([ImageColor.getrgb(colour) for colour in colours], np.uint8)


def has_background(class_names: Sequence[str]) -> bool:
    """True if class 0 is called `background`, or `_background_` as in labelme."""
    return class_names[0].strip("_").lower() == "background"


def missing_letters(class_names: Sequence[str]) -> str:
    """Letters that no installed font has; a legend shows question marks instead."""
    return "".join(one for one in sorted({*"".join(class_names)}) if not _font_of(one))


def index_image(classes: Classes, class_names: Sequence[str]) -> Image.Image:
    """A palette image whose pixel values are the classes, all below 256."""
    height, width = classes.shape
    image = Image.frombytes("P", (width, height), classes.astype(np.uint8).tobytes())
    image.putpalette(palette_of(class_names)[:256].tobytes())
    return image


def shares(classes: Classes) -> list[tuple[int, float]]:
    """The classes that occur and their shares of the pixels, largest first."""
    counts = np.bincount(classes.ravel())
    order = [int(label) for label in np.argsort(-counts, kind="stable") if counts[label]]
    return [(label, float(counts[label] / classes.size)) for label in order]


def overlay(pixels: Pixels, classes: Classes, class_names: Sequence[str]) -> Image.Image:
    """Overlays a grey image with the colours of its classes and adds a legend below.

    Background pixels stay unchanged.

    Args:
        pixels: `(height, width, 1 or 3)`.
        classes: `(height, width)`.
        class_names: One per class.

    Returns:
        An RGB image.
    """
    palette = palette_of(class_names)
    opacity = np.full(len(class_names), OPACITY, np.float32)
    if has_background(class_names):
        opacity[0] = 0.0
    share = opacity[classes][..., None]
    rgb = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    grey = np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).convert("L"))[..., None]
    drawn = np.where(share > 0, (1 - share) * grey + share * palette[classes], rgb)
    edge = np.zeros(classes.shape, bool)
    edge[1:] |= classes[1:] != classes[:-1]
    edge[:, 1:] |= classes[:, 1:] != classes[:, :-1]
    drawn[edge] *= _BETWEEN
    picture = Image.fromarray(drawn.round().astype(np.uint8))
    factor = min(-(-LEAST_WIDTH // picture.width), max(MOST_HEIGHT // picture.height, 1))
    picture = picture.resize(
        (factor * picture.width, factor * picture.height), Image.Resampling.NEAREST
    )
    return _with_legend(picture, classes, class_names, palette)


def _with_legend(
    picture: Image.Image, classes: Classes, class_names: Sequence[str], palette: Pixels
) -> Image.Image:
    """Adds a white strip with the colour, name and share of each class that occurs.

    The strip grows with the picture's longer side, since viewers scale pictures to fit the screen.
    """
    texts = [(label, f"{class_names[label]} {part:.1%}") for label, part in shares(classes)]
    cell = max(int(_write(None, 0, 0, text)) for _, text in texts) + _SWATCH + 3 * _MARGIN
    widest = max(picture.width, LEAST_WIDTH)
    factor = max(min(min(max(picture.size), _MOST_LONG) / LEAST_WIDTH, widest / cell), 1)
    width = round(widest / factor)
    columns = max(width // cell, 1)
    rows = -(-len(texts) // columns)
    strip = Image.new("RGB", (width, rows * _LINE + 2 * _MARGIN), "white")
    draw = ImageDraw.Draw(strip)
    for number, (label, text) in enumerate(texts):
        left = _MARGIN + number % columns * cell
        top = _MARGIN + number // columns * _LINE
        corner = (left + _SWATCH, top + _SWATCH)
        draw.rectangle(
            ((left, top), corner), fill=tuple(palette[label].tolist()), outline="#444444"
        )
        _write(draw, left + _SWATCH + _MARGIN, top, text)
    # Enlarged as a whole: Pillow's built-in font has other sizes only since 10.1.
    strip = strip.resize((widest, round(factor * strip.height)), Image.Resampling.LANCZOS)
    whole = Image.new("RGB", (widest, picture.height + strip.height), "white")
    whole.paste(picture, (0, 0))
    whole.paste(strip, (0, picture.height))
    return whole


def _write(draw: ImageDraw.ImageDraw | None, left: float, top: float, text: str) -> float:
    """Draws text, each letter in a font that has it, and returns its right end."""
    ruler = draw or ImageDraw.Draw(Image.new("L", (1, 1)))
    for font, letters in groupby(map(_drawable, text), _font_of):
        part = "".join(letters)
        if draw:
            down = _BASELINE - font.getmetrics()[0] if _is_outlined(font) else 0
            draw.text((left, top + down), part, fill="black", font=font)
        left += ruler.textlength(part, font=font)
    return left


def _drawable(letter: str) -> str:
    return letter if _font_of(letter) else "?"


@cache
def _font_of(letter: str) -> Any:
    """A font that has the letter, or `None`; Pillow's own font is only certain to have ASCII."""
    *installed, own = _fonts()
    if letter.isascii():
        return own
    return next((font for font in (*installed, own) if _has(font, letter)), None)


def _has(font: Any, letter: str) -> bool:
    if not _is_outlined(font):
        return ord(letter) < 256
    # A font draws the same shape for all letters that it lacks.
    shape, none = font.getmask(letter), font.getmask("\uffff")
    return (shape.size, bytes(shape)) != (none.size, bytes(none))


def _is_outlined(font: Any) -> bool:
    return isinstance(font, ImageFont.FreeTypeFont)


@cache
def _fonts() -> list[Any]:
    """The installed fonts of `FONTS`, then Pillow's own."""
    found: list[Any] = []
    for name in FONTS:
        with contextlib.suppress(OSError, ImportError):  # Pillow may be without FreeType.
            found.append(ImageFont.truetype(name, _FONT_SIZE))
    return [*found, ImageFont.load_default()]
