"""Reads state dicts from NumPy's `.npz` and from files of `torch.save`."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from larq_groupnet.errors import MissingFileError, MissingPackageError, WeightsError
from larq_groupnet.weights.container import check_unpacked

State = Mapping[str, NDArray]
"""Key -> array, in PyTorch's layout."""

_UNITS = {"param/": 100, "int8/param/": 1000}
"""Prefix of the parameters' keys in a `.npz` -> what int8 values are divided by."""


class CheckpointError(WeightsError):
    """The file is not a Group-Net of the authors. Lists every key that does not fit."""


def read_state(path: Path) -> State:
    """The state dict in a file, by key without the prefixes `param/`, `int8/param/`, `module.`.

    Args:
        path: As for `import_checkpoint`.

    Returns:
        Key -> array, in PyTorch's layout; int8 kernels become floats, divided by 100 or 1000.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If the file needs PyTorch, which is not installed.
        CheckpointError: If the file holds no state dict.
    """
    if not path.is_file():
        raise MissingFileError(f"path: expected a checkpoint. Received: {path} (no such file)")
    state = _read_npz(path) if path.suffix == ".npz" else _read_torch(path)
    return {key.removeprefix("module."): value for key, value in state.items()}


def _read_npz(path: Path) -> State:
    try:
        with zipfile.ZipFile(path) as archive:
            check_unpacked(path, sum(member.file_size for member in archive.infolist()))
        # np.load would leave a file open that is not an archive.
        with path.open("rb") as stream, np.load(stream) as file:
            prefixes = [p for p in _UNITS if any(key.startswith(p) for key in file)] or [""]
            return {
                key.removeprefix(prefix): _floats(file[key], _UNITS.get(prefix, 100))
                for prefix in prefixes
                for key in file
                if key.startswith(prefix)
            }
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"path: expected a .npz of numbers. Received: {path}: {error}"
        ) from error


def _floats(values: NDArray, unit: int) -> NDArray:
    return values.astype("float32") / np.float32(unit if values.dtype == np.int8 else 1)


def _read_torch(path: Path) -> State:
    try:
        import torch
    except ImportError as error:
        raise MissingPackageError(
            f"Reading {path} needs PyTorch: pip install larq-groupnet[torch] (or save the state "
            "dict as .npz)."
        ) from error
    try:
        # weights_only: a checkpoint is a pickle, which must not run its own code.
        with _numpy_allowed(torch):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # A damaged pickle can raise anything.
        # PyTorch's message has many lines of advice; the reason is one of them.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = next((line for line in lines if "Unsupported" in line), " ".join(lines[:1]))
        raise CheckpointError(
            "path: expected a file of torch.save with only tensors and plain values (it is read "
            f"with weights_only=True). Received: {path}: {reason[:300]}. Save only its state_dict"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"path: expected a state dict, or one under 'state_dict'. Received: {path} with a "
            f"{type(content).__name__}"
        )
    state = {}
    for key, value in content.items():
        if torch.is_tensor(value):
            value = value.detach().float().numpy()
        if not isinstance(value, np.ndarray | np.generic | int | float):
            raise CheckpointError(
                f"path: expected a state dict of tensors, or one under 'state_dict'. "
                f"Received: {path} with a {type(value).__name__} at {key!r}"
            )
        state[str(key)] = np.asarray(value, "float32")
    return state


def _numpy_allowed(torch: Any) -> contextlib.AbstractContextManager[None]:
    """Lets NumPy's numbers through `weights_only`: training loops store their best score as one.

    They are plain data. One NumPy function makes them; older versions keep it in another module.
    """
    if not hasattr(getattr(torch, "serialization", None), "safe_globals"):  # Before PyTorch 2.5.
        return contextlib.nullcontext()
    scalar = np.float64(0).__reduce__()[0]
    types = {type(np.dtype(kind)) for kind in np.sctypeDict.values()}
    places = [(scalar, f"{module}.multiarray.scalar") for module in ("numpy.core", "numpy._core")]
    context: contextlib.AbstractContextManager[None] = torch.serialization.safe_globals(
        [*places, np.dtype, *types]
    )
    return context
