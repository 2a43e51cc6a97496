"""How a folder of images is laid out: which files, in which split, of which class."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from larq_groupnet.data import VOID, DatasetError
from larq_groupnet.data.features import NO_CLASS, SUFFIXES, index_labels

SPLITS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
"""Name of a folder -> name of the split."""

CITYSCAPES = {
    **{7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole"},
    **{19: "traffic light", 20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky"},
    **{24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus", 31: "train"},
    **{32: "motorcycle", 33: "bicycle"},
}
"""Label id -> name of the 19 classes that Cityscapes judges, in the order of their train ids."""


class FolderError(DatasetError):
    """A folder that holds no dataset, or one with holes. Says what was expected."""


Examples = list[tuple[Path, int | Path]]
"""Images with their label: a number, or the path of a mask."""


@dataclass(frozen=True)
class Layout:
    """What a folder holds.

    Attributes:
        splits: By name.
        names: Of the classes; empty if only the masks can tell how many there are.
        lookup: For masks, what a stored label means; see `MaskFile`.
    """

    splits: dict[str, Examples]
    names: list[str]
    lookup: np.ndarray | None = None


def find_layout(root: Path) -> Layout:
    """Looks through a folder; opens no image.

    Known layouts, in this order:

    - `leftImg8bit/SPLIT/CITY/*_leftImg8bit.png` with `gtFine/SPLIT/CITY/*_gtFine_labelTrainIds.png`
      or, if there are none, `*_gtFine_labelIds.png`, as Cityscapes has them.
    - `images/[SPLIT/]NAME.*` with `masks/[SPLIT/]NAME.png`.
    - `SPLIT/CLASS/*` or `CLASS/*`.

    A split is called train, val (also valid, validation) or test. Without splits an image goes to
    train, validation or test, 80, 10 and 10 %, by a hash of its name without suffix: more images
    change nothing for those that are there. `classes.txt` names the classes, one a line: of masks
    in the order of their labels, else as the folders are called.

    Raises:
        FolderError: If it is none of these, or an image has no class or mask, a class no image.
    """
    if not root.is_dir():
        raise FolderError(f"Expected a folder of images. Received: folder={str(root)!r}")
    names = _listed_names(root / "classes.txt")
    if (root / "leftImg8bit").is_dir():
        layout = _cityscapes(root)
    elif (root / "images").is_dir() and (root / "masks").is_dir():
        lookup = index_labels(len(names)) if names else index_labels(VOID)
        layout = Layout(_with_masks(root), names, lookup)
    else:
        layout = _classes(root, names)
    check_splits(root, layout)
    return layout


def _listed_names(path: Path) -> list[str]:
    if not path.is_file():
        return []
    names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    names = [name for name in names if name]
    if len(set(names)) != len(names) or not 2 <= len(names) <= VOID:
        raise FolderError(
            f"{path}: expected 2 to {VOID} different class names, one a line. Received: {names}"
        )
    return names


def _cityscapes(root: Path) -> Layout:
    trained = any((root / "gtFine").glob("*/*/*_gtFine_labelTrainIds.png"))
    kind = "labelTrainIds" if trained else "labelIds"
    splits = {}
    for folder, split in _split_folders(root / "leftImg8bit").items():
        if (root / "gtFine" / folder.name).is_dir():
            images = sorted(folder.glob("*/*_leftImg8bit.png"))
            ends = [image.name.removesuffix("leftImg8bit.png") for image in images]
            masks = [
                root / "gtFine" / folder.name / image.parent.name / f"{end}gtFine_{kind}.png"
                for image, end in zip(images, ends, strict=True)
            ]
            splits[split] = _paired(images, masks)
    if trained:
        return Layout(splits, list(CITYSCAPES.values()), index_labels(len(CITYSCAPES)))
    return Layout(splits, list(CITYSCAPES.values()), cityscapes_lookup())


def cityscapes_lookup() -> np.ndarray:
    """What Cityscapes' label ids, 0 to 33, mean; see `MaskFile`."""
    lookup = np.full(256, NO_CLASS)
    lookup[:34] = lookup[VOID] = VOID
    lookup[list(CITYSCAPES)] = range(len(CITYSCAPES))
    return lookup


def _with_masks(root: Path) -> dict[str, Examples]:
    def pairs(images: Path, masks: Path) -> Examples:
        found = list(_images(images))
        return _paired(found, [masks / f"{image.stem}.png" for image in found])

    folders = _split_folders(root / "images")
    if folders:
        return {
            split: pairs(folder, root / "masks" / folder.name) for folder, split in folders.items()
        }
    return _drawn(pairs(root / "images", root / "masks"))


def _paired(images: list[Path], masks: list[Path]) -> Examples:
    for image, mask in zip(images, masks, strict=True):
        if not mask.is_file():
            raise FolderError(f"Expected a mask for {image}. Received: no {mask}")
    return list(zip(images, masks, strict=True))


def _classes(root: Path, names: list[str]) -> Layout:
    folders = _split_folders(root)
    names = names or sorted(
        {each.name for parent in folders or [root] for each in _folders(parent)}
    )
    if len(names) < 2:
        raise FolderError(
            f"Expected images/ and masks/, or a folder of images for each of two or more classes, "
            f"in {root} or in its train/, val/ and test/. Received: {names}"
        )
    if folders:
        splits = {split: _labelled(folder, names) for folder, split in folders.items()}
    else:
        splits = _drawn(_labelled(root, names))
    return Layout(splits, names)


def _labelled(root: Path, names: list[str]) -> Examples:
    examples: Examples = []
    for folder in _folders(root):
        if folder.name not in names:
            raise FolderError(f"Expected one of {names}, as classes.txt says. Received: {folder}")
        images = list(_images(folder))
        if not images:
            raise FolderError(
                f"Expected images ({', '.join(SUFFIXES)}) in every class. "
                f"Received: none in {folder}"
            )
        examples += [(image, names.index(folder.name)) for image in images]
    return examples


def check_splits(root: Path, layout: Layout) -> None:
    """Raises FolderError if there is nothing to train on, or a split or class is empty."""
    empty = [split for split, examples in layout.splits.items() if not examples]
    if empty or "train" not in layout.splits:
        raise FolderError(
            f"Expected images for train in {root}, and in every split that there is; a folder "
            "without splits needs some dozens of images to be divided. "
            f"Received: { ({split: len(x) for split, x in layout.splits.items()}) }"
        )
    if layout.lookup is None:
        there = {label for _, label in layout.splits["train"]}
        missing = [name for label, name in enumerate(layout.names) if label not in there]
        if missing:
            raise FolderError(
                f"Expected every class in train of {root}. Received: no image of {missing}"
            )


def _drawn(examples: Examples) -> dict[str, Examples]:
    splits: dict[str, Examples] = {"train": [], "validation": [], "test": []}
    for example in examples:
        tenth = name_hash(example[0].stem) % 10
        splits["train" if tenth < 8 else "validation" if tenth == 8 else "test"].append(example)
    return splits


def name_hash(name: str) -> int:
    """64 bits that depend on nothing but the name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def _split_folders(root: Path) -> dict[Path, str]:
    found = {folder: SPLITS[folder.name] for folder in _folders(root) if folder.name in SPLITS}
    if len(set(found.values())) != len(found):
        raise FolderError(
            f"Expected one folder per split in {root}. "
            f"Received: {', '.join(folder.name for folder in found)}"
        )
    return found


def _folders(root: Path) -> list[Path]:
    return sorted(
        path
        for path in root.iterdir()
        if path.is_dir() and not path.name.startswith((".", "__MACOSX"))
    )


def _images(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            yield path
