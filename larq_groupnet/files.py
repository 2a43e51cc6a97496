"""Files that are either whole or absent."""

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
"""Pattern of the names that `replacing` gives to files which are not whole yet."""


def path_of(path: str | os.PathLike[str], expected: str = "expected a path") -> Path:
    """A path as a user gives it, in which `~` is the home folder.

    Args:
        path: The path.
        expected: What the error says of one that is none.

    Raises:
        UserError: If it is something else, such as a model.
    """
    if not isinstance(path, str | os.PathLike):
        raise UserError(f"{expected}. Received: an object of type {type(path).__name__}")
    return Path(os.path.expanduser(path))  # Path.expanduser takes `~$photo.jpg` for a user's name.


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path in the same folder, renamed to `path` if the block succeeds.

    The temporary name is unique, so that two processes do not write into one file, and the content
    is on the disk before the rename.

    Raises:
        OSError: If it cannot be written; names `path`.
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
    """Has an error of writing name the file: a full disk is met by a write, which knows no name."""
    try:
        yield
    except OSError as error:
        own = {str(path), str(temporary)}  # Of a copy, the second name is the file that is written.
        other = own.isdisjoint({str(error.filename), str(error.filename2)})
        if isinstance(error, UserError) or (error.filename is not None and other):
            raise
        number = error.errno or errno.EIO
        reason = os.strerror(number) if error.errno else str(error)
        raise OSError(number, reason, str(path)) from error


@contextlib.contextmanager
def full_disk_as_os_error() -> Iterator[None]:
    """Turns TensorFlow's errors of a full disk, each of another class, into the system's."""
    try:
        yield
    except Exception as error:
        for number in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            reason = os.strerror(number)
            # After the name of an operation, in braces, if there is one.
            if found := re.search(rf"^(?:.*}}}} )?(.+); {reason}", str(error)):
                raise OSError(number, reason, found[1]) from error
        raise


def check_output(path: str | os.PathLike[str], folder: bool = False) -> Path:
    """Sees whether a file, or a folder, can be written, before the work that fills it.

    Returns:
        Its path.

    Raises:
        OutputError: If there is something else, or no right to write.
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
    """What there is of a path: itself, or the innermost of its folders that exists."""
    return next(each for each in (path, *path.absolute().parents) if each.exists())


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Writes `plain` values as indented JSON; an object becomes its text."""
    write_text(path, json.dumps(plain(content), indent=2, default=str, allow_nan=False) + "\n")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    r"""Writes UTF-8 whatever the language of the system, as any program reads it.

    A file's name may hold bytes that are no UTF-8: they are written as `\udcfc`.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_csv(path: str | os.PathLike[str], rows: Iterable[Iterable[Any]]) -> None:
    """Writes a table, its header the first row."""
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(rows)
    write_text(path, table.getvalue())


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one if there is none, or it is damaged.

    Raises:
        OSError: If it may not be read, or the disk fails: what it holds is not to be written over.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
        found = json.loads(path.read_text())
        return found if isinstance(found, dict) else {}
    return {}


def plain(value: Any) -> Any:
    """A value as JSON has it: NumPy's numbers as plain ones, NaN and infinity as `null`."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
