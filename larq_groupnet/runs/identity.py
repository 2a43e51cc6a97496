"""Facts about a run that its recipe does not have: its class names and the digest of its images."""

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
    """The classes of a run, for older versions from its results. Empty if not known."""
    run = read_json(folder / FILE)
    if isinstance(run.get("classes"), list):
        return tuple(run["classes"])
    keras = read_json(folder / "results.json").get("keras")
    found = (keras.get("iou") or keras.get("recall")) if isinstance(keras, dict) else None
    return tuple(found) if isinstance(found, dict) else ()


def read_temperature(folder: Path) -> float:
    """The temperature of a judged run; 1 if the run is not judged."""
    found = read_json(folder / "results.json").get("temperature", 1.0)
    return float(found) if is_positive(found) else 1.0


def record_classes(folder: Path, classes: Sequence[str], images: str = "") -> None:
    """Writes the classes of a run, and the `Dataset.digest` of the images that it began with."""
    images = read_json(folder / FILE).get("images") or images
    values = {"classes": list(classes), "images": images, "version": __version__}
    write_json(folder / FILE, values)


def changed_images(folder: Path, dataset: str, images: str) -> list[str]:
    """A line for the user if a run is resumed with a dataset whose digest has changed."""
    if read_json(folder / FILE).get("images", "") in ("", images):
        return []
    return [
        f"{folder}: files or labels of {dataset} have changed since this run began, so some test "
        "images may have been trained on. For reliable figures, train again in another folder."
    ]


def describe_recipe(recipe: Recipe, classes: Sequence[str]) -> dict[str, Any]:
    """The description to store in the weights files of a run: plain values of `Metadata`.

    Empty if a file cannot describe the run, for example with a quantizer that is an object.
    """
    about = tuple(classes), recipe.preprocessing(), (), NOT_STATED, recipe.name
    try:
        return Metadata(recipe.model, recipe.dataset, *about).to_dict()
    except MetadataError:
        return {}


def check_classes(known: Sequence[str], received: Sequence[str], whose: str, dataset: str) -> None:
    """Checks that a dataset has the classes that a network has learned, in the same order.

    Args:
        known: Classes of the network; empty if not known.
        received: Classes of the dataset; empty if not known.
        whose: Name of the network in an error.
        dataset: Name of the dataset in an error.

    Raises:
        DatasetError: If the classes differ; names the first difference.
    """
    if not known or not received or list(known) == list(received):
        return
    if len(known) != len(received):
        expected, given = f"{len(known)}: {few(known)}", f"{len(received)}: {few(received)}"
    else:
        label = next(i for i, (a, b) in enumerate(zip(known, received, strict=True)) if a != b)
        expected, given = f"{known[label]!r} as class {label}", f"{received[label]!r}"
    raise DatasetError(
        f"classes: expected the classes of {whose}, {expected}. Received: {given} in {dataset}. "
        "Classes are compared by name and order; rename or add the folders, or write classes.txt."
    )
