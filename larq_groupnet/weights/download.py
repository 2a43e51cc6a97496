"""Fetches one file from a release base into the cache: whole and right, or not at all."""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import requests
from filelock import FileLock, Timeout
from tqdm import tqdm

ATTEMPTS = 4
"""Times that a connection is tried before giving up; a part that came is kept between them."""

BACKOFF = 0.5
"""Seconds before the second attempt, doubled before each one after it."""

TIMEOUTS = (10.0, 30.0)
"""Seconds to wait for a connection, and for the next bytes."""

LOCK_TIMEOUT = 1800.0
"""Seconds to wait for another process that fetches the same file."""

_CHUNK = 2**16
# Worth another try: the server is busy, or does not know how to continue a part.
_TRANSIENT = (408, 416, 425, 429)


class DownloadError(OSError):
    """A file that could not be fetched. One sentence: what, from where, why, what to do."""


class _Again(Exception):
    """What went wrong this time, in words; another attempt may help."""


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_intact(path: Path, digest: str, size: int) -> bool:
    """Whether `path` is a file of `size` bytes with this SHA-256."""
    return path.is_file() and path.stat().st_size == size and sha256(path) == digest


def download(
    base: str,
    file: str,
    target: Path,
    *,
    digest: str,
    size: int,
    timeouts: tuple[float, float] = TIMEOUTS,
    backoff: float = BACKOFF,
) -> Path:
    """Makes `target` the file `file` of a release base; several processes at once do it once.

    The file gets its name when its hash is right. What came of a broken download lies beside it
    (`NAME.part`), and is continued next time. Shows a progress bar on stderr.

    Args:
        base: `http://` or `https://` URL, `file://` URL, or folder.
        file: Path relative to `base`, with `/`.
        target: Where to write.
        digest: Hexadecimal SHA-256 of the file.
        size: Bytes of the file.
        timeouts: Seconds to wait for a connection, and for the next bytes.
        backoff: Seconds before the second attempt.

    Returns:
        `target`.

    Raises:
        DownloadError: If `target` could not be made; it then is what it was before.
    """
    if is_intact(target, digest, size):
        return target
    part = target.with_name(f"{target.name}.part")
    source = f"{base.rstrip('/')}/{file}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f"{target.name}.lock"), timeout=LOCK_TIMEOUT):
            if not is_intact(target, digest, size):
                if urlsplit(base).scheme in ("http", "https"):
                    source = f"{base.rstrip('/')}/{quote(file)}"
                    continued = part.exists()
                    _retry(source, part, size, timeouts, backoff)
                    if continued and not is_intact(part, digest, size):
                        # The old part was of another file, or the machine died while writing it.
                        part.unlink()
                        _retry(source, part, size, timeouts, backoff)
                else:
                    _copy(_folder(base) / file, part)
                _accept(part, target, source, digest, size)
    except Timeout as error:
        raise DownloadError(
            f"weights: another process has been fetching {target} for {LOCK_TIMEOUT:.0f} s; end "
            "it, or wait and try again"
        ) from error
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(
            f"weights: cannot write {target} ({error}); make its folder writable with free space, "
            "or set LARQ_GROUPNET_CACHE to another one"
        ) from error
    return target


def _folder(base: str) -> Path:
    return Path(unquote(urlsplit(base).path) if base.startswith("file://") else base).expanduser()


def _copy(source: Path, part: Path) -> None:
    if not source.is_file():
        raise DownloadError(f"weights: expected the file {source}, which does not exist")
    shutil.copyfile(source, part)


def _accept(part: Path, target: Path, source: str, digest: str, size: int) -> None:
    """Gives a whole part its name; a wrong one must not be continued, so it goes."""
    received = part.stat().st_size
    if received != size or sha256(part) != digest:
        part.unlink()
        what = f"{received} bytes" if received != size else "another SHA-256"
        raise DownloadError(
            f"weights: {source} is not the file that was published: expected {size} bytes with "
            f"SHA-256 {digest}, received {what}; nothing was kept"
        )
    part.replace(target)


def _retry(url: str, part: Path, size: int, timeouts: tuple[float, float], backoff: float) -> None:
    reasons: dict[str, None] = {}  # In order, each once.
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(backoff * 2 ** (attempt - 1))
        try:
            return _receive(url, part, size, timeouts)
        except _Again as error:
            reasons[str(error)] = None
    raise DownloadError(
        f"weights: gave up on {url} after {ATTEMPTS} attempts ({'; '.join(reasons)}); check the "
        "connection and try again, which continues where this ended, or put the file at "
        f"{part.with_suffix('')} yourself"
    )


def _receive(url: str, part: Path, size: int, timeouts: tuple[float, float]) -> None:
    """Continues `part` up to `size` bytes, or one more if the server has more."""
    start = part.stat().st_size if part.exists() else 0
    if start == size:
        return
    if start > size:
        part.unlink()
        start = 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=timeouts) as response:
            start = _check_status(response, url, part, start)
            _write(response, part, start, size)
    except requests.exceptions.ChunkedEncodingError as error:
        raise _Again("the connection broke off") from error
    except (requests.ConnectionError, requests.Timeout) as error:
        if isinstance(error, requests.Timeout) or "timed out" in str(error).lower():
            raise _Again(f"the server sent nothing for {timeouts[1]:g} s") from error
        raise _Again("no connection to the server: is this machine offline?") from error
    except requests.RequestException as error:
        raise DownloadError(f"weights: {url} cannot be fetched: {error}") from error
    if part.stat().st_size < size:
        raise _Again(f"it ended after {part.stat().st_size} of {size} bytes")


def _check_status(response: requests.Response, url: str, part: Path, start: int) -> int:
    """Where in the file the answer begins: 0 from a server that cannot continue."""
    status = response.status_code
    if status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        return start
    if status == 200:
        return 0
    if status in (206, 416):
        part.unlink(missing_ok=True)
    if status >= 500 or status == 206 or status in _TRANSIENT:
        raise _Again(f"the server answered {status} {response.reason}")
    raise DownloadError(
        f"weights: {url} cannot be fetched: the server answered {status} {response.reason}; check "
        "the release base (LARQ_GROUPNET_WEIGHTS), or upgrade larq_groupnet"
    )


def _write(response: requests.Response, part: Path, start: int, size: int) -> None:
    with (
        part.open("ab" if start else "wb") as stream,
        tqdm(
            desc=part.stem, total=size, initial=start, unit="B", unit_scale=True, unit_divisor=1024
        ) as bar,
    ):
        for chunk in response.iter_content(_CHUNK):
            # A server that never ends must not fill the disk.
            stream.write(chunk[: size + 1 - start])
            start += len(chunk)
            bar.update(len(chunk))
            if start > size:
                return
