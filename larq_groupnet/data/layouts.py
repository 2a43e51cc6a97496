"""How a folder of images is laid out: which files, in which split, of which class."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from larq_groupnet.data import VOID
from larq_groupnet.data.labels import NO_CLASS, Meaning, index_labels
from larq_groupnet.data.listing import (
    SUFFIXES,
    LeftOut,
    folders_in,
    holds_images,
    images_in,
    loose,
    relative,
)
from larq_groupnet.errors import DatasetError

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Name of a folder, in lower case -> name of the split."""

CITYSCAPES = {
    **{7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole"},
    **{19: "traffic light", 20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky"},
    **{24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus", 31: "train"},
    **{32: "motorcycle", 33: "bicycle"},
}
"""Label id -> name of the 19 classes that Cityscapes judges, in the order of their train ids."""

MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif", ".webp")
"""Of mask files, in the order in which they are looked for."""


class FolderError(DatasetError):
    """A folder that holds no dataset, or one with holes. Says what was expected."""


Examples = list[tuple[str, int | str]]
"""Images with their label: a number, or the path of a mask."""


@dataclass(frozen=True)
class Layout:
    """What a folder holds.

    Attributes:
        splits: By name; `"all"` alone where the folder has none.
        names: Of the classes; empty if only the masks can tell how many there are.
        meaning: Of the values in masks; `None` for labels.
        left_out: What does not count.
    """

    splits: dict[str, Examples]
    names: list[str]
    meaning: Meaning | None = None
    left_out: LeftOut = field(default_factory=LeftOut)


def find_layout(root: Path, names: list[str], meaning: Meaning | None = None) -> Layout:
    """Looks through a folder; opens no image.

    Known layouts, in this order:

    - `leftImg8bit/SPLIT/CITY/*_leftImg8bit.png` with `gtFine/SPLIT/CITY/*_gtFine_labelTrainIds.png`
      or, if there are none, `*_gtFine_labelIds.png`, as Cityscapes has them.
    - `images/[SPLIT/]NAME.*` with `masks/[SPLIT/]NAME.png`.
    - `SPLIT/CLASS/*` or `CLASS/*`.

    A split is called train, val (also valid, validation) or test, in small letters or capitals.
    Images count wherever they lie below these folders.

    Args:
        root: The folder.
        names: Of the classes, as `classes.txt` has them; of masks in the order of their labels.
        meaning: What the values in masks mean, if it has been said.

    Raises:
        FolderError: If it is none of these, or an image has no class or mask, a class no image.
    """
    if not root.is_dir():
        raise FolderError(f"folder: expected a folder of images. Received: {str(root)!r}")
    if (root / "leftImg8bit").is_dir():
        return _cityscapes(root)
    if (root / "images").is_dir() and (root / "masks").is_dir():
        meaning = meaning or index_labels(len(names) or VOID)
        left_out = LeftOut()
        return Layout(_with_masks(root, left_out), names, meaning, left_out)
    return _classes(root, names)


def _cityscapes(root: Path) -> Layout:
    trained = any((root / "gtFine").glob("*/*/*_gtFine_labelTrainIds.png"))
    kind = "labelTrainIds" if trained else "labelIds"
    splits, left_out = {}, LeftOut()
    for folder, split in _split_folders(root / "leftImg8bit").items():
        if (root / "gtFine" / folder.name).is_dir():
            images = [str(path) for path in sorted(folder.glob("*/*_leftImg8bit.png"))]
            splits[split] = _paired(images, lambda path: [_cityscapes_mask(path, kind)])
    meaning = index_labels(len(CITYSCAPES)) if trained else cityscapes_meaning()
    return Layout(splits, list(CITYSCAPES.values()), meaning, left_out)


def _cityscapes_mask(image: str, kind: str) -> str:
    path = Path(image)
    name = f"{path.name.removesuffix('leftImg8bit.png')}gtFine_{kind}.png"
    root, split, city = path.parents[3], path.parents[1].name, path.parent.name
    return str(root / "gtFine" / split / city / name)


def cityscapes_meaning() -> Meaning:
    """What Cityscapes' label ids, 0 to 33, mean."""
    lookup = np.full(256, NO_CLASS)
    lookup[:34] = lookup[VOID] = VOID
    lookup[list(CITYSCAPES)] = range(len(CITYSCAPES))
    return Meaning(lookup)


def _with_masks(root: Path, left_out: LeftOut) -> dict[str, Examples]:
    def pairs(images: Path, masks: Path) -> Examples:
        def candidates(image: str) -> list[str]:
            stem = os.path.splitext(os.path.relpath(image, images))[0]
            return [str(masks / (stem + suffix)) for suffix in MASK_SUFFIXES]

        return _paired(images_in(images, left_out, root), candidates)

    folders = _split_folders(root / "images")
    if not folders:
        return {"all": pairs(root / "images", root / "masks")}
    masks = {folder.name.lower(): folder for folder in folders_in(root / "masks")}
    splits = {}
    for folder, split in folders.items():
        own = masks.get(folder.name.lower())
        if own is None and split == "test":
            unlabelled = images_in(folder, left_out, root)
            left_out.add("images without masks", (relative(path, root) for path in unlabelled))
        else:
            splits[split] = pairs(folder, own or root / "masks" / folder.name)
    left_out.add("folders that are no split", _others(root / "images", folders))
    loose_images = loose(root / "images")
    left_out.add("images in no split", (relative(path, root) for path in loose_images))
    return splits


def _paired(images: list[str], candidates: Callable[[str], list[str]]) -> Examples:
    """Each image with the first of its possible masks that exists."""
    pairs: dict[str, str] = {}
    for image in images:
        masks = candidates(image)
        found = next((mask for mask in masks if os.path.isfile(mask)), None)
        if found is None:
            raise FolderError(f"mask: expected a mask for {image}. Received: no {masks[0]}")
        if found in pairs:
            raise FolderError(
                f"mask: expected a mask for each image. Received: {pairs[found]} and {image}, "
                f"which have {found} in common"
            )
        pairs[found] = image
    return [(image, mask) for mask, image in pairs.items()]


def _classes(root: Path, names: list[str]) -> Layout:
    left_out = LeftOut()
    folders = _class_splits(root, left_out, names)
    parents = folders or {root: "all"}
    names = names or _class_names(parents)
    if len(names) < 2:
        raise FolderError(
            "folder: expected images/ and masks/, or a folder of images for each of two or more "
            f"classes, in {root} or in its train/, val/ and test/. Received: {names}"
        )
    splits = {
        split: _labelled(folder, names, split in ("train", "all"), left_out, root)
        for folder, split in parents.items()
    }
    for folder in {root, *parents}:
        left_out.add("images beside the classes", (relative(x, root) for x in loose(folder)))
    return Layout(splits, names, None, left_out)


def _class_names(parents: dict[Path, str]) -> list[str]:
    """The folders' names, sorted; an empty one counts only where images are missed."""
    return sorted(
        {
            each.name
            for parent, split in parents.items()
            for each in folders_in(parent)
            if split in ("train", "all") or holds_images(each)
        }
    )


def _labelled(
    folder: Path, names: list[str], complete: bool, left_out: LeftOut, root: Path
) -> Examples:
    """The images of the classes in a folder."""
    examples: Examples = []
    for each in folders_in(folder, left_out):
        images = images_in(each, left_out, root)
        listed = each.name in names
        if not images and not (listed and complete):
            left_out.add("empty folders", [relative(str(each), root)])
        elif not listed:
            raise FolderError(
                f"class: expected one of {names}, as classes.txt says. Received: {each}"
            )
        elif not images:
            raise FolderError(
                f"class: expected images ({', '.join(SUFFIXES)}) in every class. "
                f"Received: none in {each}"
            )
        label = names.index(each.name) if listed else -1
        examples += [(image, label) for image in images]
    return examples


def _class_splits(root: Path, left_out: LeftOut, names: list[str]) -> dict[Path, str]:
    """The splits in a folder, if they hold folders of classes."""
    found = _split_folders(root)
    if _are_classes(root, found, names):
        return {}
    splits = {}
    for folder, split in found.items():
        if _has_classes(folder):
            splits[folder] = split
        elif split == "train":
            raise FolderError(
                f"folder: expected a folder of images for each class in {folder}. Received: none"
            )
        else:
            images = images_in(folder, left_out, root)
            left_out.add("images without a class", (relative(image, root) for image in images))
    if splits:
        left_out.add("folders that are no split", _others(root, found))
    return splits


def _are_classes(root: Path, splits: dict[Path, str], names: list[str]) -> bool:
    """True if folders with the names of splits, such as `train`, are classes among others.

    Raises:
        FolderError: If that cannot be told.
    """
    if names:
        return bool({folder.name for folder in splits} & set(names))
    others = _others(root, splits)
    with_classes = [folder for folder in splits if _has_classes(folder)]
    if others and [splits[folder] for folder in with_classes] == ["train"]:
        raise FolderError(
            f"folder: expected folders of classes, or splits alone, in {root}. Received: "
            f"{with_classes[0].name} with folders in it, beside {others[0]}. Write the names of "
            "the classes into classes.txt, one a line, to say which."
        )
    return bool(others) and not with_classes


def _split_folders(root: Path) -> dict[Path, str]:
    """The folders in a folder that are called like a split.

    Raises:
        FolderError: If two are the same split.
    """
    folders = folders_in(root)
    found = {folder: SPLITS[name] for folder in folders if (name := folder.name.lower()) in SPLITS}
    if len(set(found.values())) != len(found):
        raise FolderError(
            f"folder: expected one folder per split in {root}. "
            f"Received: {', '.join(folder.name for folder in found)}"
        )
    return found


def _others(root: Path, splits: dict[Path, str]) -> list[str]:
    """The names of folders that hold images and are no split."""
    folders = [folder for folder in folders_in(root) if folder not in splits]
    return [folder.name for folder in folders if holds_images(folder)]


def _has_classes(folder: Path) -> bool:
    return any(map(holds_images, folders_in(folder)))
