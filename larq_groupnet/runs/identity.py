"""What a run is beside its recipe: the names of its classes, in the order of their labels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py

from larq_groupnet.errors import DatasetError
from larq_groupnet.files import write_json
from larq_groupnet.recipes.recipe import Recipe

FILE = "run.json"

_ATTRIBUTE = "larq_groupnet"
"""Of a weights file (HDF5): what it says of itself, as JSON."""

_LARGEST_ATTRIBUTE = 2**16 - 2**10
"""HDF5 holds no more in an attribute; a file with more classes says nothing."""


def read_classes(folder: Path) -> tuple[str, ...]:
    """The classes of a run; of one of an older version, from its results. Empty if not known."""
    for name in (FILE, "results.json"):
        file = folder / name
        if not file.is_file():
            continue
        try:
            values = json.loads(file.read_text())
            if name == FILE:
                return tuple(values["classes"])
            keras = values["keras"]
            return tuple(keras["iou"] if "iou" in keras else keras["recall"])
        except (LookupError, TypeError, ValueError):
            continue
    return ()


def record_classes(folder: Path, classes: Sequence[str], version: str) -> None:
    """Writes which classes a run learns."""
    write_json(folder / FILE, {"classes": list(classes), "version": version})


def describe_recipe(recipe: Recipe, classes: Sequence[str]) -> dict[str, Any]:
    """What has to be known to use the weights that a recipe trains, in plain values."""
    height, width, _ = recipe.model.input_shape
    return {
        "name": recipe.name,
        "config": recipe.model.to_dict(),
        "classes": list(classes),
        "dataset": recipe.dataset,
        "preprocessing": {"size": [height, width], **recipe.preprocessing()},
    }


def stamp(path: Path, description: Mapping[str, Any]) -> None:
    """Writes into a weights file what it is, if that is known."""
    try:
        text = json.dumps(description)
    except TypeError:  # A quantizer may be an object, which no file can name.
        return
    if description and len(text) < _LARGEST_ATTRIBUTE:
        with h5py.File(path, "a") as file:
            file.attrs[_ATTRIBUTE] = text


def read_stamp(path: Path) -> dict[str, Any] | None:
    """What a weights file says of itself; `None` if it says nothing."""
    if not h5py.is_hdf5(path):
        return None
    with h5py.File(path) as file:
        text = file.attrs.get(_ATTRIBUTE)
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def check_classes(known: Sequence[str], received: Sequence[str], whose: str, dataset: str) -> None:
    """Sees whether a dataset has the classes that a network has learned, in the same order.

    Args:
        known: Of the network; empty if they are not known, as for `received`.
        received: Of the dataset.
        whose: What to call the network in an error.
        dataset: What to call the dataset.

    Raises:
        DatasetError: If they differ; names the first difference.
    """
    if not known or not received or list(known) == list(received):
        return
    if len(known) != len(received):
        expected, given = f"{len(known)}: {_few(known)}", f"{len(received)}: {_few(received)}"
    else:
        label = next(i for i, (a, b) in enumerate(zip(known, received, strict=True)) if a != b)
        expected, given = f"{known[label]!r} as class {label}", f"{received[label]!r}"
    raise DatasetError(
        f"classes: expected those of {whose}, {expected}. Received: {given} in {dataset}. "
        "Classes are compared by name and order; rename or add the folders, or write classes.txt."
    )


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return f"{shown}, ..." if len(names) > 8 else shown
