"""A safetensors file with a description and a digest of both. Knows nothing about networks.

Four texts accompany the tensors: `format` is `"larq_groupnet"`, `format_version` an integer,
`description` is JSON, and `sha256` the digest of the description and of all tensors, because a
safetensors file has no digest of its own. Any fault of a file raises a `FormatError`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from larq_groupnet.errors import MissingFileError, WeightsError
from larq_groupnet.files import replacing

FORMAT = "larq_groupnet"
FORMAT_VERSION = 1

MAX_HEADER = 2**24
"""Maximum bytes of the header that names the tensors: fifty times that of ResNet-50 with K=8."""

MAX_FILE = 2**32
"""Maximum bytes of a file: five times the size of ResNet-50 with K=8 in float32."""

EXPANSION = 100
"""Largest expansion factor: weights hardly compress, and a zip bomb must not fill memory."""

BROKEN = (
    safetensors.SafetensorError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What reading a malicious or damaged text can raise."""

_DTYPES = {"F32": "<f4", "F16": "<f2", "U8": "u1"}


class FormatError(WeightsError):
    """The file is damaged, newer than this version, or not a release file of this package."""


def check_unpacked(path: Path, size: int) -> None:
    """Raises a `ValueError` if an archive would unpack to suspiciously many bytes, `size`."""
    if size > min(MAX_FILE, EXPANSION * path.stat().st_size):
        raise ValueError(f"it would unpack to {size} bytes")


def write(path: Path, description: Mapping[str, Any], tensors: Mapping[str, NDArray]) -> None:
    """Writes a file, whole or not at all.

    Args:
        path: Where to write.
        description: Plain values.
        tensors: Name -> float32, float16 or uint8.
    """
    text = json.dumps(description, allow_nan=False)
    texts = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "description": text,
        "sha256": _digest(text, tensors),
    }
    with replacing(path) as temporary:
        temporary.write_bytes(safetensors.numpy.save(dict(tensors), texts))


def read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """The description and the tensors of a file, whose digest is checked.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If it is not a release file, is damaged, or has a newer format.
    """
    if not path.is_file():
        raise MissingFileError(
            f"weights: expected a .safetensors file. Received: {path} (no such file)"
        )
    if path.stat().st_size > MAX_FILE:
        raise FormatError(f"weights: {path} is larger than any network of this package")
    content = path.read_bytes()
    try:
        return _parse(content)
    except BROKEN as error:
        raise FormatError(
            f"weights: expected a whole release file of larq_groupnet. Received: {path}: {error}"
        ) from error


def _parse(content: bytes) -> tuple[dict[str, Any], dict[str, NDArray]]:
    length = int.from_bytes(content[:8], "little")
    if length > MAX_HEADER:
        raise ValueError(f"a header of {length} bytes, more than {MAX_HEADER}")
    # Checks the header, and that the tensors fill the file without gap or overlap.
    found: dict[str, dict[str, Any]] = dict(safetensors.deserialize(content))
    texts = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    if texts.get("format") != FORMAT:
        raise ValueError(f"expected format={FORMAT!r}, received format={texts.get('format')!r}")
    if int(texts["format_version"]) > FORMAT_VERSION:
        raise ValueError(
            f"format {texts['format_version']} is newer than {FORMAT_VERSION}, the newest that "
            "this larq_groupnet reads: upgrade it"
        )
    tensors = {
        name: np.frombuffer(tensor["data"], _DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
        for name, tensor in found.items()
    }
    if _digest(texts["description"], tensors) != texts["sha256"]:
        raise ValueError("its content does not match its sha256: it was damaged or edited")
    return json.loads(texts["description"]), tensors


def _digest(description: str, tensors: Mapping[str, NDArray]) -> str:
    digest = hashlib.sha256(description.encode())
    for name in sorted(tensors):
        value = np.ascontiguousarray(tensors[name])
        digest.update(f"\n{name} {value.dtype.name} {tensors[name].shape}\n".encode())
        digest.update(value.data)
    return digest.hexdigest()
