"""From what a user gives as `weights` to a file, and from the file into a model.

Nothing here imports TensorFlow, but for `load_into`.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import h5py

from larq_groupnet.errors import MissingFileError
from larq_groupnet.hints import did_you_mean
from larq_groupnet.network.config import (
    OPTIONS,
    GroupNetConfig,
    fields_of_task,
    unused_options,
)
from larq_groupnet.network.kinds import LAYOUTS
from larq_groupnet.network.layouts import basic
from larq_groupnet.weights import by_name, packed
from larq_groupnet.weights.metadata import compare
from larq_groupnet.weights.registry import (
    Entry,
    RegistryError,
    cache_folder,
    list_weights,
    obtain,
)

if TYPE_CHECKING:
    import tensorflow as tf

_SUFFIXES = (".h5", ".keras", ".safetensors")
_OPTIONS = tuple(OPTIONS)
# What a segmentation network does not take over from a classifier's weights, nor the reverse.
_OF_THE_TASK = fields_of_task()


def resolve(
    weights: str | Path, model: str, config: GroupNetConfig, *, base: str | Path | None = None
) -> Path:
    """The file that `weights` means, fetched if need be.

    Args:
        weights: A `Path`; a `str` that names a file, has a `/` or ends as one (`.h5`, `.keras`,
            `.safetensors`); or the name of a registered set.
        model: Name of the model that wants them.
        config: Its configuration; among several sets of a name, the nearest to it is taken.
        base: Release base, URL or folder; `None` for `LARQ_GROUPNET_WEIGHTS`, or the package's.

    Returns:
        Path of an existing file.

    Raises:
        FileNotFoundError: If `weights` is a path to no file.
        RegistryError: If no registered set has this name; says how to get one.
        packed.MismatchError: If those of this name belong to another network than `config`.
        DownloadError: If the file could not be fetched.
    """
    if is_path(weights):
        if not Path(weights).is_file():
            raise MissingFileError(
                f"weights: expected a file. Received: weights={str(weights)!r} (no such file)"
            )
        return Path(weights)
    name = str(weights)
    entry = _nearest(_named(name, model, config), model, config, _OPTIONS)
    packed.check_options(f"{name!r} ({entry.file})", entry.metadata.config, config)
    return obtain(entry, base=base)


def adopt(
    weights: str | Path | None,
    model: str,
    config: GroupNetConfig,
    given: Collection[str],
) -> GroupNetConfig:
    """The configuration that a call means which gives weights, and few options beside them.

    Args:
        weights: As for `resolve`, or `None`.
        model: Name of the model that wants them.
        config: The model's configuration without regard to the weights.
        given: Options that the user gave, whatever their value: they stay as they are.

    Returns:
        `config` with all other options as the registered weights were made with. Where they were
        made for another model of the family (a classifier's for segmentation), image size, output
        stride, rates and head stay too. `config` itself if `weights` is a path or `None`.

    Raises:
        RegistryError: If no registered set has this name; says how to get one.
        ConfigError: If what the user gave and what the weights need describe no network together.
    """
    if weights is None or is_path(weights):
        return config
    named = _named(str(weights), model, config)
    family = [entry for entry in named if _family(entry.model) == _family(model)]
    if not family:
        raise _unknown(str(weights), model, config.layout)
    entry = _nearest(family, model, config, given)
    kept = {*given, *(() if entry.model == model else _OF_THE_TASK)}
    theirs = entry.metadata.config
    values = {n: getattr(config if n in kept else theirs, n) for n in _OPTIONS}
    # What the network to be has no use for, and nobody asked for.
    for name in unused_options(values["decomposition"], values["head"]) - {*given}:
        values[name] = getattr(GroupNetConfig, name)
    return config.replace(**values)


def load_into(model: tf.keras.Model, config: GroupNetConfig, path: str | Path) -> None:
    """Loads a file of weights, whatever its format.

    Args:
        model: A model that `larq_groupnet.build(config)` gave.
        config: Its configuration.
        path: A release file (`.safetensors`, see `packed.load`) or one that Keras wrote. Of a
            classification model's file (HDF5), the weights of the head are left out.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If its weights are not those of this network.
    """
    if Path(path).suffix == ".safetensors":
        packed.load(model, path, config)
        return
    if h5py.is_hdf5(path):
        by_name.load_h5(model, Path(path))
        return
    by_name.load_weights(model, path)


def is_path(weights: str | Path) -> bool:
    """Whether `weights` means a file, which need not exist, and not a registered set."""
    text = str(weights)
    looks_like_one = text.endswith(_SUFFIXES) or "/" in text or os.sep in text
    return isinstance(weights, Path) or looks_like_one or Path(text).is_file()


def _family(model: str) -> str:
    """The weights of `groupnet_resnet18` serve `groupnet_dsp`, and no network of another name."""
    return model.partition("_")[0]


def _named(name: str, model: str, config: GroupNetConfig) -> list[Entry]:
    entries = [
        entry
        for entry in list_weights()
        if entry.name == name and entry.metadata.config.layout == config.layout
    ]
    if not entries:
        raise _unknown(name, model, config.layout)
    return entries


def _nearest(
    entries: list[Entry], model: str, config: GroupNetConfig, counting: Collection[str]
) -> Entry:
    """The entry with the fewest differences among the options `counting`."""

    def distance(entry: Entry) -> tuple[int, bool, int]:
        theirs = entry.metadata.config
        different, noted = compare(theirs, config)
        others = sum(
            getattr(theirs, option) != getattr(config, option)
            for option in {*_OF_THE_TASK, *noted} & set(counting)
        )
        return len(different.keys() & set(counting)), entry.model != model, others

    return min(entries, key=distance)


def _unknown(name: str, model: str, layout: str) -> RegistryError:
    entries = list_weights()
    names = {"imagenet", *(entry.name for entry in entries)}
    hint = "" if name in names else did_you_mean(name, names)
    known = ", ".join(f"{entry.name!r} for {entry.model}" for entry in entries) or "none"
    ways = "".join(f"\n  {way}" for way in _ways(layout)) if name == "imagenet" else ""
    return RegistryError(
        "weights: expected None, a path, or a registered set. "
        f"Received: weights={name!r} for {model}, which is neither published nor registered in "
        f"{cache_folder()}.{hint} Registered: {known}.{ways}"
    )


def _ways(layout: str) -> list[str]:
    """How to get what nobody has published: each a line with a command."""
    train = (
        f"train them: python train.py --model groupnet_{layout} --dataset imagenet2012 "
        f"--output_dir runs/groupnet_{layout} (then weights='runs/groupnet_{layout}/binary.h5')"
    )
    if LAYOUTS[layout].convolutions is not basic:
        return [f"the authors published no checkpoint of {layout}; {train}"]
    return [
        "import the authors' checkpoint: "
        "python -m larq_groupnet import-checkpoint FILE.pth.tar --as imagenet",
        f"or {train}",
    ]
