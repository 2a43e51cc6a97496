"""What a `.tflite` says of itself: class names and preprocessing, in the file.

They are a JSON file in a ZIP archive behind the flatbuffer, which is where TensorFlow Lite keeps
the files that belong to a model. Interpreters read the flatbuffer alone, whose bytes stay the same,
and `unzip -p model.tflite larq_groupnet.json` prints the description.
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
"""A thousand long class names take a tenth of it; a hostile file may unpack to gigabytes."""


def with_description(content: bytes, description: Mapping[str, Any] | None) -> bytes:
    """Appends a description, as `check_description` gives it, to a file, if there is one.

    The same content and description give the same bytes.
    """
    if description is None:
        return content
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        # A ZipInfo of its own has the date 1980-01-01.
        archive.writestr(zipfile.ZipInfo(NAME), json.dumps(description, indent=2) + "\n")
    return file.getvalue()


def check_description(description: Mapping[str, Any] | None, outputs: int) -> dict[str, Any] | None:
    """The plain values of a description, once readers of the file are known to understand them.

    Args:
        description: What a user gives; NumPy's values become plain ones.
        outputs: How many values the network gives.

    Raises:
        ConversionError: If one of them is not understood; says which and why.
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
            "description: expected names and plain values, as describe_run gives them. "
            f"Received: {error}"
        ) from error
    if (count := len(found.get("classes", []))) not in (0, outputs):
        raise ConversionError(
            f"description: expected {outputs} names of classes, as the model gives values. "
            f"Received: {count} of them"
        )
    return found


def _check(found: Any) -> None:
    """Raises ValueError for a description that cannot be read."""
    if not isinstance(found, dict):
        raise ValueError(f"a JSON {type(found).__name__} instead of an object")
    names, reading = found.get("classes", []), found.get("preprocessing", {})
    if not isinstance(names, list):
        raise ValueError(f"classes that are no list: {names!r}")
    if wrong := [name for name in names if not (isinstance(name, str) and is_shown(name))]:
        raise ValueError(f"a class name of other letters than can be printed: {wrong[0]!r}")
    if not isinstance(reading, dict):
        raise ValueError("a preprocessing without names of its values")
    if not is_positive(found.get("temperature", 1.0)):
        raise ValueError("a temperature that is no number above 0")


def read_description(file: File) -> dict[str, Any] | None:
    """The description of a `.tflite`, or `None` if it has none.

    Raises:
        ConversionError: If it is no TFLite file, or if its description is damaged.
        OSError: If it cannot be read.
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
    except Exception as error:  # zipfile raises whatever a damaged archive makes its decompressors.
        raise ConversionError(
            f"expected a description {NAME} as convert writes it behind the file. "
            f"Received: {type(error).__name__}: {error}"
        ) from error
    return found
