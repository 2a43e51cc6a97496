"""The published sets of weights: their descriptions, their files, and downloads.

Entries come from the `registry.json` beside this module and from the one in the cache folder, which
`register` writes. A file is looked for in this package, then in the cache, and is then downloaded
from the release base. Nothing here imports TensorFlow.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock
from terminaltables import AsciiTable

from larq_groupnet.errors import WeightsError
from larq_groupnet.files import path_of, replacing
from larq_groupnet.hints import check_fields, did_you_mean
from larq_groupnet.values import is_count
from larq_groupnet.weights import packed
from larq_groupnet.weights.container import BROKEN
from larq_groupnet.weights.download import DownloadError, download, is_intact, sha256
from larq_groupnet.weights.metadata import Metadata

RELEASE_BASE = ""
"""URL or folder of the published files; empty while none is published."""

_PACKAGE = Path(__file__).parent
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class RegistryError(WeightsError):
    """A model has no weights of this name, or the registry is broken. Lists the names."""


class UnknownSetError(RegistryError):
    """No set of weights has this name."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One file of weights.

    Attributes:
        name: Value for `weights`, such as `"imagenet"`.
        model: The model that it was made for, such as `"groupnet_resnet18"`.
        file: Path relative to the release base.
        size: Size in bytes.
        sha256: Hexadecimal digest.
        metadata: Configuration, dataset, classes, preprocessing, metrics and licence.
    """

    name: str
    model: str
    file: str
    size: int
    sha256: str
    metadata: Metadata

    def __post_init__(self) -> None:
        check_name("name", self.name)
        check_name("model", self.model)
        path = PurePosixPath(self.file)
        # The path comes from a file that may have been edited, and must stay in its folder.
        inside = not path.is_absolute() and ".." not in path.parts and path.suffix == ".safetensors"
        wanted = {
            "file": (inside, "a relative path of a .safetensors file"),
            "size": (is_count(self.size), "its size in bytes"),
            "sha256": (bool(re.fullmatch("[0-9a-f]{64}", self.sha256)), "its SHA-256 in hex"),
        }
        check_fields(self, wanted, RegistryError)

    @property
    def full_name(self) -> str:
        """`MODEL:NAME`, because several models may have a set of the same name."""
        return f"{self.model}:{self.name}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**values, "metadata": self.metadata.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Entry:
        """The inverse of `to_dict`."""
        return cls(**{**values, "metadata": Metadata.from_dict(values["metadata"])})

    @classmethod
    def of(cls, path: Path, name: str, model: str) -> Entry:
        """The entry of a release file; the file name contains the hash of the content."""
        metadata, digest = packed.read_metadata(path), sha256(path)
        file = f"{model}-{name}-{digest[:12]}.safetensors"
        return cls(name, model, file, path.stat().st_size, digest, metadata)


def check_name(field: str, name: str) -> None:
    """Raises a `RegistryError` unless the name is valid for a set or its model."""
    if not _NAME.fullmatch(name):
        raise RegistryError(
            f"{field}: expected lower-case letters, digits, - and _, the first a letter or digit. "
            f"Received: {name!r}"
        )


def cache_folder() -> Path:
    """Folder of downloaded and registered files: `LARQ_GROUPNET_CACHE`, or one in `~/.cache`."""
    folder = os.environ.get("LARQ_GROUPNET_CACHE") or "~/.cache/larq_groupnet"
    return path_of(folder)


def list_weights(pattern: str = "*") -> list[Entry]:
    """All sets of weights whose name matches a shell pattern, this machine's own first.

    Raises:
        RegistryError: If a `registry.json` cannot be read.
    """
    entries = [*_read(cache_folder() / "registry.json"), *_read(_PACKAGE / "registry.json")]
    return [entry for entry in entries if fnmatch.fnmatch(entry.name, pattern)]


def named(name: str) -> list[Entry]:
    """The sets that `NAME` or `MODEL:NAME` stands for."""
    return [entry for entry in list_weights() if name in (entry.name, entry.full_name)]


def names_like(name: str) -> list[str]:
    """Names of all sets, in the form of `name`: `NAME` or `MODEL:NAME`."""
    return [entry.full_name if ":" in name else entry.name for entry in list_weights()]


def nearest_name(name: str, *others: str) -> str:
    """`" Did you mean 'x'?"` if a set or one of `others` has a similar name, else nothing."""
    return did_you_mean(name, [*names_like(name), *others])


def register(path: str | Path, name: str, model: str, folder: Path | None = None) -> Entry:
    """Registers a release file on this machine: `weights=name` then finds it.

    The file is copied into the cache folder. It replaces a set registered with the same name, model
    and configuration.

    Args:
        path: A release file, as written by `packed.save`.
        name: Value for `weights`.
        model: The model that it is for, such as `"groupnet_resnet18"`.
        folder: Folder for the file and its entry in `registry.json`; `None` for the cache folder.

    Raises:
        FileNotFoundError: If there is no such file.
        packed.FormatError: If it is not a release file.
        RegistryError: If the name is not valid.
        OSError: If the folder cannot be written.
    """
    path = path_of(path)
    entry = Entry.of(path, name, model)
    folder = folder or cache_folder()
    registry = folder / "registry.json"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "registry.lock"):
        with replacing(folder / entry.file) as temporary:
            shutil.copyfile(path, temporary)
        before = _read(registry)
        key = (name, model, entry.metadata.config)
        old = [e for e in before if (e.name, e.model, e.metadata.config) == key]
        entries = [entry, *(e for e in before if e not in old)]
        with replacing(registry) as temporary:
            temporary.write_text(json.dumps([e.to_dict() for e in entries], indent=1) + "\n")
        for replaced in {e.file for e in old} - {entry.file}:
            (folder / replaced).unlink(missing_ok=True)
    return entry


def find_local(entry: Entry) -> Path | None:
    """The entry's file in this package or in the cache, if it is intact."""
    intact = (path for path in _places(entry) if is_intact(path, entry.sha256, entry.size))
    return next(intact, None)


def _places(entry: Entry) -> list[Path]:
    return [folder / entry.file for folder in (_PACKAGE / "files", cache_folder())]


def obtain(entry: Entry) -> Path:
    """The entry's file on this machine, downloaded from `LARQ_GROUPNET_WEIGHTS` if missing.

    Raises:
        DownloadError: If it is missing and could not be downloaded.
    """
    path = find_local(entry)
    if path is not None:
        return path
    base = os.environ.get("LARQ_GROUPNET_WEIGHTS") or RELEASE_BASE
    target = cache_folder() / entry.file
    if not base:
        state = "damaged" if target.exists() else "absent"
        raise DownloadError(
            f"weights: {target} is {state}, and no release base is set to fetch it from: set "
            "LARQ_GROUPNET_WEIGHTS to the URL or folder that has it"
        )
    return download(base, entry.file, target, digest=entry.sha256, size=entry.size)


def fetch(name: str, model: str) -> list[Path]:
    """Command `weights fetch`: downloads every file of a name and model that is missing.

    Raises:
        RegistryError: If no set has this name and model.
        DownloadError: If a file could not be downloaded.
    """
    of_name = named(name)
    entries = [entry for entry in of_name if entry.model == model]
    if not entries:
        known = ", ".join(f"{entry.name} {entry.model}" for entry in list_weights()) or "none"
        models = [entry.model for entry in of_name]
        hint = did_you_mean(model, models) if models else nearest_name(name)
        raise RegistryError(
            f"weights: expected the name and the model of a registered set. Received: {name} "
            f"{model}.{hint} Registered: {known}"
        )
    return [obtain(entry) for entry in entries]


def verify() -> list[tuple[Entry, str]]:
    """Command `weights verify`: each entry, with the state of its file.

    Compares size and SHA-256 of the file in the package or the cache with the entry. A file with
    the wrong content is `damaged`; the next use downloads it again.
    """
    states = []
    for entry in list_weights():
        exists = any(path.exists() for path in _places(entry))
        state = "intact" if find_local(entry) else "damaged" if exists else "absent"
        states.append((entry, state))
    return states


def table(states: list[tuple[Entry, str]]) -> str:
    """One row per entry of `verify()`, for the commands `weights list` and `weights verify`."""
    if not states:
        return "No weights are registered."
    rows = [["Name", "Model", "K", "Dataset", "Metrics", "Licence", "MiB", "File"]]
    for entry, state in states:
        metadata = entry.metadata
        licence = metadata.licence.splitlines()[0]
        rows.append(
            [
                entry.name,
                entry.model,
                str(metadata.config.num_bases),
                metadata.dataset or "not stated",
                "\n".join(map(str, metadata.metrics)) or "none measured",
                licence if len(licence) <= 24 else f"{licence[:21]}...",
                f"{entry.size / 2**20:.2f}",
                state,
            ]
        )
    return str(AsciiTable(rows).table)


def _read(path: Path) -> list[Entry]:
    if not path.exists():
        return []
    try:
        return [Entry.from_dict(values) for values in json.loads(path.read_text())]
    except BROKEN as error:
        raise RegistryError(
            f"registry: expected a list of entries in {path}. Repair it, or remove it and register "
            f"again. Received: {error}"
        ) from error
