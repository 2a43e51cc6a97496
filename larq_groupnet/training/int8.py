"""Converts a run to an int8 file."""

from __future__ import annotations

from pathlib import Path

from larq_groupnet.deploy import convert_int8, quantize
from larq_groupnet.deploy.int8 import is_int8
from larq_groupnet.runs.saved import data_of, describe, first_images
from larq_groupnet.runs.source import find_source

VERIFIED = 4
"""Number of validation images on which the file is compared with Keras before it is kept."""


def convert_run(
    run: str | Path,
    path: str | Path,
    data_dir: Path,
    *,
    samples: int = 64,
    size: tuple[int, int] | None = None,
) -> Path:
    """Converts the network of a run to an int8 file.

    Args:
        run: As for `load_run`.
        path: Where to write the file.
        data_dir: Folder of the datasets.
        samples: Number of training images that calibrate the ranges of activations.
        size: As for `load_run`.

    Returns:
        The path; the file was verified on validation images.

    Raises:
        ConversionError: If a layer cannot be int8: says which, why, and what to do.
        RecipeError: If `run` is not a run.
    """
    source = find_source(run).sized(size)
    data, model = data_of(source, data_dir), source.load()
    if not is_int8(model):
        model = quantize(model, first_images(data, "train", samples))
    return convert_int8(
        model,
        path,
        data=first_images(data, "validation", VERIFIED),
        description=describe(source, data_dir),
    )
