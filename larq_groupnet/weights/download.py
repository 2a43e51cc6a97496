"""Downloads a file from a release base into the cache: whole and verified, or not at all."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pooch
import requests
from filelock import FileLock, Timeout

from larq_groupnet.errors import WeightsError
from larq_groupnet.files import path_of, replacing

RETRIES = 2
"""Further attempts, after one and two seconds."""

TIMEOUT = 30.0
"""Seconds to wait for a connection, and for the next bytes."""

LOCK_TIMEOUT = 1800.0
"""Seconds to wait for another process that downloads the same file."""


class DownloadError(WeightsError, OSError):
    """A file that could not be downloaded. Says what, from where, why, and what to do."""


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest: str = pooch.file_hash(str(path), alg="sha256")
    return digest


def is_intact(path: Path, digest: str, size: int) -> bool:
    """True for a file of `size` bytes with this SHA-256."""
    return path.is_file() and path.stat().st_size == size and sha256(path) == digest


def download(base: str, file: str, target: Path, *, digest: str, size: int) -> Path:
    """Downloads `file` of a release base to `target`; several processes at once download it once.

    The file gets its name after its hash is checked. Shows a progress bar on stderr.

    Args:
        base: `http://` or `https://` URL, `file://` URL, or folder.
        file: Path relative to `base`, with `/`.
        target: Where to write.
        digest: Hexadecimal SHA-256 of the file.
        size: Bytes of the file.

    Returns:
        `target`.

    Raises:
        DownloadError: If `target` could not be made. It stays as it was.
    """
    source = f"{base.rstrip('/')}/{file}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f"{target.name}.lock"), timeout=LOCK_TIMEOUT):
            if is_intact(target, digest, size):
                return target
            if urlsplit(base).scheme in ("http", "https"):
                _fetch(base, file, target, digest)
            else:
                local = unquote(urlsplit(base).path) if base.startswith("file://") else base
                _copy(path_of(local) / file, target, digest, size)
    except Timeout as error:
        raise DownloadError(
            f"weights: another process has been fetching {target} for {LOCK_TIMEOUT:.0f} s; end "
            "it, or wait and try again"
        ) from error
    except DownloadError:
        raise
    except requests.RequestException as error:
        raise DownloadError(
            f"weights: {source} cannot be fetched: {error}; check the connection and the release "
            f"base (LARQ_GROUPNET_WEIGHTS) and try again, or put the file at {target} yourself"
        ) from error
    except ValueError as error:
        if "hash" not in str(error):
            raise
        raise _wrong(source, digest, size) from error
    except OSError as error:
        raise DownloadError(
            f"weights: cannot write {target} ({error}); make its folder writable with free space, "
            "or set LARQ_GROUPNET_CACHE to another one"
        ) from error
    return target


def _fetch(base: str, file: str, target: Path, digest: str) -> None:
    pooch.get_logger().setLevel(logging.WARNING)  # The progress bar says it.
    files = pooch.create(
        path=target.parent,
        base_url=f"{base.rstrip('/')}/",
        registry={target.name: f"sha256:{digest}"},
        urls={target.name: f"{base.rstrip('/')}/{quote(file)}"},
        retry_if_failed=RETRIES,
    )
    files.fetch(target.name, downloader=pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT))
    target.chmod(0o644)  # pooch leaves a file that other users cannot read.


def _copy(source: Path, target: Path, digest: str, size: int) -> None:
    if not source.is_file():
        raise DownloadError(f"weights: expected the file {source}, which does not exist")
    if not is_intact(source, digest, size):
        raise _wrong(str(source), digest, size)
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)


def _wrong(source: str, digest: str, size: int) -> DownloadError:
    return DownloadError(
        f"weights: {source} is not the file that was published: expected {size} bytes with SHA-256 "
        f"{digest}; nothing was kept. Publish it again, or upgrade larq_groupnet"
    )
