"""Makes a release file, its registry entry and its card from a finished run or a weights file."""

from __future__ import annotations

import dataclasses
import math
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import tensorflow as tf

from larq_groupnet.data import ABOUT
from larq_groupnet.data.pipeline import open_dataset
from larq_groupnet.data.records import RecordDataset
from larq_groupnet.deploy.runtime import LCE
from larq_groupnet.errors import WeightsError
from larq_groupnet.family import list_models
from larq_groupnet.files import path_of, read_json, replacing, write_text
from larq_groupnet.network.config import GroupNetConfig, fields_affecting, unused_options
from larq_groupnet.recipes.load import load_recipes
from larq_groupnet.recipes.overrides import override
from larq_groupnet.recipes.recipe import Recipe, differences
from larq_groupnet.runs.saved import load_run
from larq_groupnet.runs.source import Source, find_source, read_recipe
from larq_groupnet.tasks.judgement import disagreement
from larq_groupnet.tasks.task import kind_in
from larq_groupnet.training.distribution import Runtime
from larq_groupnet.weights import packed
from larq_groupnet.weights.described import metadata_of
from larq_groupnet.weights.metadata import NOT_STATED, Metadata, Metric
from larq_groupnet.weights.registry import Entry, check_name, register

PICTURES = {
    "predictions": "What the converted file says",
    "curves": "Training",
    "confusion": "Confusion of the Keras model on the test split",
}
"""Pictures that a card shows: name of the file in a run -> heading."""

_RESULTS = ("headline", "unit", "keras", "lce", "agreement", "parameters", "macs")

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
# A class name may hold any character, and must not end its cell.
_TEMPLATES.filters["cell"] = lambda text: " ".join(str(text).replace("|", "\\|").split())
_TEMPLATES.filters["mib"] = lambda size: f"{size / 2**20:.2f} MiB"


def _options(config: GroupNetConfig) -> dict[str, Any]:
    """The options that decide what a network computes, without unused ones."""
    unused = unused_options(config.decomposition, config.head)
    names = fields_affecting("weights", "arithmetic")
    return {name: getattr(config, name) for name in names if name not in unused}


_TEMPLATES.globals["options_of"] = _options


class PublishError(WeightsError):
    """A run that cannot be published. Says what is missing and what to do."""


def publish(
    run: str | Path,
    name: str,
    output_dir: str | Path,
    *,
    licence: str = "",
    command: str | None = None,
    zoo: str | Path = "zoo",
    test_images: bool = True,
) -> Entry:
    """Writes the release file of a finished run, its registry entry, its card and its pictures.

    For weights without a run, such as an imported checkpoint, it writes no pictures, and the card
    has the figures of the weights' own metadata.

    With `LARQ_GROUPNET_CACHE=OUTPUT_DIR`, `weights=NAME` finds the set in this folder. A set with
    the same name, model and configuration is replaced.

    Args:
        run: Folder written by `train.py`, or any other source of `find_source`.
        name: Name of the set, to use as `weights`.
        output_dir: Folder for the release file, `MODEL-NAME.md`, `MODEL-NAME-predictions.png`,
            `-curves.png` and `-confusion.png`; the entry is added to its `registry.json`.
        licence: Terms of these weights; by default the terms in their metadata, if any.
        command: The command that made the run and measured its results. `None` derives it from the
            recipe; give it if the run had options that no recipe holds, such as `--start_from` or
            `--mixed_precision`.
        zoo: Folder of the recipe with which the run's recipe is compared to derive the command.
        test_images: True to include `predictions.png`. It shows images of the test set, which the
            terms of a dataset may forbid.

    Returns:
        The entry.

    Raises:
        RecipeError: If the recipe of the run cannot be read.
        PublishError: If the run is not finished or not readable, or if `command` is required.
        RegistryError: If the name is invalid, or the folder's `registry.json` cannot be read.
        OSError: If `output_dir` cannot be written.
    """
    check_name("name", name)  # Before anything is built, which takes seconds.
    output_dir, path, zoo = path_of(output_dir), path_of(run), path_of(zoo)
    if not path.is_dir():
        if command:
            raise PublishError(
                "command: expected none for weights without a run, whose metadata has it. "
                f"Received: {command}"
            )
        return _publish_weights(find_source(run), name, output_dir, licence)
    recipe, results = _read_run(path)
    check_name("model", recipe.name)
    pictures = {
        name: heading
        for name, heading in PICTURES.items()
        if (path / f"{name}.png").is_file() and (test_images or name != "predictions")
    }
    if not command:
        runtime = Runtime.of_run(path) or Runtime()
        command = _command(recipe, zoo, runtime.precision)
    metadata = Metadata(
        recipe.model.replace(binary=recipe.last_phase.binary),
        recipe.dataset,
        tuple(_per_class(results)["keras"]),
        recipe.preprocessing(),
        tuple(_metrics(results, command)),
        licence or NOT_STATED,
        recipe.name,
        results.get("temperature", 1.0),
    )
    model = load_run(path / f"{recipe.last_phase.name}.h5")
    files = {picture: path / f"{picture}.png" for picture in pictures}
    facts = {**_facts(recipe, results), "command": command, "pictures": pictures}
    return _write(model, metadata, recipe.name, name, output_dir, "card.md.jinja", facts, files)


def _publish_weights(source: Source, name: str, output_dir: Path, licence: str) -> Entry:
    """`publish` for weights without a run."""
    if source.integers is not None:
        raise _of_integers(source.weights)
    known = metadata_of(source.weights)
    if known is None:
        raise PublishError(
            f"weights: expected a file with a description. Received: {source.weights}. Publish "
            "the folder of its run."
        )
    check_name("model", source.name)
    metadata = dataclasses.replace(known, licence=licence or known.licence, config=source.config)
    facts = {"data": "Images of whoever trained these weights."}
    model = source.load()
    return _write(model, metadata, source.name, name, output_dir, "file.md.jinja", facts, {})


def _write(
    model: tf.keras.Model,
    metadata: Metadata,
    model_name: str,
    name: str,
    output_dir: Path,
    template: str,
    facts: Mapping[str, Any],
    pictures: Mapping[str, Path],
) -> Entry:
    """Writes the release file, the card (a template filled with facts), and pictures."""
    with tempfile.TemporaryDirectory() as folder:
        path = packed.save(model, metadata, Path(folder) / "weights.safetensors")
        entry = Entry.of(path, name, model_name)
        # Prefix of the names of the card and pictures.
        stem, by_name = f"{model_name}-{name}", model_name in list_models()
        card = _TEMPLATES.get_template(template).render(
            facts, entry=entry, config=metadata.config, by_name=by_name, stem=stem
        )
        for picture, file in pictures.items():
            with replacing(output_dir / f"{stem}-{picture}.png") as temporary:
                shutil.copyfile(file, temporary)
        write_text(output_dir / f"{stem}.md", card)
        # Last, so that nothing is registered without a card.
        return register(path, name, model_name, output_dir)


def _read_run(folder: Path) -> tuple[Recipe, dict[str, Any]]:
    """The recipe and the results of a finished run."""
    recipe = read_recipe(folder)
    if recipe is None:
        raise PublishError(
            f"run: expected the folder of a run of train.py. Received: {folder} (no recipe.json)"
        )
    if recipe.last_phase.int8:
        raise _of_integers(folder)
    # Older runs and runs of other tasks have no picture of the confusion.
    needed = (f"{recipe.last_phase.name}.h5", "results.json", "predictions.png", "curves.png")
    if missing := [file for file in needed if not (folder / file).is_file()]:
        raise PublishError(
            f"run: expected a finished run. Received: {folder}, which has no "
            f"{', '.join(missing)}. Finish it: larq-groupnet train --resume {folder}"
        )
    results = read_json(folder / "results.json")
    if absent := [key for key in _RESULTS if key not in results]:
        raise PublishError(
            f"run: expected {', '.join(_RESULTS)} in {folder / 'results.json'}. Received none of: "
            f"{', '.join(absent)}. Train again with this version"
        )
    return recipe, results


def _of_integers(path: Path) -> PublishError:
    return PublishError(
        "run: expected a run whose last phase is not int8, because a release file holds real "
        f"weights. Received: {path}"
    )


def _metrics(results: dict[str, Any], command: str) -> list[Metric]:
    """The metrics of a run's final table, for Keras and the converted file."""
    return [
        Metric(f"{label}, {engine}", results[key][metric], command)
        for metric, label in kind_in(results).labels.items()
        for key, engine in _engines(results).items()
        if metric in results[key]
    ]


def _engines(results: Mapping[str, Any]) -> dict[str, str]:
    """The engines that computed figures: key in `results.json` -> name in a card."""
    names = {"keras": "Keras", "lce": results.get("engine", LCE), "interpreter": LCE}
    return {key: name for key, name in names.items() if key in results}


def _per_class(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Key as in `_engines` -> class name -> recall or IoU; names in the order of their labels."""
    kind = _kind(results)
    return {
        key: {n: math.nan if v is None else v for n, v in results[key][kind].items()}
        for key in _engines(results)
    }


def _kind(results: dict[str, Any]) -> str:
    return next(iter(kind_in(results).class_labels))


def _command(recipe: Recipe, zoo: Path, precision: str = Runtime.precision) -> str:
    """The `train.py` command for a recipe, from its differences to the recipe in `zoo`.

    Raises:
        PublishError: If `zoo` has no such recipe, or options cannot express the differences.
    """
    words = ["python", "train.py", "--model", recipe.name]
    if not (zoo / f"{recipe.name}.py").is_file():
        raise PublishError(
            "command: expected the command that made the run, because there is no "
            f"{zoo / recipe.name}.py to derive it from. Received: none. Give it as command, or "
            "work in the folder that has the recipe."
        )
    file = load_recipes(recipe.name, zoo)
    base = file.for_dataset(recipe.dataset)
    # No option sets `binary` of a phase.
    changes = {
        key: str(value)
        for key, (_, value) in differences(base, recipe).items()
        if not key.endswith(".binary")
    }
    if override(base, changes.items()) != recipe:
        raise PublishError(
            f"command: expected the command that made the run, because {zoo / recipe.name}.py has "
            "different phases. Received: none. Give it as command."
        )
    if recipe.dataset != file.recipes[0].dataset:
        words += ["--dataset", recipe.dataset]
    changes.pop("dataset", None)
    words += [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    if precision != Runtime.precision:
        words += ["--mixed_precision", precision]
    return shlex.join(words)


def _facts(recipe: Recipe, results: dict[str, Any]) -> dict[str, Any]:
    """The facts about a run for its card."""
    per_class = _per_class(results)
    known = {name: value for name, value in per_class["keras"].items() if math.isfinite(value)}
    return {
        "recipe": recipe,
        "results": results,
        "engines": _engines(results),
        "phases": recipe.trained,
        "data": _data(recipe),
        "figures": {
            label: key for key, label in kind_in(results).labels.items() if key in results["keras"]
        },
        "kind": kind_in(results).class_labels[_kind(results)],
        "per_class": per_class,
        "weakest": min(known, key=known.__getitem__),
        "warning": disagreement(results),
    }


def _data(recipe: Recipe) -> str:
    """Describes a dataset; a folder's publisher has to add the description."""
    if about := ABOUT.get(recipe.dataset.partition(":")[0]):
        return about
    with tempfile.TemporaryDirectory() as folder:
        own = recipe.dataset.startswith(("folder:", "arrays:"))
        dataset = None if own else open_dataset(recipe.dataset, folder)
    if not isinstance(dataset, RecordDataset):
        return "Images of whoever published these weights."
    info = dataset.builder.info
    return " ".join(f"{info.description} {info.homepage}".split())
