"""Stores the listing of a large folder, so that the next process need not walk through it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path

import numpy as np

from larq_groupnet.data.layouts import Examples, Layout
from larq_groupnet.data.listing import LeftOut, all_folders
from larq_groupnet.files import replacing

_FRESH = 2.0
"""Seconds within which a folder may change without a new modification time."""


def read_listing(root: Path, data_dir: Path) -> Layout | None:
    """Reads the layout that `keep_listing` stored; `None` if a folder has changed.

    Adding, removing or renaming a file changes the modification time of its folder. Replacing a
    file leaves the listing valid.

    Args:
        root: The folder.
        data_dir: Folder of the datasets.
    """
    try:
        with _file(root, data_dir).open("rb") as file, np.load(file) as kept:
            facts = json.loads(kept["facts"].tobytes())
            if facts["classes"] != _classes(root) or _times(facts["folders"]) != facts["times"]:
                return None
            splits: dict[str, Examples] = {}
            for split in facts["splits"]:
                names = os.fsdecode(kept[f"{split}.names"].tobytes()).split("\0")
                paths = [f"{root}{os.sep}{name}" for name in names]
                labels = kept[f"{split}.labels"].tolist()
                splits[split] = list(zip(paths, labels, strict=True))
            return Layout(splits, facts["names"], None, LeftOut(facts["kinds"], facts["junk"]))
    except Exception:  # The file is missing or damaged, which raises all kinds of errors.
        return None


def keep_listing(root: Path, data_dir: Path, layout: Layout) -> None:
    """Stores a layout of labels, with the splits that were drawn, for `read_listing`.

    Writes nothing if `data_dir` is read-only or a folder has just changed.
    """
    start = len(str(root)) + 1
    folders = all_folders(root)
    times = _times(folders)
    if max(times) > (time.time() - _FRESH) * 1e9:
        return
    facts = {
        "classes": _classes(root),
        "folders": folders,
        "times": times,
        "names": list(layout.names),
        "splits": list(layout.splits),
        "kinds": layout.left_out.kinds,
        "junk": layout.left_out.junk,
    }
    arrays = {"facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}
    for split, examples in layout.splits.items():
        names = os.fsencode("\0".join(path[start:] for path, _ in examples))
        arrays[f"{split}.names"] = np.frombuffer(names, np.uint8)
        arrays[f"{split}.labels"] = np.array([label for _, label in examples], np.int32)
    with contextlib.suppress(OSError), replacing(_file(root, data_dir)) as temporary:
        np.savez(temporary, **arrays)


def _file(root: Path, data_dir: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:32]
    return data_dir / "folders" / f"{digest}-listing.npz"


def _classes(root: Path) -> str:
    """Hash of `classes.txt`, which may change without changing the time of its folder."""
    file = root / "classes.txt"
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def _times(folders: list[str]) -> list[int]:
    return [os.stat(folder).st_mtime_ns for folder in folders]
