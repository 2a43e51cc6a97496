"""Locks a run's folder, so that one process at a time uses it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from larq_groupnet.errors import RecipeError
from larq_groupnet.files import PARTIAL, read_json

NAME = ".lock"
_HOLDER = ".holder.json"


@contextlib.contextmanager
def holding(folder: Path, remedy: str = "Wait for it, or name another folder.") -> Iterator[None]:
    """Locks a folder, which is created if needed.

    The system releases the lock when its process ends in any way, so a lock is never stale. The
    lock file is deleted too, unless the process is killed.

    Raises:
        RecipeError: If another process holds the folder; names the process.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = _locked(folder / NAME)
    except Timeout as error:
        raise RecipeError(
            f"output_dir: expected a folder that no other process writes to. Received: {folder}, "
            f"held by {_holder(folder)}. {remedy}"
        ) from error
    with lock:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        (folder / _HOLDER).write_text(json.dumps(holder))
        try:
            yield
        finally:
            (folder / _HOLDER).unlink(missing_ok=True)
            (folder / NAME).unlink(missing_ok=True)
            if made and not any(folder.iterdir()):  # Nothing was written.
                folder.rmdir()


def _locked(file: Path) -> BaseFileLock:
    """Locks a file; tries again if its last holder removed the file in between."""
    while True:
        lock = FileLock(file)
        lock.acquire(timeout=0)
        if file.exists():
            return lock
        lock.release()


def check_free(folder: Path) -> None:
    """Checks that a folder is not locked.

    Raises:
        RecipeError: If another process holds the folder; names the process.
    """
    if (folder / NAME).exists():
        with holding(folder):
            pass


def is_new(folder: Path) -> bool:
    """True if a folder does not exist, or holds only a lock and partial files."""
    if not folder.exists():
        return True
    if not folder.is_dir():
        return False
    return {each.name for each in folder.iterdir() if not each.match(PARTIAL)} <= {NAME, _HOLDER}


def _holder(folder: Path) -> str:
    holder = read_json(folder / _HOLDER)  # The file may be gone by now.
    if not {"pid", "host", "since"} <= {*holder}:
        return "another process"
    return "process {pid} on {host} since {since}".format(**holder)
