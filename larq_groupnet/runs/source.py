"""Finds a trained network by a run, a weights file, a release file or a registered name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from larq_groupnet.errors import MissingFileError, RecipeError, UserError
from larq_groupnet.files import path_of
from larq_groupnet.network.config import GroupNetConfig
from larq_groupnet.recipes.recipe import Recipe
from larq_groupnet.runs.identity import read_classes, read_temperature
from larq_groupnet.weights import keras_files, registry
from larq_groupnet.weights.described import LAST, metadata_of

if TYPE_CHECKING:
    import tensorflow as tf

RELEASE = ".safetensors"
"""Suffix of a release file."""

_CHECKPOINTS = (".npz", ".pth", ".pt", ".tar")
"""Suffixes of files that `import-checkpoint` reads."""

EXPECTED = (
    "expected a run's folder, a weights file with its recipe.json or FILE.json beside it, "
    "a .safetensors file or registered weights"
)


@dataclasses.dataclass(frozen=True)
class Source:
    """A trained network, not built yet.

    Attributes:
        weights: The file of its weights.
        config: The network.
        name: The model, such as `groupnet_resnet18`.
        classes: Names in the order of their labels; empty if not known.
        dataset: The dataset of training, or `""`.
        preprocessing: How its test images are read, see `Recipe.preprocessing`.
        recipe: The recipe of training, if known.
        integers: The file of the int8 network that the phase started from, if it is an int8 phase.
        temperature: See `Metadata`; for a run, from its results.
    """

    weights: Path
    config: GroupNetConfig
    name: str
    classes: tuple[str, ...] = ()
    dataset: str = ""
    preprocessing: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    recipe: Recipe | None = None
    integers: Path | None = None
    temperature: float = 1.0

    @property
    def on_bad_image(self) -> str:
        """The recipe's `on_bad_image`; `"error"` if there is no recipe."""
        return self.recipe.on_bad_image if self.recipe else "error"

    def sized(self, size: tuple[int | None, int | None] | None) -> Source:
        """The same network for images of another height and width; `None` for its own.

        Raises:
            RecipeError: If the size is invalid, or the network is int8, whose ranges fit one size.
        """
        if size is not None and not (isinstance(size, list | tuple) and len(size) == 2):
            raise RecipeError(
                f"size: expected height and width in pixels, such as (224, 224). Received: {size!r}"
            )
        if size in (None, self.config.input_shape[:2]):
            return self
        if self.integers is not None:
            raise RecipeError(
                f"input_size: expected {self.config.input_shape[:2]}, at which the int8 ranges of "
                f"{self.weights} were measured. Received: {size}. Use the weights of an earlier "
                "phase, which fit any size."
            )
        shape = (*size, self.config.input_shape[2])  # type: ignore[misc]
        return dataclasses.replace(self, config=self.config.replace(input_shape=shape))

    def load(self) -> tf.keras.Model:
        """Builds the network with its weights.

        Raises:
            WeightsError: If the file holds the weights of another network.
        """
        from larq_groupnet.family import build
        from larq_groupnet.runs.saved import load_model

        if self.weights.suffix == RELEASE:
            return build(self.config, weights=self.weights, name=self.name)
        if self.integers is not None:
            model = load_model(self.integers)
            model.load_weights(self.weights)  # By order: a .keras file has no names of weights.
            return model
        model = build(self.config, name=self.name)
        keras_files.load(model, self.weights, other_head=False, described=True)
        return model


def find_source(source: str | Path, recipe: Recipe | None = None) -> Source:
    """Finds the network that a user names.

    Args:
        source: Folder of a run, for the best weights of its last phase that has any; a weights
            file; a release file; or registered weights: `NAME`, or `MODEL:NAME`.
        recipe: Recipe of an `.h5` without a description.

    Raises:
        MissingFileError: If it is neither an existing file nor a registered name.
        RecipeError: If it is something else, or has no weights.
        WeightsError: If a release file is damaged, or several models have the name.
    """
    path = path_of(source, EXPECTED)
    if path.suffix == ".tflite":
        raise RecipeError(f"{source}: {EXPECTED}. Received: a converted file.")
    if path.suffix in _CHECKPOINTS:
        raise RecipeError(
            f"{source}: {EXPECTED}. Received: a checkpoint. Convert it to weights: "
            f"larq-groupnet import-checkpoint {source}"
        )
    if path.is_dir():
        return _of_run(path)
    if not path.is_file():
        path = _registered(str(source))
    found = None if path.suffix == RELEASE else _of_run_file(path)
    found = found or _described(path)
    if found is None and recipe is not None:
        found = Source(path, recipe.model, recipe.name, recipe=recipe)
    if found is None:
        raise RecipeError(f"{source}: {EXPECTED}. Received: a file without a description.")
    return found


def read_recipe(folder: Path) -> Recipe | None:
    """The recipe of a run; `None` if the folder has none.

    Raises:
        RecipeError: If it cannot be read.
    """
    file = folder / "recipe.json"
    if not file.is_file():
        return None
    try:
        return Recipe.from_dict(json.loads(file.read_text()))
    except (LookupError, TypeError, ValueError) as error:
        # A name may be registered outside the package; a damaged file has no names.
        advice = ". First import the module that registers your own name, see docs/extending.md"
        raise RecipeError(
            f"run: expected a recipe that this version can read. Received: {file}: {error}"
            f"{advice if isinstance(error, UserError) else ''}"
        ) from error


def _of_run(folder: Path) -> Source:
    recipe = read_recipe(folder)
    if recipe is None:
        raise RecipeError(f"{folder}: {EXPECTED}. Received: a folder without recipe.json.")
    files = [folder / f"{phase.name}.h5" for phase in recipe.trained]
    found = next((file for file in reversed(files) if file.is_file()), None)
    if found is None:
        raise RecipeError(
            f"weights: expected {' or '.join(file.name for file in files)} in {folder}. "
            "Received: none. The run has not finished an epoch: resume it."
        )
    source = _of_run_file(found)
    assert source is not None
    return source


def _of_run_file(path: Path) -> Source | None:
    """The weights of a phase, in the folder of its run."""
    recipe = read_recipe(path.parent)
    if recipe is None:
        return None
    phases = {phase.name: phase for phase in recipe.phases}
    phase = phases.get(path.name.removesuffix(".h5").removesuffix(LAST))
    if phase is None:
        return None
    return Source(
        path,
        recipe.model.replace(binary=phase.binary),
        recipe.name,
        read_classes(path.parent),
        recipe.dataset,
        recipe.reading().to_dict(),
        recipe,
        path.parent / f"{phase.name}.keras" if phase.int8 else None,
        read_temperature(path.parent) if path.stem == recipe.last_phase.name else 1.0,
    )


def _described(path: Path) -> Source | None:
    """A release file, or weights with a description, inside the file or beside it."""
    known = metadata_of(path)
    if known is None:
        return None
    config, size = known.config, known.preprocessing.get("size")
    if None in config.input_shape and size:
        config = config.replace(input_shape=(*size, config.input_shape[2]))
    dense = config.head not in ("classifier", None)
    # Files of earlier versions do not name their model.
    guess = "groupnet_dsp" if dense else f"groupnet_{config.layout}"
    return Source(
        path,
        config,
        known.model_name or guess,
        known.classes,
        known.dataset,
        known.preprocessing,
        temperature=known.temperature,
    )


def _registered(name: str) -> Path:
    """The file of registered weights, downloaded if needed."""
    found = registry.named(name)
    models = sorted({entry.model for entry in found})
    if len(models) == 1:
        return registry.obtain(found[0])
    sets = found or registry.list_weights()
    choices = ", ".join(entry.full_name for entry in sets) or "none"
    if models:
        raise registry.RegistryError(
            f"weights: expected MODEL:NAME, because several models have a set of this name. "
            f"Received: {name}. Choices: {choices}"
        )
    raise MissingFileError(
        f"{name}: {EXPECTED} ({choices}). Received: no such file, and no registered set. "
        f"Check the path or the name.{registry.nearest_name(name)}"
    )
