"""Weights files that Keras writes: HDF5 by layer name, HDF5 by layer order, and `.keras`.

`save_weights("x.h5")` and `save("x.h5")` write the first, `save_weights("x.weights.h5")` the
second, and `save("x.keras")` an archive with the second inside. All become the same mapping from
the name of a weight to an HDF5 dataset, so that shapes are known before any value is read.
"""

from __future__ import annotations

import collections
import contextlib
import json
import re
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from larq_groupnet.errors import MissingFileError, WeightsError
from larq_groupnet.files import replacing
from larq_groupnet.weights.by_name import assign
from larq_groupnet.weights.container import BROKEN, FormatError, check_unpacked

if TYPE_CHECKING:
    import tensorflow as tf

_DESCRIPTION = "larq_groupnet"
"""HDF5 dataset beside Keras' groups, with the description of the weights as JSON."""

MAX_DESCRIPTION = 2**25
"""Maximum bytes of a description: fifty times the size for a run with 1000 classes."""

_IN_ARCHIVE, _ARCHITECTURE = "model.weights.h5", "config.json"


def load(
    model: tf.keras.Model, path: Path, other_head: bool, described: bool = False
) -> dict[str, str]:
    """Loads a Keras file into a model. The model stays unchanged if that fails.

    Args:
        model: A model made by `larq_groupnet.build`.
        path: A file of one of the three kinds.
        other_head: Leave out weights of the head that do not fit.
        described: True if the file is known to belong to a network of the same options, so that
            layers without names are in the same order. If False, a warning says that they may not
            be.

    Returns:
        Name of each weight left out -> the reason.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If it is none of the three kinds, or damaged.
        MismatchError: If it holds the weights of another network.
    """
    with opened(path) as file:
        if "layers" in file:
            order = _order(path)
            if order is None and not described:
                warnings.warn(
                    f"weights: {path}: expected layer names, as in .h5 and .keras. Received: "
                    "none; they are assumed to be in the order of this network, which is right "
                    "if it has the options of the weights",
                    UserWarning,
                    stacklevel=4,
                )
            stored = _by_order(model, file, order)
        else:
            stored = _by_name(file)
        shapes = {name: tuple(item.shape) for name, item in stored.items()}
        return assign(model, shapes, lambda name: stored[name][()], str(path), other_head)


def save(model: tf.keras.Model, path: Path, description: Mapping[str, Any] | None = None) -> None:
    """Writes weights as `save_weights("x.h5")` does, and a description that Keras ignores.

    The file is made in memory first: HDF5 cannot close a file on a full disk, and may end the
    process.

    Raises:
        OSError: If the file cannot be written; an earlier file stays.
    """
    # Private to Keras, because its `save_weights` takes only a path.
    from tf_keras.src.saving.legacy import hdf5_format

    with replacing(path) as temporary:
        with h5py.File(temporary, "w", driver="core", backing_store=False) as file:
            hdf5_format.save_weights_to_hdf5_group(file, model)
            if description:
                # Bytes, not a text: HDF5 keeps texts in a heap and hangs if the heap is damaged.
                content = json.dumps(description, allow_nan=False).encode()
                file[_DESCRIPTION] = np.frombuffer(content, np.uint8)
            file.flush()
            whole = file.id.get_file_image()
        temporary.write_bytes(whole)


def read_description(path: Path) -> dict[str, Any] | None:
    """The description in a file, or `None` if it has none.

    Raises:
        FormatError: If the file is damaged.
    """
    if not h5py.is_hdf5(path):
        return None
    with opened(path) as file:
        if _DESCRIPTION not in file:
            return None
        stored = file[_DESCRIPTION]
        if stored.dtype != np.uint8 or stored.size > MAX_DESCRIPTION:
            raise ValueError(f"a description of {stored.size} values of type {stored.dtype}")
        values: dict[str, Any] = json.loads(stored[()].tobytes())
        return values


@contextlib.contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Opens an HDF5 file; every error of a damaged file becomes a `FormatError`."""
    if not path.is_file():
        raise MissingFileError(f"weights: expected a file. Received: {path} (no such file)")
    try:
        with contextlib.ExitStack() as stack:
            if zipfile.is_zipfile(path):
                path = _extracted(path, Path(stack.enter_context(tempfile.TemporaryDirectory())))
            with h5py.File(path) as file:
                yield file
    except WeightsError:
        raise
    except (*BROKEN, OSError, RuntimeError, zipfile.BadZipFile) as error:
        raise FormatError(
            "weights: expected a whole .h5, .weights.h5 or .keras file of Keras. "
            f"Received: {path}: {' '.join(str(error).split())[:200]}"
        ) from error


def _extracted(path: Path, folder: Path) -> Path:
    """Extracts the HDF5 file of a `.keras` archive, unless it is suspiciously large."""
    with zipfile.ZipFile(path) as archive:
        check_unpacked(path, archive.getinfo(_IN_ARCHIVE).file_size)
        return Path(archive.extract(_IN_ARCHIVE, folder))


def _by_name(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Datasets of the format that has a group for each layer, `LAYER/LAYER/kernel:0`."""
    stored: dict[str, h5py.Dataset] = {}

    def note(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and name != _DESCRIPTION:
            stored[name.partition("/")[2]] = item

    weights = file.get("model_weights", file)
    weights.visititems(note)
    return stored


def _order(path: Path) -> list[tuple[str, str]] | None:
    """Class and name of each layer in a `.keras` archive, in order; `None` for another file."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        check_unpacked(path, archive.getinfo(_ARCHITECTURE).file_size)
        architecture = json.loads(archive.read(_ARCHITECTURE))
    layers = architecture["config"]["layers"]
    return [(layer["class_name"], layer["config"]["name"]) for layer in layers]


def _by_order(
    model: tf.keras.Model, file: h5py.File, order: list[tuple[str, str]] | None
) -> dict[str, h5py.Dataset]:
    """Datasets of the format that counts the layers of each class, `layers/conv2d_3/vars/0`.

    Args:
        model: The model that takes the datasets.
        file: The file.
        order: Class and name of the counted layers; `None` for the layers of the model.
    """
    if order is None:
        order = [(type(layer).__name__, layer.name) for layer in model.layers]
    weights = {layer.name: [weight.name for weight in layer.weights] for layer in model.layers}
    found = {name: group.get("vars", {}) for name, group in file["layers"].items()}
    groups = {name: [each[i] for i in sorted(each, key=int)] for name, each in found.items()}
    stored: dict[str, h5py.Dataset] = {}
    seen: collections.Counter[str] = collections.Counter()
    for kind, layer in order:
        kind = _snake_case(kind)
        key = f"{kind}_{seen[kind]}" if seen[kind] else kind
        seen[kind] += 1
        names = weights.get(layer, [])
        for index, item in enumerate(groups.pop(key, [])):
            stored[names[index] if index < len(names) else f"{layer}/{index}"] = item
    left_over = {
        f"{key}/{i}": item for key, group in groups.items() for i, item in enumerate(group)
    }
    return stored | left_over


def _snake_case(name: str) -> str:
    """The name that Keras gives to the groups of a class of layers."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
