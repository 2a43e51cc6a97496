"""Draws the scenes of `digit_scenes`: real handwritten digits on plates over clutter.

Everything is drawn from `numpy.random.RandomState`, whose streams never change, so a version of the
dataset has the same masks on every machine, and the same pixels up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

SCENE_SIZE = 96
"""Height and width of a scene in pixels."""

PLATE_RADIUS = (15.0, 26.0)
"""Smallest and largest half-width of a plate in pixels."""

CLASS_NAMES = ("background", *(str(digit) for digit in range(10)))

_PLATES_PER_SCENE = (3, 6)
_MIN_VISIBLE = 0.8
_MIN_CONTRAST = 0.3
_MAX_ROTATION = np.deg2rad(25)
_PLATE_SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "square": lambda u, v: np.maximum(np.abs(u), np.abs(v)),
    "disc": np.hypot,
    "rounded": lambda u, v: np.square(u * u) + np.square(v * v),
    "octagon": lambda u, v: np.maximum(
        np.maximum(np.abs(u), np.abs(v)), (np.abs(u) + np.abs(v)) / 1.4142
    ),
}
_LUMA = np.array([0.299, 0.587, 0.114])
_ROWS, _COLS = np.mgrid[:SCENE_SIZE, :SCENE_SIZE] + 0.5


def split_digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """The handwriting of one split: disjoint parts of scikit-learn's 1,797 digits.

    Args:
        split: `"train"` (60 %), `"validation"` (20 %) or `"test"` (20 %).

    Returns:
        Ink `(n, 8, 8)` float in [0, 1], and labels `(n,)` from 0 to 9.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.RandomState(0).permutation(len(digits.target))
    bounds = {"train": (0.0, 0.6), "validation": (0.6, 0.8), "test": (0.8, 1.0)}[split]
    first, last = (int(round(b * len(order))) for b in bounds)
    chosen = order[first:last]
    return digits.images[chosen] / 16.0, digits.target[chosen]


def draw_scenes(split: str, count: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draws `count` scenes with the handwriting of `split`.

    Yields:
        Image `(size, size, 3) uint8` and mask `(size, size, 1) uint8`: 0 for background, otherwise
        the digit on the plate plus 1.
    """
    ink, labels = split_digits(split)
    for index in range(count):
        yield draw_scene(np.random.RandomState([seed, index]), ink, labels)


def draw_scene(
    rng: np.random.RandomState, ink: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One scene; see `draw_scenes` for shapes."""
    image = _background(rng)
    owner = np.zeros((SCENE_SIZE, SCENE_SIZE), np.int64)  # 0, or the number of the plate on top.
    areas, classes = [0], [0]
    for _ in range(rng.randint(_PLATES_PER_SCENE[0], _PLATES_PER_SCENE[1] + 1)):
        chosen = rng.randint(len(labels))
        inside = _add_plate(rng, image, owner, np.array(areas), ink[chosen])
        if inside is not None:
            owner[inside] = len(areas)
            areas.append(int(inside.sum()))
            classes.append(int(labels[chosen]) + 1)
    image *= rng.uniform(0.8, 1.15)
    image += rng.normal(0, 0.02, image.shape)
    mask = np.array(classes, np.uint8)[owner]
    return (np.clip(image, 0, 1) * 255).astype(np.uint8), mask[..., None]


def _background(rng: np.random.RandomState) -> np.ndarray:
    """A colour gradient under bars, discs and pen-like strokes."""
    from scipy.ndimage import gaussian_filter  # Slow to import, and needed only to draw.

    size = SCENE_SIZE
    rows, cols = _ROWS / size, _COLS / size
    slope = rng.uniform(-0.3, 0.3, (2, 3))
    image = rng.uniform(0.15, 0.85, 3) + slope[0] * rows[..., None] + slope[1] * cols[..., None]
    for _ in range(rng.randint(12, 25)):
        u, v = _local(rng.uniform(0, size, 2), rng.uniform(0, np.pi), 1.0)
        length, thickness = rng.uniform(3, 30), rng.uniform(1, 5)
        if rng.rand() < 0.3:
            length = thickness = rng.uniform(3, 14)
        inside = (u / length) ** 2 + (v / thickness) ** 2 < 1
        opacity = rng.uniform(0.4, 1.0)
        image[inside] = (1 - opacity) * image[inside] + opacity * rng.uniform(0, 1, 3)
    return gaussian_filter(image, (0.6, 0.6, 0))


def _add_plate(
    rng: np.random.RandomState,
    image: np.ndarray,
    owner: np.ndarray,
    areas: np.ndarray,
    ink: np.ndarray,
) -> np.ndarray | None:
    """Paints a plate where it leaves every earlier plate mostly visible.

    Returns:
        The plate's pixels `(size, size) bool`, or `None` if no such place was found.
    """
    from scipy.ndimage import map_coordinates

    for _ in range(30):
        radius = rng.uniform(*PLATE_RADIUS)
        centre = rng.uniform(0.8 * radius, SCENE_SIZE - 0.8 * radius, 2)
        u, v = _local(centre, rng.uniform(-_MAX_ROTATION, _MAX_ROTATION), radius)
        inside = _PLATE_SHAPES[rng.choice(sorted(_PLATE_SHAPES))](u, v) < 1
        visible = np.bincount(owner[~inside], minlength=len(areas))
        if (visible >= _MIN_VISIBLE * areas).all():
            break
    else:
        return None
    plate, pen = _two_colours(rng)
    # The digit's 8 x 8 raster spans 1.5 radii around the centre; outside it there is no ink.
    u, v = u[inside], v[inside]
    grid = np.stack([v, u]) * 8 / 1.5 + 3.5
    strength = map_coordinates(ink, grid, order=1, mode="constant")[:, None]
    shade = 1 + 0.15 * rng.uniform(-1, 1) * u[:, None]
    image[inside] = (plate * shade) * (1 - strength) + pen * strength
    return inside


def _two_colours(rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Colours of plate and pen; either may be brighter, but they always contrast."""
    while True:
        plate, pen = rng.uniform(0, 1, (2, 3))
        if abs((plate - pen) @ _LUMA) > _MIN_CONTRAST:
            return plate, pen


def _local(centre: np.ndarray, angle: float, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of every pixel relative to `centre`, rotated by `angle`, divided by `scale`."""
    dy, dx = _ROWS - centre[0], _COLS - centre[1]
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    return cos * dx + sin * dy, cos * dy - sin * dx
