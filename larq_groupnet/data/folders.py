"""A folder of images as a dataset that reads the files in place."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_groupnet.data import VOID, DatasetWarning, dataset
from larq_groupnet.data.base import ROLES, Dataset, Examples
from larq_groupnet.data.check import Findings, look
from larq_groupnet.data.images import Part, decode_image
from larq_groupnet.data.kept_listing import keep_listing, read_listing
from larq_groupnet.data.labels import (
    LEVELS,
    MOST_UNNAMED,
    Meaning,
    index_labels,
    only,
    parse_void,
    read_class_names,
    read_mapping,
)
from larq_groupnet.data.layouts import FolderError, Layout, find_layout
from larq_groupnet.data.listing import printable, relative
from larq_groupnet.data.masks import decode_mask
from larq_groupnet.data.order import columns
from larq_groupnet.data.splits import check_sizes, draw_splits, name_hash
from larq_groupnet.errors import DatasetError
from larq_groupnet.files import path_of
from larq_groupnet.hints import counted, few

CHECKED_UNASKED = 50_000
"""Folders with more images are checked only on request, to skip bad files or to find classes."""


class FolderDataset(Dataset):
    """A folder of images with labels or masks; see `open_folder`.

    Args:
        name: The name that it was opened by.
        root: The folder.
        layout: Its files by role, and its classes.
        data_dir: Where findings are stored.
        skipped: File that was left out -> why.
        whole: The layout before any file was left out; `layout` if none was.
    """

    channels = 3

    def __init__(
        self,
        name: str,
        root: Path,
        layout: Layout,
        data_dir: Path,
        skipped: dict[str, str],
        whole: Layout | None = None,
    ):
        self.name, self.skipped, self.classes = name, skipped, tuple(layout.names)
        self.target = "label" if layout.meaning is None else "mask"
        self.left_out = layout.left_out.line()
        self._root, self._layout, self._data_dir = root, layout, data_dir
        self._whole = whole or layout

    @property
    def sizes(self) -> Mapping[str, int]:
        return {role: len(examples) for role, examples in self._layout.splits.items()}

    def examples(self, role: str) -> Examples:
        role = "validation" if role == "test" and role not in self._layout.splits else role
        images, targets = zip(*self._layout.splits[role], strict=True)
        if self.target == "mask":
            return columns(_paths(images), _paths(targets))
        return columns(_paths(images), tf.constant(targets, tf.int32))

    def digest(self) -> str:
        """Hash of the file names in each role, and of their labels or the names of their masks.

        Up to `CHECKED_UNASKED` images, it includes the sizes of the image files.
        """
        found, root = hashlib.sha256(), str(self._root)
        sized = sum(self.sizes.values()) <= CHECKED_UNASKED
        for role, examples in sorted(self._layout.splits.items()):
            for image, target in sorted(examples):
                names = (role, image.removeprefix(root), str(target).removeprefix(root))
                facts = (*names, os.path.getsize(image) if sized else 0)
                found.update(repr(facts).encode("utf-8", "backslashreplace"))
        return found.hexdigest()

    def decode_image(self, image: tf.Tensor, part: Part | None = None) -> tf.Tensor:
        return decode_image(tf.io.read_file(image), self.channels, part=part)

    def decode_target(self, target: tf.Tensor) -> tf.Tensor:
        if self._layout.meaning is not None:
            target = decode_mask(target, self._layout.meaning)
        return tf.cast(target, tf.int32)

    def look_again(self) -> Findings:
        """Decodes every file, left out or not, and stores the findings for later runs."""
        return look(self._root, self._whole, self._data_dir, again=True)

    def check_files(self) -> None:
        """Decodes every used file again.

        Raises:
            FolderError: If one has vanished or gone bad since the folder was opened; names it.
        """
        found = look(self._root, self._layout, self._data_dir, again=True)
        found.raise_for(self._root, sum(self.sizes.values()))


@dataset("folder")
def open_folder(
    place: str | Path,
    data_dir: str | Path,
    on_bad_image: str | None = "error",
    void: str | None = None,
    mapping: str | None = None,
) -> FolderDataset:
    """Opens a folder as a dataset for classification or segmentation; see `find_layout`.

    Nothing is copied. A folder without validation images is split class by class, by file names;
    see `draw_splits`. `classes.txt` names the classes, one per line: in label order for masks,
    otherwise as the class folders are named.

    Every file is decoded once, so that bad files are known before training; this takes about as
    long as reading the data of one epoch. A folder of more than `CHECKED_UNASKED` images is only
    listed.

    Args:
        place: The folder.
        data_dir: Folder of the datasets, where findings are stored.
        on_bad_image: `"error"`, or `"skip"` to leave out, with a warning, images that cannot be
            decoded or whose mask is missing, cannot be decoded, differs in size or holds a label
            that is not a class. `None` to check files only if necessary and to leave out known bad
            files silently, for `look_again` to report.
        void: Mask values that are void in addition to 255, such as `"11"` or `"0,11"`; `"none"` if
            255 is a class.
        mapping: A file, in the folder or elsewhere, that gives the meaning of mask values; see
            `read_mapping`. `"levels"` makes each value that occurs a class.

    Raises:
        FolderError: If the folder holds no dataset, or has bad images; names them.
    """
    if on_bad_image not in ("error", "skip", None):
        raise FolderError(f"on_bad_image: expected 'error' or 'skip'. Received: {on_bad_image!r}")
    if not str(place).strip():
        raise FolderError(
            "folder: expected folder:PATH. Received: no path. folder:. is this folder; if the path "
            "comes from a shell variable, set it."
        )
    root, kept = path_of(place).resolve(), path_of(data_dir)
    name, plain = f"folder:{printable(str(root))}", void is None and mapping is None
    layout = read_listing(root, kept) if plain and on_bad_image != "skip" else None
    if layout is not None:
        _warn(root, layout, Findings({}, {}))
        return FolderDataset(name, root, layout, kept, {})
    layout, levels = _layout(root, void, mapping), mapping == LEVELS
    dataset = opened(name, root, layout, kept, on_bad_image, levels)
    large = dataset.target == "label" and sum(dataset.sizes.values()) > CHECKED_UNASKED
    if large and not dataset.skipped:
        keep_listing(root, kept, dataset._layout)
    return dataset


def opened(
    name: str,
    root: Path,
    layout: Layout,
    data_dir: Path,
    on_bad_image: str | None,
    levels: bool = False,
) -> FolderDataset:
    """Makes the dataset of a layout, and checks its files if necessary.

    Args:
        name: Name of the dataset.
        root: Folder that file names are relative to.
        layout: Its files and classes.
        data_dir: See `open_folder`.
        on_bad_image: See `open_folder`.
        levels: True to make each value that occurs in the masks a class.
    """
    whole = layout
    unnamed = layout.meaning is not None and (not layout.names or levels)
    count = sum(map(len, layout.splits.values()))
    found = Findings(layout.unmasked, {})
    if on_bad_image == "error" or not count:  # Before any file is decoded.
        found.raise_for(root, count, every=on_bad_image is None)
    if unnamed or on_bad_image == "skip" or (on_bad_image and count <= CHECKED_UNASKED):
        found = look(root, layout, data_dir)
    if found.bad:
        layout = _without(layout, root, found.bad)
        if on_bad_image == "error" or not any(layout.splits.values()):
            found.raise_for(root, count, every=on_bad_image is None)
    try:
        if unnamed:
            layout = _named(root, layout, found, levels)
        layout = _divided(root, layout, found)
    except DatasetError:
        if on_bad_image is None:  # `check` reports the bad files, not what follows from them.
            found.raise_for(root, count, every=True)
        raise
    _warn(root, layout, found if on_bad_image else Findings({}, {}))
    return FolderDataset(name, root, layout, data_dir, found.bad, whole)


def _layout(root: Path, void: str | None, mapping: str | None) -> Layout:
    """The layout of a folder, including the meaning of its mask values."""
    names, voids = read_class_names(root / "classes.txt"), parse_void(void)
    used = []
    if mapping == LEVELS:
        meaning = only(range(256), voids)
    elif mapping is not None:
        file = path_of(mapping)
        file = root / file if (root / file).is_file() else file
        mapped, meaning = read_mapping(file, voids)
        if names not in ([], mapped):
            raise FolderError(
                f"mapping: expected the classes of classes.txt, {names}. Received: {mapped} in "
                f"{file}. Remove classes.txt, or name the same classes in the same order."
            )
        names, used = mapped, [file]
    else:
        meaning = index_labels(len(names) or VOID, voids)
    layout = find_layout(root, names, meaning, used)
    if (void or mapping) and layout.meaning is not meaning:
        raise FolderError(
            f"void, mapping: expected images/ and masks/ in {root}, as these options describe "
            f"masks. Received: void={void}, mapping={mapping}"
        )
    return layout


def _named(root: Path, layout: Layout, found: Findings, levels: bool) -> Layout:
    """The layout, with classes derived from the values in its masks.

    Raises:
        FolderError: If these values are not labels that count from 0, or not usable levels.
    """
    assert layout.meaning is not None  # noqa: S101
    voids = layout.meaning.void
    values = sorted(set().union(*found.values.values()) - set(voids))
    if levels:
        names = layout.names or [f"level_{value}" for value in values]
        if len(names) != len(values):
            raise FolderError(_not(f"the {len(names)} levels that classes.txt names", root, values))
        if not layout.names and len(values) > MOST_UNNAMED:
            raise FolderError(_not(f"at most {MOST_UNNAMED} levels, one per class", root, values))
        meaning = only(values, voids)
    else:
        meaning = layout.meaning
        count = max((int(meaning.lookup[value]) for value in values), default=-1) + 1
        names = [f"class_{label}" for label in range(count)]
        if 2 * len(values) < count or len(values) > MOST_UNNAMED:
            remedy = " If each grey is a class: folder:PATH?mapping=levels."
            raise FolderError(_not("labels that count from 0", root, values, remedy))
        missing = [names[i] for i in range(count) if i not in set(meaning.lookup[values])]
        if missing:
            warnings.warn(f"{root}: no mask holds {', '.join(missing)}", DatasetWarning, 3)
    if len(names) < 2:
        raise FolderError(
            f"masks: expected two or more classes in {root}; "
            f"{', '.join(map(str, voids)) or 'nothing'} stands for void, never for a class. "
            f"Received: values {values}. If masks are black and white, and white is a class: "
            "folder:PATH?void=none&mapping=levels"
        )
    return Layout(layout.splits, names, meaning, layout.left_out)


def _not(expected: str, root: Path, values: list[int], remedy: str = "") -> str:
    received = counted(len(values), "value")
    received += f" between {values[0]} and {values[-1]} ({few(values)})" if values else " but void"
    return (
        f"masks: expected {expected}, in {root}. Received: {received}.{remedy} If edges are soft, "
        "name the values that are classes, one per line, and `* void` for the rest: "
        "folder:PATH?mapping=FILE. If all are classes, name them in classes.txt."
    )


def _without(layout: Layout, root: Path, bad: dict[str, str]) -> Layout:
    splits = {
        split: [
            example
            for example in examples
            if not any(isinstance(x, str) and relative(x, root) in bad for x in example)
        ]
        for split, examples in layout.splits.items()
    }
    return Layout(splits, layout.names, layout.meaning, layout.left_out)


def _divided(root: Path, layout: Layout, found: Findings) -> Layout:
    """The layout, with validation images drawn if it has none, in an order that mixes classes.

    Raises:
        FolderError: If there are too few images, or a class has none to train on.
    """
    splits = {
        # Drops splits whose masks are all void, such as the test split of Cityscapes.
        split: examples
        for split, examples in layout.splits.items()
        if split not in found.values
        or layout.meaning is None
        or _has_class(layout.meaning, found.values[split])
    }

    def key(example: tuple[str, int | str]) -> tuple[int, str]:
        name = os.path.basename(example[0])
        return name_hash(os.path.splitext(name)[0]), example[0]

    own = splits.pop("all", None)
    if own is None and "train" in splits and "validation" not in splits:
        own = splits.pop("train")
    splits = {split: sorted(examples, key=key) for split, examples in splits.items()}
    if own is not None:
        labels = layout.meaning is None
        splits |= draw_splits(own, lambda x: x[1] if labels else 0, key, test=not splits)
    splits = {split: splits[split] for split in ROLES if split in splits}
    sizes = {split: len(examples) for split, examples in splits.items()}
    check_sizes(f"folder {root}{layout.left_out.clause()}", sizes)
    if layout.meaning is None:
        there = {label for _, label in splits["train"]}
        missing = [name for label, name in enumerate(layout.names) if label not in there]
        if missing:
            raise FolderError(
                f"class: expected every class in train of {root}. Received: no image of {missing}"
            )
    return Layout(splits, layout.names, layout.meaning, layout.left_out)


def _has_class(meaning: Meaning, values: list[int]) -> bool:
    """True if masks of these values hold more than void."""
    return any((value if meaning.colours else meaning.lookup[value]) != VOID for value in values)


def _warn(root: Path, layout: Layout, found: Findings) -> None:
    if found.bad:
        warnings.warn(f"left out {found.tell(root)}.", DatasetWarning, 4)
    if layout.left_out.kinds:
        warnings.warn(f"{root}: left out {layout.left_out.line()}", DatasetWarning, 4)


def _paths(paths: tuple[Any, ...]) -> tf.Tensor:
    """Paths as bytes, which can hold any file name."""
    return tf.constant([os.fsencode(path) for path in paths])
