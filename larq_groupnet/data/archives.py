"""Unpacks downloaded archives without trusting their content."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import zlib
from pathlib import Path, PureWindowsPath
from typing import IO, cast

from filelock import FileLock
from tqdm import tqdm

from larq_groupnet.data import DatasetError

_DAMAGED = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError)


class ArchiveError(DatasetError):
    """An archive is damaged or incomplete, or holds a link, a device or a path outside itself."""


def unpack(archive: Path, target: Path) -> Path:
    """Unpacks a `.tar`, `.tar.gz`, `.tgz`, `.tar.bz2` or `.tar.xz` into a new folder.

    The folder gets its name only when it is complete. A folder that already holds something counts
    as unpacked. A second process that asks for the same folder waits.

    Only files and folders are accepted. Links are refused even if they point inside: no dataset
    here has any, and chains of links have escaped Python's own filter (CVE-2025-4517).

    Args:
        archive: The file; its format is read from its content.
        target: The folder to make.

    Returns:
        `target`.

    Raises:
        ArchiveError: If the archive cannot be read to its end, or has a member that is not a file
            or folder below the target. Nothing is left behind.
        OSError: If the archive is missing or its content cannot be written to disk.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f".{target.name}.lock"):
        if target.is_dir() and any(target.iterdir()):
            return target
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)  # From a killed run.
        partial.mkdir()
        try:
            _untar(archive, partial)
            partial.replace(target)
        except _DAMAGED as error:
            raise _unreadable(archive, error) from error
        except OSError as error:
            # Decompressors raise OSError without an errno; the operating system always sets one.
            if error.errno is None:
                raise _unreadable(archive, error) from error
            raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def _unreadable(archive: Path, error: Exception) -> ArchiveError:
    reason = str(error).partition("\n")[0].rstrip(":")
    return ArchiveError(
        f"{archive} is not a complete archive ({reason}). Expected a tar file as published; "
        "download it again and compare its size with the one on its page."
    )


def _untar(archive: Path, folder: Path) -> None:
    size = archive.stat().st_size
    with (
        archive.open("rb") as file,
        tqdm.wrapattr(file, "read", total=size, desc=f"Unpacking {archive.name}") as read,
        tarfile.open(fileobj=read) as tar,
    ):
        for member in tar:
            path = PureWindowsPath(member.name)  # Handles both slashes, and drives.
            allowed = member.isfile() or member.isdir()
            if not allowed or path.anchor or ".." in path.parts:
                what = "member" if allowed else "link or device"
                raise ArchiveError(
                    f"{archive} was not unpacked. Expected only files and folders below its own "
                    f"folder. Received: {what}={member.name!r}. Take the archive from its official "
                    "page."
                )
            tar.extract(member, folder, filter="data")
        _check_end(tar)


def _check_end(tar: tarfile.TarFile) -> None:
    """Raises unless an end-of-archive block follows the last member; `tarfile` does not check.

    Without the block, a tar that was cut off between two members would pass as complete.
    """
    stream = cast(IO[bytes], tar.fileobj)
    stream.seek(tar.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it stops before its end")
    while stream.read(1 << 20):  # A compressed file has its checksum at the end.
        pass
