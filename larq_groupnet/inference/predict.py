"""The command `predict`: turns pictures into class maps, most likely classes or values."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin
from tqdm import tqdm

from larq_groupnet.data import DatasetWarning
from larq_groupnet.data.images import read_image
from larq_groupnet.data.listing import CAMERA_FILE, SUFFIXES, LeftOut, images_in, printable
from larq_groupnet.errors import MissingFileError, OutputError, UserError
from larq_groupnet.files import check_output, path_of, replacing, write_csv
from larq_groupnet.inference.sources import Predictor

COLUMNS = ("image", "rank", "class", "probability")

_SOFTWARE = "larq-groupnet predict"
"""Marks the PNG and NPY files that this command has written, and may overwrite."""

_EXPECTED = "expected an image file, a folder of images, or several of them"


class NoImagesError(UserError):
    """There is nothing to predict."""


def predict_files(
    predictor: Predictor, source: str | Path | Sequence[str | Path], output_dir: str | Path
) -> tuple[int, list[Path]]:
    """Predicts images, or every image in a folder and its subfolders, and prints what it found.

    For a network that classifies pixels, `masks/NAME.png` holds the classes as a palette PNG of the
    image's own size, and `overlays/NAME.png` shows them. For a network that classifies images,
    `predictions.csv` has the most likely classes. Other tasks write the files of their
    `prediction`. A file that cannot be read is named and skipped. No file is left half written, and
    only files that this function has written are overwritten, so the output folder may hold images.

    Args:
        predictor: The network.
        source: An image, a folder, or several of them. Results are named by the path of an image
            relative to its folder; with several, relative to the folder that holds them all.
        output_dir: Receives the results. Earlier results, wherever they are, are not read.

    Returns:
        How many images were predicted, and the files that were skipped.

    Raises:
        FileNotFoundError: If `source` does not exist.
        NoImagesError: If it holds no image.
        OutputError: If a result would replace a file of another origin, which is kept, or
            `output_dir` cannot be a folder.
        OSError: If a result cannot be written.
    """
    if not isinstance(predictor, Predictor):
        raise UserError(
            "predict_files: expected a Predictor, such as load_predictor('cifar10') returns. "
            f"Received: {predictor!r}"
        )
    several: Any = source  # A path, or an iterable of paths.
    if isinstance(several, str) or not np.iterable(several):
        several = [source]
    sources = [path_of(each, _EXPECTED) for each in several]
    if not sources:
        raise NoImagesError(f"predict_files: {_EXPECTED}. Received: none")
    output_dir = check_output(output_dir, folder=True)
    # Keys are full paths, so that an image that is given twice is predicted once.
    found_at = {os.path.abspath(file): file for each in sources for file in find_images(each)}
    files = list(found_at.values())
    root = os.path.commonpath(
        [os.path.abspath(each if each.is_dir() else each.parent) for each in sources]
    )
    names = _names([Path(full).relative_to(root) for full in found_at])
    task, table = predictor.task(len(predictor.classes)), output_dir / "predictions.csv"
    if not predictor.dense:
        _check_own([table])
    skipped, rows = [], []
    # Outside a terminal, the bar would only clutter the lines.
    progress = tqdm(files, "Predicting", unit="image", disable=None, leave=False)
    for file, name in zip(progress, names, strict=True):
        try:
            pixels = read_pixels(file, predictor.input_shape[2])
        except UserError:
            skipped.append(file)
            tqdm.write(f"{printable(str(file))}: skipped, it cannot be decoded", file=sys.stderr)
            continue
        found = task.prediction(pixels, predictor(pixels), predictor.classes)
        contents = {
            (output_dir / folder / name).with_suffix(_suffix(content)): content
            for folder, content in found.files.items()
        }
        _check_own([*contents])
        with contextlib.ExitStack() as stack:  # All files or none.
            for path, content in contents.items():
                _save(content, path, stack)
        rows += [(file, rank, *row) for rank, row in enumerate(found.rows, 1)]
        tqdm.write(f"{printable(str(file))}: {found.line}")
    if not predictor.dense:
        write_csv(table, [COLUMNS, *((*row, f"{share:.6f}") for *row, share in rows)])
    return len(files) - len(skipped), skipped


def find_images(source: str | Path) -> list[Path]:
    """The file, or the images in a folder and its subfolders, by name, except earlier results.

    Raises:
        FileNotFoundError: If `source` does not exist.
        NoImagesError: If it is a folder without images.
    """
    source = path_of(source, _EXPECTED)
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise _missing(source, "an image or a folder of images")
    others, unread = LeftOut(), LeftOut()
    files = [file for file in map(Path, images_in(source, others)) if not _is_own(file)]
    unread.add(CAMERA_FILE, others.kinds.get(CAMERA_FILE, ()))
    left_out = f"{source}: left out {line}" if (line := unread.line()) else ""
    if not files:
        raise NoImagesError(
            f"expected images ({', '.join(SUFFIXES)}) in the folder. Received: "
            f"{left_out or f'{source}, which has none'}"
        )
    if left_out:
        warnings.warn(left_out, DatasetWarning, 2)
    return files


def read_pixels(file: str | Path, channels: int) -> np.ndarray:
    """An image as training and evaluation read it, `(height, width, channels) uint8`.

    Args:
        file: An image file of a format in `listing.SUFFIXES`.
        channels: 1 for grey, 3 for colour.

    Raises:
        FileNotFoundError: If the file is missing.
        UserError: If it cannot be decoded, or for another number of channels.
    """
    file = path_of(file, "expected an image file")
    if channels not in (1, 3):
        raise UserError(
            f"channels: expected 1 for grey or 3 for colour. Received: channels={channels!r}"
        )
    if not os.path.exists(file):
        raise _missing(file, "an image")
    try:
        return read_image(file, channels).numpy()
    except Exception as error:  # Decoders raise all kinds of errors.
        reason = " ".join(str(getattr(error, "message", error)).split())[:200]
        raise UserError(
            f"{printable(str(file))}: expected an image ({', '.join(SUFFIXES)}). Received: a file "
            f"that cannot be decoded: {reason}"
        ) from error


def _missing(file: Path, expected: str) -> MissingFileError:
    there = "a folder" if file.is_dir() else "a pipe or a device"
    received = there if file.exists() else "no such file"
    return MissingFileError(f"{file}: expected {expected}. Received: {received}. Check the path.")


def _names(files: Sequence[Path]) -> list[Path]:
    """`NAME.png` for each file, or `NAME.SUFFIX.png` where two would be the same."""
    names = [file.with_suffix(".png") for file in files]
    while twice := {name for name, count in Counter(names).items() if count > 1}:
        names = [
            file.with_name(f"{file.name}.png") if name in twice else name
            for file, name in zip(files, names, strict=True)
        ]
    return names


def _check_own(paths: Sequence[Path]) -> None:
    others = [path for path in paths if path.exists() and not _is_own(path)]
    if others:
        raise OutputError(
            "output: expected a folder where results replace only earlier ones. Received: "
            f"{others[0]}, of another origin. Name another folder for the results."
        )


def _is_own(path: Path) -> bool:
    """True for a file that this command has written."""
    if path.suffix == ".csv":
        with path.open("rb") as file:
            return file.readline().strip() == ",".join(COLUMNS).encode()
    if path.suffix == ".npy":
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - len(_SOFTWARE), 0))
            return file.read() == _SOFTWARE.encode()
    if path.suffix != ".png":  # Avoids opening every photo of a folder.
        return False
    try:
        with warnings.catch_warnings():
            # Only the header is read.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return bool(image.info.get("Software") == _SOFTWARE)
    except Exception:  # The reader will report it.
        return False


def _suffix(content: Image.Image | np.ndarray) -> str:
    return ".npy" if isinstance(content, np.ndarray) else ".png"


def _save(content: Image.Image | np.ndarray, path: Path, stack: contextlib.ExitStack) -> None:
    if isinstance(content, np.ndarray):
        with stack.enter_context(replacing(path)).open("wb") as file:
            np.save(file, content)
            file.write(_SOFTWARE.encode())  # After the array, where `np.load` does not read.
        return
    about = PngImagePlugin.PngInfo()
    about.add_text("Software", _SOFTWARE)
    content.save(stack.enter_context(replacing(path)), pnginfo=about)
