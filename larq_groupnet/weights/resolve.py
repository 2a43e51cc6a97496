"""Finds the file that a user's `weights` stands for, and loads it into a model.

Only `load_into` imports TensorFlow.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from larq_groupnet.errors import MissingFileError
from larq_groupnet.files import path_of
from larq_groupnet.network.config import (
    OPTIONS,
    GroupNetConfig,
    fields_of_task,
    unused_options,
)
from larq_groupnet.network.kinds import HEADS, LAYOUTS
from larq_groupnet.network.layouts import basic
from larq_groupnet.weights import keras_files, packed
from larq_groupnet.weights.by_name import check_options, has_other_head, warn_left_out
from larq_groupnet.weights.described import metadata_of
from larq_groupnet.weights.metadata import compare
from larq_groupnet.weights.registry import (
    Entry,
    RegistryError,
    UnknownSetError,
    cache_folder,
    list_weights,
    named,
    nearest_name,
    obtain,
)

if TYPE_CHECKING:
    import tensorflow as tf

_SUFFIXES = (".h5", ".keras", ".safetensors")
# Options that a segmentation network does not take from a classifier's weights, nor the reverse.
_OF_THE_TASK = fields_of_task()


def resolve(weights: str | Path, model: str, config: GroupNetConfig) -> Path:
    """Finds the file that `weights` stands for; downloads it if it is missing.

    Args:
        weights: A `Path`; a `str` that names a file, has a `/` or ends in `.h5`, `.keras` or
            `.safetensors`; or a registered set: `NAME`, or `MODEL:NAME`.
        model: Name of the model that takes them.
        config: Its configuration. Of several sets with the same name, the nearest to it is taken.

    Returns:
        Path of an existing file.

    Raises:
        FileNotFoundError: If `weights` is a path that does not exist.
        RegistryError: If no registered set has this name. Says how to get one.
        MismatchError: If the weights belong to a network other than `config`.
        DownloadError: If the file could not be downloaded.
    """
    if is_path(weights):
        path = _file(weights)
        known = metadata_of(path)
        if known is not None:
            check_options(str(path), known.config, config)
        return path
    name = str(weights)
    entry = entry_of(name, model, config)
    check_options(f"{name!r} ({entry.file})", entry.metadata.config, config)
    return obtain(entry)


def entry_of(weights: str, model: str, config: GroupNetConfig) -> Entry:
    """The entry of a registered set. Arguments and errors: see `resolve`."""
    return _nearest(_named(weights, model, config), model, config, OPTIONS)


def adopt(
    weights: str | Path, model: str, config: GroupNetConfig, given: Collection[str]
) -> GroupNetConfig:
    """The configuration of a call that gives weights and some options.

    Args:
        weights: As for `resolve`.
        model: Name of the model that takes them.
        config: The model's configuration without the weights.
        given: Options that the user gave: they stay as they are, whatever their value.

    Returns:
        `config` with all other options from the weights, if they are known. If the weights were
        made for another task (a classifier's for segmentation), image size, output stride, rates
        and head stay too. An output stride that is not given and that the stem cannot reach becomes
        the nearest that it can. A file never changes `layout` or `binary`: a file of another
        layout, or of the tanh twin, is refused when it is loaded.

    Raises:
        FileNotFoundError: If `weights` is a path that does not exist.
        RegistryError: If no registered set has this name. Says how to get one.
        ConfigError: If the given options and those of the weights do not fit together.
    """
    if is_path(weights):
        known = metadata_of(_file(weights))
        if known is None:
            return config
        theirs, same_task = known.config, _task(known.config) == _task(config)
        kept = {*given, "layout", "binary"}
    else:
        entries = _named(str(weights), model, config)
        family = [entry for entry in entries if _family(entry.model) == _family(model)]
        if not family:
            raise _of_another(str(weights), entries, model, config.layout)
        entry = _nearest(family, model, config, given)
        theirs, same_task, kept = entry.metadata.config, entry.model == model, {*given}
    if not same_task:
        kept |= {*_OF_THE_TASK}
    values = {n: getattr(config if n in kept else theirs, n) for n in OPTIONS}
    if "output_stride" not in given:
        stem, stages = values["stem_stride"], len(LAYOUTS[values["layout"]].blocks)
        values["output_stride"] = min(max(values["output_stride"], stem), stem * 2 ** (stages - 1))
    # Options that the network does not use and that were not given.
    for name in unused_options(values["decomposition"], values["head"]) - {*given}:
        values[name] = getattr(GroupNetConfig, name)
    return config.replace(**values)


def load_into(model: tf.keras.Model, config: GroupNetConfig, path: str | Path) -> None:
    """Loads a weights file of any format. The model stays unchanged if that fails.

    Args:
        model: A model made by `larq_groupnet.build(config)`.
        config: Its configuration, compared with that of the weights if it is known (see
            `described.metadata_of`). Warns about options that change what the weights compute, and
            about weights of the head that do not fit and are left out.
        path: A release file (`.safetensors`) or a Keras file (`.h5`, `.weights.h5`, `.keras`).

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If it is damaged, or of another kind.
        MismatchError: If its weights belong to another network, such as the tanh twin.
    """
    path = path_of(path)
    if path.suffix == ".safetensors":
        packed.load(model, path, config)
        return
    known = metadata_of(path)
    # Without a description, the head may be another.
    other_head = known is None or has_other_head(path, known.config, config)
    warn_left_out(path, keras_files.load(model, path, other_head, known is not None))


def _file(weights: str | Path) -> Path:
    """The path of an existing file.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    path = path_of(weights)
    if not path.is_file():
        what = "a folder; give a file in it" if path.is_dir() else "no such file"
        if (path / "saved_model.pb").is_file():
            what = "a SavedModel; write its weights: load_model(folder).save_weights('weights.h5')"
        elif path.with_name(f"{path.name}.index").is_file():
            what = "a TensorFlow checkpoint; load it with model.load_weights"
        raise MissingFileError(
            f"weights: expected a file ({', '.join(_SUFFIXES)}). "
            f"Received: weights={str(weights)!r} ({what})"
        )
    return path


def is_path(weights: str | Path) -> bool:
    """True if `weights` stands for a file (which need not exist), not for a registered set."""
    path = path_of(weights, "weights: expected None, a path, or a registered set")
    text = str(weights)
    looks_like_one = text.endswith(_SUFFIXES) or "/" in text or os.sep in text
    return isinstance(weights, Path) or looks_like_one or path.is_file()


def _task(config: GroupNetConfig) -> str | None:
    return None if config.head is None else HEADS.find(config.head).task


def _family(model: str) -> str:
    """Weights of `groupnet_resnet18` also fit `groupnet_dsp`, but no model of another family."""
    return model.partition("_")[0]


def _named(name: str, model: str, config: GroupNetConfig) -> list[Entry]:
    """The sets of a name for the layout of a model."""
    entries = named(name)
    if not entries:
        raise _unknown(name, model, config.layout)
    fitting = [entry for entry in entries if entry.metadata.config.layout == config.layout]
    if not fitting:
        raise _of_another(name, entries, model, config.layout)
    return fitting


def _nearest(
    entries: list[Entry], model: str, config: GroupNetConfig, counting: Collection[str]
) -> Entry:
    """The entry that differs in the fewest of the options `counting`."""

    def distance(entry: Entry) -> tuple[int, bool, int]:
        theirs = entry.metadata.config
        different, noted = compare(theirs, config)
        others = sum(
            getattr(theirs, option) != getattr(config, option)
            for option in {*_OF_THE_TASK, *noted} & set(counting)
        )
        return len(different.keys() & set(counting)), entry.model != model, others

    return min(entries, key=distance)


def _of_another(name: str, entries: list[Entry], model: str, layout: str) -> RegistryError:
    """The error for a set that is registered only for models of another layout or family."""
    models = ", ".join(sorted({entry.model for entry in entries}))
    fit = [
        repr(entry.name)
        for entry in list_weights()
        if entry.metadata.config.layout == layout and _family(entry.model) == _family(model)
    ]
    return RegistryError(
        f"weights: expected a set for {model}. Received: weights={name!r} for {model}, which is "
        f"registered for {models}. Sets that fit: {', '.join(fit) or 'none'}."
        f"{_ways(name, layout)}"
    )


def _unknown(name: str, model: str, layout: str) -> UnknownSetError:
    entries = list_weights()
    hint = "" if _is_imagenet(name) else nearest_name(name, "imagenet")
    known = ", ".join(f"{entry.name!r} for {entry.model}" for entry in entries) or "none"
    return UnknownSetError(
        "weights: expected None, a path, or a registered set. "
        f"Received: weights={name!r} for {model}, which is neither published nor registered in "
        f"{cache_folder()}.{hint} Registered: {known}.{_ways(name, layout)}"
    )


def _is_imagenet(name: str) -> bool:
    return name.rpartition(":")[2] == "imagenet"


def _ways(name: str, layout: str) -> str:
    """Ways to get the unpublished ImageNet weights, one line each with a command."""
    if not _is_imagenet(name):
        return ""
    train = (
        f"train them: python train.py --model groupnet_{layout} --dataset imagenet2012 "
        f"--output_dir runs/groupnet_{layout} (then weights='runs/groupnet_{layout}/binary.h5')"
    )
    if LAYOUTS[layout].convolutions is not basic:
        return f"\n  the authors published no checkpoint of {layout}; {train}"
    return (
        "\n  import the authors' checkpoint: "
        f"python -m larq_groupnet import-checkpoint FILE.pth.tar --as imagenet\n  or {train}"
    )
