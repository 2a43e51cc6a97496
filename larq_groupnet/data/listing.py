"""Decides which files of a folder count as images, alike for training and `predict`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from larq_groupnet.hints import counted, few, is_shown

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
"""Lower-case suffixes of the image files that are read; capitals work as well."""

OTHER_FILE = "other file"
"""The kind of a file that is not an image; `CAMERA_FILE` is for photos that are not read."""

CAMERA_FILE = "photo of another format"

_CAMERAS = "heic heif hif avif dng cr2 cr3 nef arw raf orf rw2".split()
"""Suffixes, without the dot, of formats that phones and cameras use."""

_OF_JUNK = "hidden, of the system or of larq-groupnet"

_NAMED = 3
"""How many files of a kind are named."""

_JUNK = {"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "@eadir", "__pycache__"}

_FINDINGS = re.compile(r"\.lock|[0-9a-f]{32}(\.json|-listing\.npz)")
"""The files in `DATA_DIR/folders`."""


@dataclasses.dataclass
class LeftOut:
    """Files and folders that are ignored.

    Attributes:
        kinds: Kind, in the singular -> the files or folders, as paths relative to the folder.
        junk: Files that systems and tools leave in every folder, `.DS_Store`, `._*`, `__MACOSX`,
            ..., and folders that larq-groupnet writes.
    """

    kinds: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    junk: list[str] = dataclasses.field(default_factory=list)

    def add(self, kind: str, names: Iterable[str]) -> None:
        """Adds names to a kind."""
        names = list(names)
        if names:
            self.kinds.setdefault(kind, []).extend(names)

    def line(self) -> str:
        """The number and the first names of each kind; empty if nothing was left out."""
        parts = [_some(names, kind) for kind, names in sorted(self.kinds.items())]
        parts += [_some(self.junk, _OF_JUNK)] if self.junk else []
        return "; ".join(parts)

    def clause(self) -> str:
        """`line` for the end of a message: `", left out ..."`."""
        line = self.line()
        return f", left out {line}" if line else ""


def images_in(folder: Path, left_out: LeftOut | None = None, root: Path | None = None) -> list[str]:
    """The images in a folder and its subfolders, sorted by name; links are followed.

    Args:
        folder: Where to look.
        left_out: Collects the files that are not images.
        root: Folder that the names in `left_out` are relative to; `folder` by default.

    Returns:
        Their paths as text, because a million `Path` objects take a gigabyte.
    """
    other = LeftOut() if left_out is None else left_out
    found = []
    for path in _files(folder, root or folder, other):
        if is_image(path):
            found.append(path)
        else:
            other.add(_kind(path), [relative(path, root or folder)])
    return sorted(found)


def is_image(path: str) -> bool:
    """True if a file's name has the suffix of an image."""
    return os.path.splitext(path)[1].lower() in SUFFIXES


def _kind(path: str) -> str:
    if os.path.islink(path) and not os.path.exists(path):
        return "broken link"
    return CAMERA_FILE if os.path.splitext(path)[1][1:].lower() in _CAMERAS else OTHER_FILE


def folders_in(folder: Path) -> list[Path]:
    """The direct subfolders of a folder, including links, except junk and our own."""
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and not _is_passed(path)]


def count_beside(
    folder: Path, left_out: LeftOut, root: Path, images: str, used: Collection[Path] = ()
) -> None:
    """Counts the unused files and the junk folders directly in a folder.

    Args:
        folder: Where to look.
        left_out: Collects the files and folders.
        root: Folder that the names in `left_out` are relative to.
        images: The kind under which images are counted.
        used: Files that are used, and not counted.
    """
    for path in sorted(folder.iterdir()):
        name = relative(str(path), root)
        if is_junk(path.name) or (path.is_dir() and _is_passed(path)):
            left_out.junk.append(name)
        elif not path.is_dir() and path not in used:
            left_out.add(images if is_image(path.name) else _kind(str(path)), [name])


def holds_images(folder: Path) -> bool:
    """True if there is an image in a folder or its subfolders."""
    return any(map(is_image, _files(folder, folder, LeftOut())))


def loose(folder: Path) -> list[str]:
    """The images directly in a folder."""
    with os.scandir(folder) as entries:
        return sorted(x.path for x in entries if is_image(x.name) and not is_junk(x.name))


@functools.cache
def _is_passed(folder: Path) -> bool:
    """True for a folder that is junk, or that larq-groupnet has made, such as `data` or `runs`.

    Cached, because finding a layout asks up to eight times per folder; see `look_anew`.
    """
    if is_junk(folder.name) or _is_own(str(folder)):
        return True
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        if any(is_image(entry.name) for entry in entries):  # Most folders end here.
            return False
    files, inside = [], LeftOut()
    for path in _files(folder, folder, inside):
        if is_image(path):
            return False
        files.append(os.path.basename(path))
    return "predictions.csv" in files or any(_is_own(str(folder / x)) for x in inside.junk)


def look_anew() -> None:
    """Clears the cache of `_is_passed`, because folders may have changed."""
    _is_passed.cache_clear()


def _is_own(folder: str) -> bool:
    """True for the folder of a run, and for a `--data_dir` that keeps findings."""
    findings = os.path.join(folder, "folders")
    with contextlib.suppress(OSError):
        if os.path.isdir(findings) and any(map(_FINDINGS.fullmatch, os.listdir(findings))):
            return True
    return os.path.isfile(os.path.join(folder, "recipe.json"))


def is_junk(name: str) -> bool:
    """True for hidden files, and for files that systems and tools leave behind."""
    return name.startswith(".") or name.lower() in _JUNK


def relative(path: str, root: Path) -> str:
    """A path relative to a folder, with unprintable characters escaped."""
    return printable(os.path.relpath(path, root).replace(os.sep, "/"))


def printable(name: str) -> str:
    """A file name, escaped so that any terminal and any JSON can take it."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return "".join(c if is_shown(c) else c.encode("unicode_escape").decode() for c in text)


def all_folders(root: Path) -> list[str]:
    """A folder and all folders below it that may hold images; links are followed."""
    return [here for here, _ in _walk(root, root, LeftOut())]


def _files(folder: Path, root: Path, left_out: LeftOut) -> Iterator[str]:
    """All files that are not junk."""
    for here, names in _walk(folder, root, left_out):
        yield from (os.path.join(here, name) for name in names)


def _walk(folder: Path, root: Path, left_out: LeftOut) -> Iterator[tuple[str, list[str]]]:
    """Each folder with its files, sorted by name; a folder linked into itself comes once.

    `left_out` collects junk, our own folders, links to a folder above, and unreadable folders.
    """
    above = {_identity(parent) for parent in folder.resolve().parents}
    seen: set[tuple[int, int]] = set()

    def unreadable(error: OSError) -> None:
        left_out.add("folder that cannot be read", [relative(error.filename, root)])

    for here, folders, names in os.walk(folder, onerror=unreadable, followlinks=True):
        identity = _identity(here)
        if identity in above:
            left_out.add("link to a folder above", [relative(here, root)])
        own = here != str(folder) and _is_own(here)
        if own:
            left_out.junk.append(relative(here, root))
        if own or identity in above | seen:
            folders.clear()
            continue
        seen.add(identity)
        junk = sorted(name for name in (*folders, *names) if is_junk(name))
        left_out.junk += [relative(os.path.join(here, name), root) for name in junk]
        folders[:] = sorted(name for name in folders if not is_junk(name))
        yield here, sorted(name for name in names if not is_junk(name))


def _identity(folder: str | Path) -> tuple[int, int]:
    state = os.stat(folder)
    return state.st_dev, state.st_ino


def _some(names: list[str], kind: str) -> str:
    advice = ": convert them to JPEG" if kind == CAMERA_FILE else ""
    return f"{counted(len(names), kind)} ({few(names, _NAMED)}){advice}"
