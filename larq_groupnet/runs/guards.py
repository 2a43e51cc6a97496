"""Finds problems that would end a run after hours, and names bad files that end one."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_groupnet.data.base import Dataset
from larq_groupnet.data.folders import FolderDataset
from larq_groupnet.files import PARTIAL, check_output, nearest, write_json
from larq_groupnet.recipes.recipe import Recipe, RecipeError
from larq_groupnet.runs.identity import check_classes, read_classes, record_classes
from larq_groupnet.runs.lock import holding, is_new
from larq_groupnet.runs.snapshots import KEPT

SPARE_BYTES = 2**26
"""Space for small files: logs, the converted file, tables and pictures."""


def check_folder(values: dict[str, Any], output_dir: Path, kind: str = "recipe") -> list[str]:
    """Checks that an output folder is new, empty, or holds a run of the same recipe (or search).

    The last phase of a run may get more epochs than before.

    Args:
        values: Values of the run or search.
        output_dir: The folder.
        kind: Stem of the JSON file that describes the content of the folder.

    Returns:
        Lines for the user about changes.

    Raises:
        RecipeError: If the folder holds something else; lists the differences.
    """
    if is_new(output_dir):
        return []
    before = output_dir / f"{kind}.json"
    if not before.is_file():
        raise RecipeError(
            f"output_dir: expected a new or empty folder, or one with a {kind} to resume. "
            f"Received: {output_dir}, which is in use. Name another one, or remove it."
        )
    try:
        started = json.loads(before.read_text())
        # As this version would write it, so that new fields have their defaults.
        if kind == "recipe":
            started = Recipe.from_dict(started).to_dict()
        else:
            started["recipe"] = Recipe.from_dict(started["recipe"]).to_dict()
    except (LookupError, TypeError, ValueError) as error:
        raise RecipeError(
            f"output_dir: expected a run that this version can resume. Received: {before}, "
            f"which it cannot read ({error}). Name another folder."
        ) from error
    old, new = (_flat(json.loads(json.dumps(each, default=str))) for each in (started, values))
    changed = [k for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
    if kind == "recipe" and changed == [last := _last_epochs(values)] and old[last] < new[last]:
        return [
            f"{output_dir}: {last} was {old[last]} and is {new[last]}. The learning rate follows "
            f"the schedule of {new[last]} epochs from here, so the weights differ from a run that "
            f"had {new[last]} from the start."
        ]
    if changed:
        differences = ", ".join(f"{k} was {old.get(k)!r}, is {new.get(k)!r}" for k in changed)
        classes = ", ".join(read_classes(output_dir)) if "model.num_classes" in changed else ""
        learned = f" It has learned the classes {classes}." * bool(classes)
        raise RecipeError(
            f"output_dir: {output_dir} holds a run of another {kind} ({differences}).{learned} "
            "Give the same options to resume it, or name another folder."
        )
    return []


def _last_epochs(values: dict[str, Any]) -> str:
    """The dotted key of the epochs of the last trained phase."""
    trained = [phase["name"] for phase in values["phases"] if phase["epochs"]]
    return f"phases.{trained[-1]}.epochs"


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Flattens nested dictionaries, and lists of dictionaries, to one with dotted keys."""
    if isinstance(values, list) and values and all(isinstance(v, dict) for v in values):
        values = {v.get("name", str(i)): v for i, v in enumerate(values)}
    if not isinstance(values, dict):
        return {prefix: values}
    found = {}
    for key, value in values.items():
        found.update(_flat(value, f"{prefix}.{key}" if prefix else key))
    return found


def check_room(recipe: Recipe, output_dir: Path, parameters: int) -> None:
    """Checks that the folder can be written and has enough space, and writes the recipe.

    Args:
        recipe: The recipe to train.
        output_dir: Folder of the run.
        parameters: Number of parameters of the network.

    Raises:
        OutputError: If the folder cannot be written.
        RecipeError: If the files of the run will not fit.
    """
    phases = recipe.trained
    # The optimizer holds at most two values per weight, and an average one more.
    snapshot = 3 + any(phase.average for phase in phases)
    copies = (KEPT + 1) * snapshot + 2 * len(phases) + 1
    before = sum(file.stat().st_size for file in output_dir.rglob("*") if file.is_file())
    needed = max(4 * parameters * copies - before, 4 * parameters) + SPARE_BYTES
    check_output(output_dir, folder=True)
    there = nearest(output_dir)
    free = shutil.disk_usage(there).free
    if free < needed:
        raise RecipeError(
            f"output_dir: expected {needed / 2**20:.0f} MiB free for weights and snapshots. "
            f"Received: {free / 2**20:.0f} MiB in {there}"
        )
    write_json(output_dir / "recipe.json", recipe.to_dict())


@contextlib.contextmanager
def claimed(
    recipe: Recipe, output_dir: Path, classes: Sequence[str], parameters: int, images: str = ""
) -> Iterator[None]:
    """Locks a run's folder, and writes its recipe and classes there.

    Args:
        recipe: The recipe to train.
        output_dir: Folder of the run.
        classes: Classes of the dataset, in the order of their labels.
        parameters: Number of parameters of the network.
        images: Digest of the dataset.

    Raises:
        UserError: If another process holds the folder, or as `check_folder` and `check_room`.
        DatasetError: If the folder holds a run of other classes.
    """
    with holding(output_dir):
        check_folder(recipe.to_dict(), output_dir)  # Another process may have been first.
        check_classes(read_classes(output_dir), classes, f"the run in {output_dir}", recipe.dataset)
        for left in output_dir.glob(PARTIAL):  # By a process that was killed.
            left.unlink()
        check_room(recipe, output_dir, parameters)
        record_classes(output_dir, classes, images)
        yield


@contextlib.contextmanager
def naming_bad_files(builder: Dataset) -> Iterator[None]:
    """Names the files when TensorFlow only says that an image cannot be decoded.

    Raises:
        FolderError: If a file of the folder has disappeared or become unreadable.
    """
    try:
        yield
    except tf.errors.OpError:
        if isinstance(builder, FolderDataset):
            builder.check_files()
        raise
