"""Class maps as pictures: over the image with a legend, and as a palette PNG."""

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
"""As larq-groupnet draws them; a test compares both."""

SOFTWARE = "larq-groupnet predict"
"""In the PNG files that are results, of the desktop's command too; a test compares both."""

OPACITY = 0.6
"""Of a class's colour over the image."""

LEAST_WIDTH = 480
"""In pixels: a smaller image is enlarged by a whole number, so that its legend can be read."""

MOST_HEIGHT = 4000
"""In pixels, to which a narrow image is enlarged at most."""

FONTS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "FreeSans.ttf", "LiberationSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc", "NotoSansCJKjp-Regular.otf", "NotoSansJP-Regular.otf",
    "NotoSansSC-Regular.otf", "NotoSansKR-Regular.otf", "DroidSansFallbackFull.ttf",
    "wqy-zenhei.ttc", "wqy-microhei.ttc", "ipaexg.ttf", "ipag.ttf", "NanumGothic.ttf",
    "NotoSansDevanagari-Regular.ttf", "NotoSansThai-Regular.ttf", "NotoSansArabic-Regular.ttf",
    "NotoSansHebrew-Regular.ttf", "Arial Unicode.ttf",
)  # fmt: skip
"""The first of these that is installed and has a letter draws it; Pillow's own draws ASCII."""

_BETWEEN = 0.25
"""Brightness of the line between two classes, as a share of the image's."""
_LINE, _SWATCH, _MARGIN = 16, 12, 6
_FONT_SIZE, _BASELINE = 11, 10
_MOST_LONG = 8000
"""In pixels: the letters of a legend grow with the longer side of a picture up to this."""

Classes = NDArray[np.integer]


def result_mark() -> PngImagePlugin.PngInfo:
    """What a result says of itself, so that nobody takes it for a photo."""
    about = PngImagePlugin.PngInfo()
    about.add_text("Software", SOFTWARE)
    return about


def is_result(path: Path) -> bool:
    """True for a picture that this command, or `larq-groupnet predict`, has written."""
    # A folder of photos is not opened, file by file.
    if path.suffix != ".png" or not path.is_file():
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Its header is all that is read.
            with Image.open(path) as image:
                return bool(image.info.get("Software") == SOFTWARE)
    except Exception:  # What is no image, the reader will say.
        return False


def palette_of(class_names: Sequence[str]) -> Pixels:
    """Colours `(classes, 3)`: dark for a background."""
    colours = list(islice(cycle(CLASS_COLOURS), len(class_names)))
    if has_background(class_names):
        colours = [BACKGROUND, *colours[:-1]]
    return np.array([ImageColor.getrgb(colour) for colour in colours], np.uint8)


def has_background(class_names: Sequence[str]) -> bool:
    """True if class 0 is called `background`, or `_background_` as labelme has it."""
    return class_names[0].strip("_").lower() == "background"


def missing_letters(class_names: Sequence[str]) -> str:
    """The letters for which a legend has a question mark: no font here has them."""
    return "".join(one for one in sorted({*"".join(class_names)}) if not _font_of(one))


def index_image(classes: Classes, class_names: Sequence[str]) -> Image.Image:
    """A palette image whose stored values are the classes, `(height, width)` below 256."""
    height, width = classes.shape
    image = Image.frombytes("P", (width, height), classes.astype(np.uint8).tobytes())
    image.putpalette(palette_of(class_names)[:256].tobytes())
    return image


def shares(classes: Classes) -> list[tuple[int, float]]:
    """The classes that occur and their share of the pixels, largest first."""
    counts = np.bincount(classes.ravel())
    order = [int(label) for label in np.argsort(-counts, kind="stable") if counts[label]]
    return [(label, float(counts[label] / classes.size)) for label in order]


def overlay(pixels: Pixels, classes: Classes, class_names: Sequence[str]) -> Image.Image:
    """The image in grey under the colours of its classes, and a legend of those that occur.

    A background is left as it is.

    Args:
        pixels: `(height, width, 1 or 3)`.
        classes: `(height, width)`.
        class_names: One per class.

    Returns:
        An RGB image, the legend beneath.
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
    """The picture above a white strip with colour, name and share of each class that occurs.

    The strip grows with the longer side of the picture, which is what a viewer fits to a screen.
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
    # Enlarged as a whole: Pillow's built-in font has other sizes only from 10.1 on.
    strip = strip.resize((widest, round(factor * strip.height)), Image.Resampling.LANCZOS)
    whole = Image.new("RGB", (widest, picture.height + strip.height), "white")
    whole.paste(picture, (0, 0))
    whole.paste(strip, (0, picture.height))
    return whole


def _write(draw: ImageDraw.ImageDraw | None, left: float, top: float, text: str) -> float:
    """Draws a text, each letter in a font that has it, and returns where it ends."""
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
    """A font that has a letter, or `None`; Pillow's own is sure of ASCII alone."""
    *installed, own = _fonts()
    if letter.isascii():
        return own
    return next((font for font in (*installed, own) if _has(font, letter)), None)


def _has(font: Any, letter: str) -> bool:
    if not _is_outlined(font):
        return ord(letter) < 256
    # A font draws the same for all letters that it lacks.
    shape, none = font.getmask(letter), font.getmask("\uffff")
    return (shape.size, bytes(shape)) != (none.size, bytes(none))


def _is_outlined(font: Any) -> bool:
    return isinstance(font, ImageFont.FreeTypeFont)


@cache
def _fonts() -> list[Any]:
    """The installed ones of `FONTS`, and Pillow's own."""
    found: list[Any] = []
    for name in FONTS:
        with contextlib.suppress(OSError, ImportError):  # Pillow may be without FreeType.
            found.append(ImageFont.truetype(name, _FONT_SIZE))
    return [*found, ImageFont.load_default()]
