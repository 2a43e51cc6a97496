"""From what a user gives as `weights` to a file, and from the file into a model.

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
# What a segmentation network does not take over from a classifier's weights, nor the reverse.
_OF_THE_TASK = fields_of_task()


def resolve(weights: str | Path, model: str, config: GroupNetConfig) -> Path:
    """Finds the file that `weights` stands for; downloads it if it is missing.

    Args:
        weights: A `Path`; a `str` that names a file, has a `/` or ends as one (`.h5`, `.keras`,
            `.safetensors`); or a registered set: `NAME`, or `MODEL:NAME`.
        model: Name of the model that wants them.
        config: Its configuration; among several sets of a name, the nearest to it is taken.

    Returns:
        Path of an existing file.

    Raises:
        FileNotFoundError: If `weights` is a path to no file.
        RegistryError: If no registered set has this name; says how to get one.
        MismatchError: If the weights belong to another network than `config`.
        DownloadError: If the file could not be fetched.
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
    """That of a registered set; arguments and errors as those of `resolve`."""
    return _nearest(_named(weights, model, config), model, config, OPTIONS)


def adopt(
    weights: str | Path, model: str, config: GroupNetConfig, given: Collection[str]
) -> GroupNetConfig:
    """The configuration of a call that gives weights and some options.

    Args:
        weights: As for `resolve`.
        model: Name of the model that wants them.
        config: The model's configuration without regard to the weights.
        given: Options that the user gave, whatever their value: they stay as they are.

    Returns:
        `config` with all other options as the weights were made with, as far as that is known.
        Where they were made for another task (a classifier's for segmentation), image size, output
        stride, rates and head stay too. An output stride that is not given and that the stem does
        not reach becomes the nearest that it does. A file never changes `layout` and `binary`: one
        of another layout, or of the tanh twin, is refused when it is loaded.

    Raises:
        FileNotFoundError: If `weights` is a path to no file.
        RegistryError: If no registered set has this name; says how to get one.
        ConfigError: If what the user gave and what the weights need describe no network together.
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
    # What the network to be has no use for, and nobody asked for.
    for name in unused_options(values["decomposition"], values["head"]) - {*given}:
        values[name] = getattr(GroupNetConfig, name)
    return config.replace(**values)


def load_into(model: tf.keras.Model, config: GroupNetConfig, path: str | Path) -> None:
    """Loads a file of weights, whatever its format; the model is untouched if that fails.

    Args:
        model: A model that `larq_groupnet.build(config)` gave.
        config: Its configuration, compared with that of the weights where it is known (see
            `described.metadata_of`). Options with which the weights will compute something else
            are warned about, and so are weights of the head that do not fit and are left out.
        path: A release file (`.safetensors`), or one that Keras wrote (`.h5`, `.weights.h5`,
            `.keras`).

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If it is damaged, or of another kind.
        MismatchError: If its weights are those of another network, such as its tanh twin.
    """
    path = path_of(path)
    if path.suffix == ".safetensors":
        packed.load(model, path, config)
        return
    known = metadata_of(path)
    # It may be another one unless the file says what it was made for.
    other_head = known is None or has_other_head(path, known.config, config)
    warn_left_out(path, keras_files.load(model, path, other_head, known is not None))


def _file(weights: str | Path) -> Path:
    """The file of a path.

    Raises:
        FileNotFoundError: If there is none.
    """
    path = path_of(weights)
    if not path.is_file():
        what = "a folder; give a file in it" if path.is_dir() else "no such file"
        if (path / "saved_model.pb").is_file():
            what = "a SavedModel; write its weights: load_model(folder).save_weights('weights.h5')"
        elif path.with_name(f"{path.name}.index").is_file():
            what = "a checkpoint of TensorFlow; load it with load_weights of the model"
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
    """The weights of `groupnet_resnet18` serve `groupnet_dsp`, and no network of another name."""
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


def _of_another(name: str, entries: list[Entry], model: str, layout: str) -> RegistryError:
    """The error of a set that is registered, but for models of another layout or family."""
    models = ", ".join(sorted({entry.model for entry in entries}))
    fit = [
        repr(entry.name)
        for entry in list_weights()
        if entry.metadata.config.layout == layout and _family(entry.model) == _family(model)
    ]
    return RegistryError(
        f"weights: expected a set for {model}. Received: weights={name!r} for {model}, which is "
        f"registered for {models}. Those that fit: {', '.join(fit) or 'none'}."
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
    """Ways to get ImageNet weights, which nobody has published, one line each with a command."""
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
