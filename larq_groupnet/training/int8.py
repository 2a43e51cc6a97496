"""From a run to a file of 8-bit integers."""

from __future__ import annotations

from pathlib import Path

from larq_groupnet.deploy import convert_int8, quantize
from larq_groupnet.deploy.int8 import is_int8
from larq_groupnet.runs.saved import data_of, describe, first_images
from larq_groupnet.runs.source import find_source

VERIFIED = 4
"""On how many validation images the file is compared with Keras before it is kept."""


def convert_run(
    run: str | Path,
    path: str | Path,
    data_dir: Path,
    *,
    samples: int = 64,
    size: tuple[int, int] | None = None,
) -> Path:
    """Converts the network of a run to a file of 8-bit integers.

    Args:
        run: As for `load_run`.
        path: Where to write.
        data_dir: Where datasets are kept.
        samples: On how many training images the ranges of activations are measured.
        size: As for `load_run`.

    Returns:
        The path; the file was verified on validation images.

    Raises:
        ConversionError: If something cannot be int8: says which layer, why, and what to do.
        RecipeError: If `run` is no run.
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
