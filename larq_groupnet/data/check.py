"""Checks every file of a folder once, and stores the findings."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import Counter, defaultdict
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from larq_groupnet.data.images import check_regular, image_size, is_turned, read_image
from larq_groupnet.data.labels import NO_CLASS, Meaning
from larq_groupnet.data.layouts import FolderError, Layout
from larq_groupnet.data.listing import relative
from larq_groupnet.data.missing_masks import NO_MASK
from larq_groupnet.files import write_json
from larq_groupnet.hints import counted

_NAMED = 3
"""How many reasons an error gives, and how many files for each."""

_RULES = 3
"""Version of the checks; findings of another version are not used."""


class Findings(NamedTuple):
    """What a check found in the files of a folder.

    Attributes:
        bad: File, relative to the folder -> what is wrong with it.
        values: The values in the masks of each split: stored values, or classes for colour masks.
    """

    bad: dict[str, str]
    values: dict[str, list[int]]

    def tell(self, root: Path, most: int = _NAMED) -> str:
        """How many files are bad and why; names the first files of the commonest reasons."""
        missing, others = [], defaultdict(list)
        for file, reason in self.bad.items():
            if reason.startswith(NO_MASK):
                missing.append(f"{file} ({reason.removeprefix(NO_MASK)})")
            else:
                others[reason].append(file)
        groups = sorted(others.items(), key=lambda group: -len(group[1]))
        parts = [f"{_first(files, most)}: {reason}" for reason, files in groups[:most]]
        if count := len(self.bad) - len(missing):
            parts[0] = f"{counted(count, 'bad file')} in {root}: {parts[0]}"
        if rest := sum(len(files) for _, files in groups[most:]):
            parts.append(f"and {rest} more")
        if missing:
            what = f"{counted(len(missing), 'photo')} without a mask in {root}"
            parts.insert(0, f"{what}: {_first(missing, most)}")
        if max(len(missing), len(groups), *map(len, others.values())) > most:
            parts.append("`larq-groupnet check` lists all")
        return "; ".join(parts)

    def raise_for(self, root: Path, count: int, every: bool = False) -> None:
        """Raises FolderError, with advice, if there are bad files.

        Args:
            root: The folder.
            count: Number of examples.
            every: True to name every file and not to suggest skipping, for `check`.
        """
        if not self.bad:
            return
        missing = all(reason.startswith(NO_MASK) for reason in self.bad.values())
        do, whom = ("Add the masks", "these photos") if missing else ("Mend or remove them", "them")
        advice = f"{do}." if every else f"{do}, or leave {whom} out: --on_bad_image=skip."
        (reason, times), *_ = Counter(self.bad.values()).most_common(1)
        if reason.startswith("label ") and 2 * times > count:
            label = reason.split()[1]
            advice = (
                f"If {label} is void, say so: folder:PATH?void={label}. If it is a class, name it "
                "in classes.txt, or say what the values mean: folder:PATH?mapping=FILE."
            )
        raise FolderError(f"{self.tell(root, len(self.bad) if every else _NAMED)}. {advice}")


def _first(names: list[str], most: int) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def look(root: Path, layout: Layout, data_dir: Path, again: bool = False) -> Findings:
    """Checks the files of a folder by decoding each of them.

    Findings are stored under `data_dir`, if it is writable, and reused until a file changes.

    Args:
        root: The folder.
        layout: Its files and classes.
        data_dir: Folder of the datasets.
        again: True to check even if findings are stored.
    """
    kept = data_dir / "folders" / f"{_digest(root, layout)}.json"
    found = None if again else _kept(kept)
    with contextlib.ExitStack() as stack:
        can_write = found is None and _locked(kept.parent, stack)
        if can_write and not again:
            found = _kept(kept)  # Another process may have checked meanwhile.
        if found is None:
            found = _look(root, layout)
            if can_write:
                write_json(kept, found._asdict())
    return found._replace(bad={**layout.unmasked, **found.bad})


def _kept(file: Path) -> Findings | None:
    """The findings in a file; `None` if it is missing or damaged."""
    try:
        found = Findings(**json.loads(file.read_text()))
        whole = all(isinstance(reason, str) for reason in found.bad.values())
        values = [value for values in found.values.values() for value in values]
        return found if whole and all(isinstance(value, int) for value in values) else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _locked(folder: Path, stack: contextlib.ExitStack) -> bool:
    """Locks a folder for this process; returns False if it is not writable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stack.enter_context(FileLock(folder / ".lock"))
    except OSError:
        return False
    return True


def _digest(root: Path, layout: Layout) -> str:
    """Hash of the names, sizes, times and modes of all files, and of what their labels mean."""
    meaning = layout.meaning.key() if layout.meaning else "labels"
    digest = hashlib.sha256(f"{_RULES} {meaning}".encode())
    # Without masks, findings do not depend on the splits, which may not be drawn yet.
    named = sorted(
        (split if layout.meaning else "", path)
        for split, examples in layout.splits.items()
        for example in examples
        for path in example
        if isinstance(path, str)
    )
    for split, path in named:
        try:
            state = os.stat(path)
            facts = f"{state.st_size}\0{state.st_mtime_ns}\0{state.st_mode}"
        except OSError as error:  # A broken link, or one to itself.
            facts = str(error.errno)
        digest.update(f"{split}\0{relative(path, root)}\0{facts}\n".encode())
    return digest.hexdigest()[:32]


def _look(root: Path, layout: Layout) -> Findings:
    bad: dict[str, str] = {}
    values: dict[str, set[int]] = {split: set() for split in layout.splits}
    jobs = [(split, example) for split, examples in layout.splits.items() for example in examples]

    def inspect(job: tuple[str, tuple[str, int | str]]) -> tuple[str, set[int], str, str]:
        split, (image, target) = job
        return split, *_inspect(image, target, layout.meaning)

    with ThreadPool(os.cpu_count()) as pool:
        results = pool.imap(inspect, jobs, chunksize=8)
        for split, seen, path, reason in tqdm(results, f"Checking {root.name}", len(jobs)):
            values[split] |= seen
            if reason:
                bad[relative(path, root)] = reason
    return Findings(bad, {split: sorted(seen) for split, seen in values.items()})


def _inspect(image: str, target: int | str, meaning: Meaning | None) -> tuple[set[int], str, str]:
    """The values in the mask, the file that may be bad, and the reason; empty if it is good."""
    file = image
    try:
        check_regular(image)
        image_size(image)  # Refuses an image too large to decode.
        shape = tuple(read_image(image).shape[:2])
        if meaning is None or isinstance(target, int):
            return set(), image, ""
        file = target
        check_regular(file)
        stored = meaning.stored(target)[..., 0]
        classes = meaning.classes(stored)
    except Exception as error:  # Decoders raise all kinds of errors.
        return set(), file, _reason(error)
    if classes.shape != shape:
        turned = classes.shape == shape[::-1] and is_turned(image)
        hint = "; its EXIF turns the photo, and the mask fits the photo as it is stored"
        reason = f"a mask of {classes.shape} pixels for an image of {shape}{hint if turned else ''}"
        return set(), file, reason
    strange = stored[classes == NO_CLASS]
    if strange.size:
        value = int(strange.max())
        name = f"colour {' '.join(map(str, value.to_bytes(3, 'big')))}"
        return set(), file, f"{name if meaning.colours else f'label {value}'} is not a class"
    values = np.bincount((classes if meaning.colours else stored).ravel()).nonzero()[0]
    return set(values.tolist()), file, ""


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "it is gone"
    if isinstance(error, PermissionError):
        return "it may not be read: its permissions forbid it"
    if isinstance(error, OSError) and error.errno is not None:
        return f"it cannot be opened: {os.strerror(error.errno)}"
    return str(error) if isinstance(error, ValueError) else "it cannot be decoded"
