"""Reads the description of a weights file, from the file itself or the files beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from larq_groupnet.errors import MissingFileError
from larq_groupnet.files import path_of
from larq_groupnet.network.config import GroupNetConfig
from larq_groupnet.weights import keras_files, packed
from larq_groupnet.weights.container import BROKEN, FormatError
from larq_groupnet.weights.metadata import NOT_STATED, Metadata

LAST = "-last"
"""Suffix to the name of a phase: the file with the weights of its last epoch."""


def metadata_of(path: str | Path) -> Metadata | None:
    """The description of the weights in a file.

    A release file contains it. A Keras file contains it, or it is in the `NAME.json` beside the
    file, which `import-checkpoint` writes, or in the `recipe.json` and `run.json` of its run.

    Args:
        path: A weights file.

    Returns:
        The description; `None` if nothing is known.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If the file, or one beside it, cannot be read.
    """
    path = path_of(path)
    if not path.is_file():
        raise MissingFileError(f"weights: expected a file. Received: {path} (no such file)")
    if path.suffix == ".safetensors":
        return packed.read_metadata(path)
    inside = keras_files.read_description(path)
    own = path.with_name(f"{_stem(path)}.json")
    recipe = path.with_name("recipe.json")
    try:
        if inside is not None:
            return Metadata.from_dict(inside)
        if own.is_file():
            return _of_import(_read(own))
        if recipe.is_file():
            beside = [path.with_name(name) for name in ("run.json", "results.json")]
            run, results = (_read(file) if file.is_file() else {} for file in beside)
            return _of_run(_stem(path), _read(recipe), run, results)
    except BROKEN as error:
        raise FormatError(
            f"weights: expected a description that larq_groupnet has written in {path} or beside "
            f"it. Received: {' '.join(str(error).split())[:200]}"
        ) from error
    return None


def _stem(path: Path) -> str:
    return path.name.removesuffix(path.suffix).removesuffix(".weights")


def _read(path: Path) -> dict[str, Any]:
    if (size := path.stat().st_size) > keras_files.MAX_DESCRIPTION:
        raise ValueError(f"{path.name} has {size} bytes, more than {keras_files.MAX_DESCRIPTION}")
    values = json.loads(path.read_text())
    if not isinstance(values, dict):
        raise ValueError(f"{path.name} has no names and values")
    return values


def _of_import(values: Mapping[str, Any]) -> Metadata:
    if "dataset" in values:
        return Metadata.from_dict({k: v for k, v in values.items() if k != "origin"})
    # Before 2.0 an import wrote only its configuration and licence.
    config = GroupNetConfig.from_dict(values["config"])
    return Metadata(config, "", (), {}, (), values["licence"])


def _of_run(
    stem: str, recipe: Mapping[str, Any], run: Mapping[str, Any], results: Mapping[str, Any]
) -> Metadata:
    config = GroupNetConfig.from_dict(recipe["model"])
    phases = {phase["name"]: phase for phase in recipe["phases"]}
    phase = phases.get(stem.removesuffix(LAST))
    if phase is not None:
        config = config.replace(binary=phase["binary"])
    found = results.get("keras", {})  # Runs before 2.0 have no run.json.
    classes = tuple(run.get("classes") or found.get("iou", found.get("recall", ())))
    of_reading = {
        **{"normalisation": "normalisation", "central_crop": "central_crop"},
        **{"eval_scales": "scales", "eval_flip": "flip"},
    }
    reading = {to: recipe[name] for name, to in of_reading.items() if recipe.get(name) is not None}
    reading["size"] = [*config.input_shape[:2]]
    known = len(classes) == config.num_classes
    about = classes if known else (), reading, (), NOT_STATED, recipe["name"]
    return Metadata(config, recipe["dataset"], *about)
