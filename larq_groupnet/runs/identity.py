"""What a run is beside its recipe: the names of its classes, and which images it learns from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from larq_groupnet.errors import DatasetError
from larq_groupnet.files import read_json, write_json
from larq_groupnet.hints import few
from larq_groupnet.recipes.recipe import Recipe
from larq_groupnet.values import is_positive
from larq_groupnet.version import __version__
from larq_groupnet.weights.metadata import NOT_STATED, Metadata, MetadataError

FILE = "run.json"


def read_classes(folder: Path) -> tuple[str, ...]:
    """The classes of a run; of one of an older version, from its results. Empty if not known."""
    run = read_json(folder / FILE)
    if isinstance(run.get("classes"), list):
        return tuple(run["classes"])
    keras = read_json(folder / "results.json").get("keras")
    found = (keras.get("iou") or keras.get("recall")) if isinstance(keras, dict) else None
    return tuple(found) if isinstance(found, dict) else ()


def read_temperature(folder: Path) -> float:
    """The temperature of a judged run; 1 of one that is not judged."""
    found = read_json(folder / "results.json").get("temperature", 1.0)
    return float(found) if is_positive(found) else 1.0


def record_classes(folder: Path, classes: Sequence[str], images: str = "") -> None:
    """Writes which classes a run learns, and from which images it began, see `Dataset.digest`."""
    images = read_json(folder / FILE).get("images") or images
    values = {"classes": list(classes), "images": images, "version": __version__}
    write_json(folder / FILE, values)


def changed_images(folder: Path, dataset: str, images: str) -> list[str]:
    """A line for the user if a run goes on with a dataset whose digest was another."""
    if read_json(folder / FILE).get("images", "") in ("", images):
        return []
    return [
        f"{folder}: files or labels of {dataset} are others than when this run began, so that some "
        "test images may have been trained on. For figures to trust, train anew in another folder."
    ]


def describe_recipe(recipe: Recipe, classes: Sequence[str]) -> dict[str, Any]:
    """What the weights files of a run say of themselves: plain values of `Metadata`.

    Empty where that cannot be said in a file, as of a quantizer that is an object.
    """
    about = tuple(classes), recipe.preprocessing(), (), NOT_STATED, recipe.name
    try:
        return Metadata(recipe.model, recipe.dataset, *about).to_dict()
    except MetadataError:
        return {}


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
        expected, given = f"{len(known)}: {few(known)}", f"{len(received)}: {few(received)}"
    else:
        label = next(i for i, (a, b) in enumerate(zip(known, received, strict=True)) if a != b)
        expected, given = f"{known[label]!r} as class {label}", f"{received[label]!r}"
    raise DatasetError(
        f"classes: expected those of {whose}, {expected}. Received: {given} in {dataset}. "
        "Classes are compared by name and order; rename or add the folders, or write classes.txt."
    )
