"""Opens files given as a path, as bytes or as an open file."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from larq_groupnet_runtime.errors import InputError, one_line


def opened(source: Any, expected: str) -> tuple[str, BinaryIO]:
    """Returns a file's name and the open file; a file that is already open is returned as it is.

    Args:
        source: A path, bytes or an open binary file.
        expected: The expected kind of file, for the message.

    Raises:
        InputError: If `source` is something else, or a folder, a pipe (which may block forever) or
            a device.
        OSError: If it cannot be opened.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "these bytes", io.BytesIO(source)
    if hasattr(source, "read"):
        return str(getattr(source, "name", "this file")), source
    if not isinstance(source, (str, os.PathLike)):
        raise InputError(
            f"expected {expected}: a path, bytes or an open file. Received: {type(source).__name__}"
        )
    name = os.fsdecode(source) or "."
    try:
        path = Path(name).expanduser()
        mode = path.stat().st_mode
    except (ValueError, RuntimeError) as error:  # A zero byte; `~` of an unknown user.
        raise InputError(f"expected a path. Received: {name!r}: {one_line(error)}") from error
    if not stat.S_ISREG(mode):
        received = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise InputError(f"{name}: expected {expected}. Received: {received}")
    return name, path.open("rb")
