"""Stores a description, such as class names and preprocessing, in a `.tflite`.

It is a JSON file in a ZIP archive after the flatbuffer, where TensorFlow Lite keeps the files that
belong to a model. Interpreters read only the flatbuffer, whose bytes do not change.
`unzip -p model.tflite larq_groupnet.json` prints the description.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

from larq_groupnet.data.reading import Reading
from larq_groupnet.deploy.flatbuffer import ConversionError, File, read
from larq_groupnet.files import plain
from larq_groupnet.hints import is_shown
from larq_groupnet.values import is_positive

NAME = "larq_groupnet.json"
MOST_BYTES = 2**20
"""Limit, because a hostile file may unpack to gigabytes. 1000 long class names need a tenth."""


def with_description(content: bytes, description: Mapping[str, Any] | None) -> bytes:
    """Appends a description from `check_description`, if there is one, to a file.

    The same content and description give the same bytes.
    """
    if description is None:
        return content
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        # A new ZipInfo has the fixed date 1980-01-01.
        archive.writestr(zipfile.ZipInfo(NAME), json.dumps(description, indent=2) + "\n")
    return file.getvalue()


def check_description(description: Mapping[str, Any] | None, outputs: int) -> dict[str, Any] | None:
    """Checks that a file's readers will understand a description; returns its plain values.

    Args:
        description: The user's description; NumPy values become plain ones.
        outputs: Number of outputs of the network.

    Raises:
        ConversionError: If a value is not understood; says which and why.
    """
    if description is None:
        return None
    try:
        if not isinstance(description, Mapping):
            raise ValueError(f"{description!r}")
        found: dict[str, Any] = plain(description)
        json.dumps(found)
        _check(found)
        Reading.from_dict(found.get("preprocessing", {}))
    except (TypeError, ValueError) as error:
        raise ConversionError(
            "description: expected names and plain values, as describe_run returns them. "
            f"Received: {error}"
        ) from error
    if (count := len(found.get("classes", []))) not in (0, outputs):
        raise ConversionError(
            f"description: expected {outputs} class names, one for each output of the model. "
            f"Received: {count}"
        )
    return found


def _check(found: Any) -> None:
    """Raises ValueError for a description that cannot be read."""
    if not isinstance(found, dict):
        raise ValueError(f"a JSON {type(found).__name__} instead of an object")
    names, reading = found.get("classes", []), found.get("preprocessing", {})
    if not isinstance(names, list):
        raise ValueError(f"classes that are not a list: {names!r}")
    if wrong := [name for name in names if not (isinstance(name, str) and is_shown(name))]:
        raise ValueError(f"a class name that cannot be printed: {wrong[0]!r}")
    if not isinstance(reading, dict):
        raise ValueError("preprocessing that is not an object of names and values")
    if not is_positive(found.get("temperature", 1.0)):
        raise ValueError("a temperature that is not a number above 0")


def read_description(file: File) -> dict[str, Any] | None:
    """The description of a `.tflite`, or `None` if it has none.

    Raises:
        ConversionError: If the file is not a TFLite file, or its description is damaged.
        OSError: If the file cannot be read.
    """
    content = io.BytesIO(read(file))
    if not zipfile.is_zipfile(content):
        return None
    try:
        with zipfile.ZipFile(content) as archive:
            if NAME not in archive.namelist():
                return None
            with archive.open(NAME) as member:
                text = member.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES} bytes")
        found: dict[str, Any] = json.loads(text)
        _check(found)
    except Exception as error:  # zipfile passes on all errors of its decompressors.
        raise ConversionError(
            f"expected a description {NAME} as convert appends it to a file. "
            f"Received: {type(error).__name__}: {error}"
        ) from error
    return found
