"""Synthetic photos: one metal part on a textured background, as JPEGs in camera sizes.

    python benchmarks/made_photos.py PHOTOS

writes `PHOTOS/parts/{bolt,bracket,nut}/*.jpg`, 240 photos in class folders, and `PHOTOS/masks/`,
60 photos with masks of `background` and `part`. The same seed gives the same photos. With
`--any_colour` parts and tables have random colours, so that only the shape tells the parts apart.
"""

import sys
from pathlib import Path

import numpy as np
from absl import app, flags
from PIL import Image, ImageDraw, ImageFilter
from tqdm import tqdm

SIZES = ((640, 480), (800, 600), (1024, 768), (1280, 960), (1600, 1200), (1280, 720))
"""Width and height; about half of the photos are turned to portrait."""

KINDS = ("bolt", "bracket", "nut")
LABELLED, MASKED = 240, 60

flags.DEFINE_integer("seed", 0, "Seed of all photos.", lower_bound=0)
flags.DEFINE_bool("any_colour", False, "Harder: parts and tables of random colours.")


def write_photos(
    folder: Path,
    seed: int,
    labelled: int = LABELLED,
    masked: int = MASKED,
    any_colour: bool = False,
) -> None:
    """Writes labelled photos and photos with masks.

    Args:
        folder: Takes `parts/` and `masks/`.
        seed: Seed of all photos.
        labelled: Number of photos in class folders, the same of each kind.
        masked: Number of photos with masks.
        any_colour: True for random colours of parts and tables.
    """
    for name in ("images", "masks"):
        (folder / "masks" / name).mkdir(parents=True, exist_ok=True)
    for number in tqdm(range(labelled + masked), "Making photos", unit="photo"):
        random, kind = np.random.default_rng((seed, number)), KINDS[number % len(KINDS)]
        photo, mask = make_photo(random, kind, any_colour)
        if number < labelled:
            file = folder / "parts" / kind / f"IMG_{number:04}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
        else:
            file = folder / "masks" / "images" / f"IMG_{number:04}.jpg"
            mask.save(folder / "masks" / "masks" / f"{file.stem}.png")
        photo.save(file, quality=88)
    (folder / "masks" / "classes.txt").write_text("background\npart\n")


def make_photo(
    random: np.random.Generator, kind: str, any_colour: bool = False
) -> tuple[Image.Image, Image.Image]:
    """A photo, and its mask with 1 where the part is."""
    width, height = SIZES[random.integers(len(SIZES))]
    if random.random() < 0.5:
        width, height = height, width
    table = _texture(random, height, width, any_colour)
    side = random.uniform(0.35, 0.7) * min(height, width)
    centre = [random.uniform(0.55 * side, edge - 0.55 * side) for edge in (width, height)]
    angle = random.uniform(0, 360)
    mask = _silhouette(kind, (width, height), centre, side, angle)
    inside = np.asarray(mask, np.float32)[..., None] / 255
    shadow = mask.filter(ImageFilter.GaussianBlur(side / 25))
    drop = [int(d) for d in random.uniform(-0.06, 0.06, 2) * side]
    dark = np.roll(np.asarray(shadow, np.float32), drop, (0, 1))[..., None] / 255
    base = random.uniform(90, 210) + random.uniform(-35, 35, 3)
    if any_colour:
        base = _distinct(random, table[int(centre[1]), int(centre[0])])
    metal = base * _sheen(random, kind, (width, height), centre, side, angle)
    pixels = table * (1 - 0.5 * dark) * (1 - inside) + metal * inside
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    slope = random.uniform(-0.3, 0.3, 2)
    light = random.uniform(0.75, 1.15) + slope[0] * (rows - 0.5) + slope[1] * (columns - 0.5)
    pixels = pixels * light[..., None] + random.normal(0, random.uniform(2, 8), pixels.shape)
    photo = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return photo, mask.point(lambda value: value > 127).convert("L").point(lambda v: int(v > 0))


def _distinct(random: np.random.Generator, beside: np.ndarray) -> np.ndarray:
    """A random colour that clearly differs from `beside`."""
    while True:
        colour = random.uniform(20, 240, 3)
        if np.abs(colour - beside).max() > 60:
            return colour


def _texture(random: np.random.Generator, height: int, width: int, any_colour: bool) -> np.ndarray:
    """Wood, cloth or stone: noise of several sizes between two colours."""
    grain = np.zeros((height, width), np.float32)
    stretch = random.choice((1, 1, 6))
    for octave in range(2, 8):
        shape = (2**octave, max(2**octave // stretch, 2))
        noise = Image.fromarray(random.normal(0, 1, shape).astype(np.float32))
        resized = noise.resize((width, height), Image.Resampling.BICUBIC)
        grain += np.asarray(resized) * random.uniform(0.3, 1) / octave
    if random.random() < 0.3:  # Cloth, or boards.
        period = random.uniform(20, 120)
        grain += 0.4 * np.sin(np.arange(width) * 2 * np.pi / period)[None]
    share = (0.5 + grain / (2 * grain.std() + 1e-6)).clip(0, 1)[..., None]
    colours = random.uniform(30, 220, (2, 3))
    if not any_colour:
        colours[1] = 0.5 * colours[0] + 0.5 * colours[1]  # Not a chessboard.
    return share * colours[0] + (1 - share) * colours[1]


def _sheen(
    random: np.random.Generator, kind: str, size: tuple[int, int], centre: list, side: float,
    angle: float,
) -> np.ndarray:  # fmt: skip
    """Shading across the part, and the thread of a bolt, `(height, width, 1)`."""
    width, height = size
    turn = np.deg2rad(angle)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    along = (columns - centre[0]) * np.cos(turn) - (rows - centre[1]) * np.sin(turn)
    across = (columns - centre[0]) * np.sin(turn) + (rows - centre[1]) * np.cos(turn)
    sheen = 1 + 0.25 * np.cos(across / side * random.uniform(4, 9))
    if kind == "bolt":
        thread = np.where(along > -0.2 * side, 0.12 * np.cos(along / side * 90), 0)
        sheen = sheen + thread
    return sheen[..., None]


def _silhouette(
    kind: str, size: tuple[int, int], centre: list, side: float, angle: float
) -> Image.Image:
    """The part in white, with smooth edges."""
    scale = 512
    shape = Image.new("L", (scale, scale), 0)
    draw = ImageDraw.Draw(shape)
    if kind == "bolt":
        draw.rectangle((130, 205, 500, 307), fill=255)
        draw.regular_polygon((110, 256, 105), 6, fill=255)
    elif kind == "nut":
        draw.regular_polygon((256, 256, 245), 6, fill=255)
        draw.ellipse((146, 146, 366, 366), fill=0)
    else:
        draw.rectangle((40, 20, 190, 490), fill=255)
        draw.rectangle((40, 340, 480, 490), fill=255)
        for x, y in ((115, 100), (400, 415)):
            draw.ellipse((x - 38, y - 38, x + 38, y + 38), fill=0)
    length = max(int(side), 8)
    turned = shape.resize((length, length), Image.Resampling.LANCZOS).rotate(
        angle, Image.Resampling.BICUBIC, expand=True
    )
    mask = Image.new("L", size, 0)
    place = [int(c - edge / 2) for c, edge in zip(centre, turned.size, strict=True)]
    mask.paste(turned, (place[0], place[1]))
    return mask


def main(words: list[str]) -> None:
    """Writes the photos into the given folder."""
    if len(words) != 2:
        sys.exit("usage: python benchmarks/made_photos.py FOLDER [--seed N]")
    write_photos(Path(words[1]), flags.FLAGS.seed, any_colour=flags.FLAGS.any_colour)


if __name__ == "__main__":
    app.run(main)
