"""Opens datasets by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from larq_groupnet.data import arrays, camvid, digit_scenes, digits, folders, voc  # noqa: F401
from larq_groupnet.data import dataset as registered
from larq_groupnet.data.base import Dataset
from larq_groupnet.data.records import RecordDataset, check_no_folder, open_records
from larq_groupnet.errors import DatasetError
from larq_groupnet.files import path_of
from larq_groupnet.hints import did_you_mean


def open_dataset(name: str, data_dir: str | Path, on_bad_image: str | None = None) -> Dataset:
    """Opens a dataset by name, whether TFDS has written it or not.

    Args:
        name: A registered name, such as `folder:PATH` (see `folders.open_folder`), `arrays:NAME`
            (see `arrays.from_arrays`) or `camvid`, or a name that TFDS knows. Options follow a
            question mark: `folder:PATH?void=11&mapping=FILE`.
        data_dir: Folder of the datasets.
        on_bad_image: For a folder: `"error"`, `"skip"` to leave bad images out, or `None` to check
            files only if necessary.

    Raises:
        DatasetError: If the dataset is unknown (suggests the nearest name), the folder holds none,
            or the dataset cannot skip files.
    """
    kind, place, options = parse_name(name)
    opener = registered.get(kind)
    takes = _arguments(opener)
    if on_bad_image == "skip" and "on_bad_image" not in takes:
        raise DatasetError(
            "on_bad_image: expected 'error' with a dataset whose images were decoded when it was "
            f"written; folder:PATH can skip bad files. Received: 'skip' with {name}"
        )
    if opener is None or isinstance(opener, type):  # A builder, which TFDS knows by its name.
        if options:
            check_no_folder(name)
            raise DatasetError(
                f"dataset: expected no options with {kind}; folder:PATH, for one, takes options. "
                f"Received: {name}"
            )
        return open_records(name, path_of(data_dir))
    known = {"place": place, "data_dir": path_of(data_dir), "on_bad_image": on_bad_image}
    choices = [option for option in takes if option not in known]
    for option in options:
        if option not in choices:
            raise DatasetError(
                f"dataset: expected {'one of ' + ', '.join(choices) if choices else 'no option'} "
                f"after the question mark. Received: {option} in {name}."
                f"{did_you_mean(option, choices)}"
            )
    for option in choices:
        if option not in options and takes[option].default is inspect.Parameter.empty:
            raise DatasetError(
                f"dataset: expected {option}=VALUE after the question mark. Received: {name}"
            )
    if place and "place" not in takes:
        raise DatasetError(f"dataset: expected {kind} without a place. Received: {name}")
    found = opener(**{each: known[each] for each in takes if each in known}, **options)
    if not isinstance(found, Dataset):
        raise DatasetError(
            f"dataset: expected a Dataset, such as from_arrays makes, from the function of {kind}. "
            f"Received: {type(found).__name__}"
        )
    return found


def prepare(name: str, data_dir: str | Path, on_bad_image: str | None = "error") -> Dataset:
    """Opens a dataset, and has TFDS write it under `data_dir` on the first call if necessary.

    Folders and arrays are read in place. Takes the same arguments and raises the same errors as
    `open_dataset`.
    """
    dataset = open_dataset(name, data_dir, on_bad_image)
    if isinstance(dataset, RecordDataset):
        dataset.prepare()
    return dataset


def has_files(name: str) -> bool:
    """True for a dataset that is read from files that may be bad, such as a folder."""
    return "on_bad_image" in _arguments(registered.get(parse_name(name)[0]))


def _arguments(opener: Any) -> Mapping[str, inspect.Parameter]:
    """The named arguments of an opener; empty for `None`, a dataset that only TFDS knows."""
    found = {} if opener is None else inspect.signature(opener).parameters
    return {name: x for name, x in found.items() if x.kind not in (x.VAR_POSITIONAL, x.VAR_KEYWORD)}


def parse_name(name: str) -> tuple[str, str, dict[str, str]]:
    """Kind, place and options: `folder:PATH?void=11` is `("folder", PATH, {"void": "11"})`."""
    if not isinstance(name, str):
        raise DatasetError(f"dataset: expected a name, such as folder:PATH. Received: {name!r}")
    path = name.partition(":")[2]
    whole, _, query = name.rpartition("?")
    if not whole or (path and path_of(path).exists()):
        whole, query = name, ""  # The question mark is part of a folder's name.
    kind, _, place = whole.partition(":")
    options = parse_qsl(query, keep_blank_values=True)
    empty = query and len(options) <= query.count("&")
    if empty or not all(value.strip() for _, value in options):
        raise DatasetError(
            f"dataset: expected OPTION=VALUE after the question mark. Received: {name}"
        )
    if len(dict(options)) != len(options):
        raise DatasetError(
            f"dataset: expected each option once, such as void=0,11. Received: {name}"
        )
    return kind, place, dict(options)
