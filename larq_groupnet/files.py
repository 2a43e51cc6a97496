"""Writes files whole or not at all, and reads JSON."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import math
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from larq_groupnet.errors import OutputError, UserError

PARTIAL = ".*.partial*"
"""Pattern of the temporary names that `replacing` gives to unfinished files."""


def path_of(path: str | os.PathLike[str], expected: str = "expected a path") -> Path:
    """Turns a user's path into a `Path`; `~` is the home folder.

    Args:
        path: The path.
        expected: Start of the error message.

    Raises:
        UserError: If it is something else, such as a model.
    """
    if not isinstance(path, str | os.PathLike):
        raise UserError(f"{expected}. Received: an object of type {type(path).__name__}")
    return Path(os.path.expanduser(path))  # Path.expanduser reads `~$photo.jpg` as a user's name.


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path in the same folder, renamed to `path` if the block succeeds.

    The temporary name is unique, so two processes never write to the same file. The content is on
    the disk before the rename.

    Raises:
        OSError: If the file cannot be written. Names `path`.
    """
    path = path_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.partial{path.suffix}")
    try:
        with naming(path, temporary):
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def naming(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Adds the file's name to a write error: an error of a full disk has none."""
    try:
        yield
    except OSError as error:
        own = {str(path), str(temporary)}  # A failed copy names the written file second.
        other = own.isdisjoint({str(error.filename), str(error.filename2)})
        if isinstance(error, UserError) or (error.filename is not None and other):
            raise
        number = error.errno or errno.EIO
        reason = os.strerror(number) if error.errno else str(error)
        raise OSError(number, reason, str(path)) from error


@contextlib.contextmanager
def full_disk_as_os_error() -> Iterator[None]:
    """Turns TensorFlow's errors about a full disk, which vary in class, into an `OSError`."""
    try:
        yield
    except Exception as error:
        for number in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            reason = os.strerror(number)
            # An operation's name in braces may precede the path.
            if found := re.search(rf"^(?:.*}}}} )?(.+); {reason}", str(error)):
                raise OSError(number, reason, found[1]) from error
        raise


def check_output(path: str | os.PathLike[str], folder: bool = False) -> Path:
    """Checks that a file or folder can be written, before the work that fills it.

    Returns:
        The path.

    Raises:
        OutputError: If something of the other kind is there, or writing is not permitted.
    """
    path = path_of(path)
    there = nearest(path)
    right = there.is_dir() == (folder or there != path)
    if not right or not os.access(there, os.W_OK):
        raise OutputError(
            f"output: expected {'a folder' if folder else 'a file'} that can be written. Received: "
            f"{path}, where {there} is {'a folder' if there.is_dir() else 'a file'}"
            f"{' that cannot be written' if right else ''}"
        )
    return path


def nearest(path: Path) -> Path:
    """The path if it exists, else the innermost of its folders that exists."""
    return next(each for each in (path, *path.absolute().parents) if each.exists())


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Writes `plain` values as indented JSON; any other object becomes its `str`."""
    write_text(path, json.dumps(plain(content), indent=2, default=str, allow_nan=False) + "\n")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    r"""Writes UTF-8, whatever the system's locale.

    Bytes of a file name that are not UTF-8 are written as escapes such as `\udcfc`.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_csv(path: str | os.PathLike[str], rows: Iterable[Iterable[Any]]) -> None:
    """Writes a table whose first row is the header."""
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(rows)
    write_text(path, table.getvalue())


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one if the file is missing or damaged.

    Raises:
        OSError: If reading is not permitted or the disk fails: the file must not be overwritten.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
        found = json.loads(path.read_text())
        return found if isinstance(found, dict) else {}
    return {}


def plain(value: Any) -> Any:
    """Converts a value for JSON: NumPy's numbers to plain ones, NaN and infinity to `null`."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
