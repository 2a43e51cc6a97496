"""Class maps as pictures: over the image with a legend, and as a palette PNG."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw

from larq_groupnet_runtime.images import Pixels

BACKGROUND = "#20242b"
CLASS_COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9",
    "#d55e00", "#f0e442", "#8700f0", "#5a2d00", "#ffffff",
    "#b4ffa5", "#3c2da5", "#9678ff", "#961e69", "#e1004b",
    "#3c005a", "#96c369", "#f0b4b4", "#d2c3e1", "#4b693c",
)  # fmt: skip
"""As larq-groupnet draws them; a test compares both."""

OPACITY = 0.6
"""Of a class's colour over the image."""

LEAST_WIDTH = 480
"""In pixels: a smaller image is enlarged by a whole number, so that its legend can be read."""

_BETWEEN = 0.25
"""Brightness of the line between two classes, as a share of the image's."""
_LINE, _SWATCH, _MARGIN = 16, 12, 6

Classes = NDArray[np.integer]


def palette_of(class_names: Sequence[str]) -> Pixels:
    """Colours `(classes, 3)`: dark for a class 0 called `background`."""
    colours = list(islice(cycle(CLASS_COLOURS), len(class_names)))
    if class_names[0] == "background":
        colours = [BACKGROUND, *colours[:-1]]
    return np.array([ImageColor.getrgb(colour) for colour in colours], np.uint8)


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

    A class 0 called `background` is left as it is.

    Args:
        pixels: `(height, width, 1 or 3)`.
        classes: `(height, width)`.
        class_names: One per class.

    Returns:
        An RGB image, the legend beneath.
    """
    palette = palette_of(class_names)
    opacity = np.full(len(class_names), OPACITY, np.float32)
    if class_names[0] == "background":
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
    factor = -(-LEAST_WIDTH // picture.width)
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
    widest = max(ImageDraw.Draw(picture).textlength(_latin(text)) for _, text in texts)
    cell = int(widest) + _SWATCH + 3 * _MARGIN
    factor = max(min(max(picture.size) / LEAST_WIDTH, picture.width / cell), 1)
    width = round(picture.width / factor)
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
        draw.text((left + _SWATCH + _MARGIN, top), _latin(text), fill="black")
    # Enlarged as a whole: Pillow's built-in font has other sizes only from 10.1 on.
    strip = strip.resize((picture.width, round(factor * strip.height)), Image.Resampling.LANCZOS)
    whole = Image.new("RGB", (picture.width, picture.height + strip.height), "white")
    whole.paste(picture, (0, 0))
    whole.paste(strip, (0, picture.height))
    return whole


def _latin(text: str) -> str:
    """The text without letters that Pillow's built-in font may not have."""
    return text.encode("latin-1", "replace").decode("latin-1")
