"""Class maps as pictures: over the image with a legend, and as a palette PNG."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from larq_groupnet.report.letters import literal, width_of
from larq_groupnet.report.pictures import class_colours, has_background, image_of

OPACITY = 0.6
"""Opacity of a class's colour over the image."""

LEAST_WIDTH = 480
"""In pixels: a narrower image is enlarged by a whole number, so that its legend can be read."""

MOST_HEIGHT = 4000
"""In pixels: the largest height to which a narrow image is enlarged."""

_DPI = 100
_WIDE = 640
"""In pixels: beyond this length, the legend grows with the longer side of the picture."""
_MOST_LONG = 8000
"""In pixels: the length up to which it grows."""
_BETWEEN = 0.25
"""Factor on the brightness of the line between two classes."""


@literal
def draw_overlay(image: np.ndarray, classes: np.ndarray, class_names: Sequence[str]) -> Image.Image:
    """Colours an image by its classes, with a legend of the classes that occur.

    The image is grey under a colour, so that the colour can be recognised. A background stays
    unchanged.

    Args:
        image: `(height, width, 1 or 3) uint8`.
        classes: `(height, width)` integers.
        class_names: One per class.

    Returns:
        An RGB image: the given image, enlarged by a whole number if it is narrower than
        `LEAST_WIDTH`, above a legend of at least that width.
    """
    palette = palette_of(class_names)
    opacity = np.full(len(class_names), OPACITY)
    if has_background(class_names):
        opacity[0] = 0.0
    share = opacity[classes][..., None]
    edge = np.zeros(classes.shape, bool)
    edge[1:] |= classes[1:] != classes[:-1]
    edge[:, 1:] |= classes[:, 1:] != classes[:, :-1]
    colours = np.broadcast_to(image, (*image.shape[:2], 3))
    grey = np.asarray(Image.fromarray(colours).convert("L"))[..., None]
    pixels = np.where(share > 0, (1 - share) * grey + share * palette[classes], image)
    pixels = np.where(edge[..., None], _BETWEEN * pixels, pixels).round().astype(np.uint8)
    height, width = classes.shape
    factor = min(-(-LEAST_WIDTH // width), max(MOST_HEIGHT // height, 1))
    picture = Image.fromarray(pixels).resize(
        (factor * width, factor * height), Image.Resampling.NEAREST
    )
    widest = max(picture.width, LEAST_WIDTH)
    legend = _legend(classes, class_names, palette, (widest, picture.height))
    whole = Image.new("RGB", (widest, picture.height + legend.height), "white")
    whole.paste(picture, (0, 0))
    whole.paste(legend, (0, picture.height))
    return whole


def index_image(classes: np.ndarray, class_names: Sequence[str]) -> Image.Image:
    """A palette image whose stored values are the classes, `(height, width)` below 256."""
    image = Image.fromarray(classes.astype(np.uint8), "P")
    image.putpalette(palette_of(class_names).tobytes())
    return image


def palette_of(class_names: Sequence[str]) -> np.ndarray:
    """`class_colours` as numbers: `(classes, 3) uint8`."""
    colours = [to_rgb(colour) for colour in class_colours(class_names)]
    return np.round(255 * np.array(colours)).astype(np.uint8)


def shares(classes: np.ndarray) -> list[tuple[int, float]]:
    """The classes that occur and their share of the pixels, largest first."""
    counts = np.bincount(classes.ravel())
    order = [int(label) for label in np.argsort(-counts, kind="stable") if counts[label]]
    return [(label, float(counts[label] / classes.size)) for label in order]


def _legend(
    classes: np.ndarray, class_names: Sequence[str], palette: np.ndarray, size: tuple[int, int]
) -> Image.Image:
    """A white strip with colour, name and share of each class that occurs.

    A viewer fits the longer side of a picture to the screen, so the letters grow with it, until the
    longest text fills the width.
    """
    width = size[0]
    texts = {label: f"{class_names[label]} {part:.1%}" for label, part in shares(classes)}
    handles = [
        Patch(facecolor=palette[label] / 255, edgecolor="#444444", label=text)
        for label, text in texts.items()
    ]
    widest = 9 * max(map(width_of, texts.values())) + 45
    dpi = _DPI * max(min(min(max(size), _MOST_LONG) / _WIDE, width / widest), 1)
    columns = max(min(int(width * _DPI / dpi // widest), len(handles)), 1)
    rows = -(-len(handles) // columns)
    figure = Figure(figsize=(width / dpi, 0.24 * rows + 0.16), dpi=dpi, facecolor="white")
    figure.legend(handles=handles, loc="center", ncols=columns, frameon=False, fontsize=10)
    return image_of(figure)
