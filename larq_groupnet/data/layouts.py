"""How a folder of images is laid out: which files, in which split, of which class."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from larq_groupnet.data import VOID
from larq_groupnet.data.labels import NO_CLASS, Meaning, composed, index_labels
from larq_groupnet.data.listing import (
    SUFFIXES,
    LeftOut,
    folders_in,
    holds_images,
    images_in,
    loose,
    printable,
    relative,
)
from larq_groupnet.errors import DatasetError

SPLITS = {"train": "train", "val": "validation", "test": "test"}
"""How the name of a split's folder begins -> the split."""

_SPLIT = re.compile(r"(train|val|test)(ing|id|idation)?([ _-]?(set|data|images))?", re.IGNORECASE)

CITYSCAPES = {
    **{7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole"},
    **{19: "traffic light", 20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky"},
    **{24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus", 31: "train"},
    **{32: "motorcycle", 33: "bicycle"},
}
"""Label id -> name of the 19 classes that Cityscapes judges, in the order of their train ids."""

_OF_MASKS = {
    *("annotations", "gt", "groundtruth", "ground_truth", "label", "labels", "mask", "masks"),
    *("segmentation", "segmentationclass", "segmentations", "trainannot"),
}
"""How people call a folder of masks, in lower case."""

_MOST_SPLITS = 5
"""More folders than these are taken for classes without a closer look."""

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

    A split is called train, val or test (also training, validation, test_set, ...), in small
    letters or capitals, as are `images` and `masks`. Images count wherever they lie below these
    folders.

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
    parts = {folder.name.lower(): folder for folder in folders_in(root)}
    if "images" in parts and "masks" in parts:
        meaning = meaning or index_labels(len(names) or VOID)
        left_out = LeftOut()
        splits = _with_masks(root, parts["images"], parts["masks"], left_out)
        return Layout(splits, names, meaning, left_out)
    return _classes(root, names)


def _cityscapes(root: Path) -> Layout:
    trained = any((root / "gtFine").glob("*/*/*_gtFine_labelTrainIds.png"))
    kind = "labelTrainIds" if trained else "labelIds"
    splits, left_out = {}, LeftOut()
    for folder, split in _split_folders(root / "leftImg8bit").items():
        if (root / "gtFine" / folder.name).is_dir():
            images = [str(path) for path in sorted(folder.glob("*/*_leftImg8bit.png"))]
            splits[split] = _paired(
                images, lambda path: _cityscapes_mask(path, kind), root / "gtFine"
            )
    meaning = index_labels(len(CITYSCAPES)) if trained else cityscapes_meaning()
    return Layout(splits, list(CITYSCAPES.values()), meaning, left_out)


def _cityscapes_mask(image: str, kind: str) -> str | None:
    path = Path(image)
    name = f"{path.name.removesuffix('leftImg8bit.png')}gtFine_{kind}.png"
    root, split, city = path.parents[3], path.parents[1].name, path.parent.name
    mask = root / "gtFine" / split / city / name
    return str(mask) if mask.is_file() else None


def cityscapes_meaning() -> Meaning:
    """What Cityscapes' label ids, 0 to 33, mean."""
    lookup = np.full(256, NO_CLASS)
    lookup[:34] = lookup[VOID] = VOID
    lookup[list(CITYSCAPES)] = range(len(CITYSCAPES))
    return Meaning(lookup)


def _with_masks(root: Path, images: Path, masks: Path, left_out: LeftOut) -> dict[str, Examples]:
    def pairs(images: Path, masks: Path) -> Examples:
        # By the name without its suffix, of the first kind of `MASK_SUFFIXES` that there is.
        there: dict[str, str] = {}
        for path in sorted(images_in(masks), key=_mask_rank) if masks.is_dir() else []:
            there.setdefault(_stem(path, masks), path)
        wanted = images_in(images, left_out, root)
        return _paired(wanted, lambda path: there.get(_stem(path, images)), masks)

    folders = _split_folders(images)
    if not folders:
        return {"all": pairs(images, masks)}
    of_split = {split: folder for folder, split in _split_folders(masks).items()}
    splits = {}
    for folder, split in folders.items():
        if split not in of_split and split == "test":
            unlabelled = images_in(folder, left_out, root)
            left_out.add("images without masks", (relative(path, root) for path in unlabelled))
        else:
            splits[split] = pairs(folder, of_split.get(split, masks / folder.name))
    left_out.add("folders that are no split", _others(images, folders))
    left_out.add("images in no split", (relative(path, root) for path in loose(images)))
    return splits


def _stem(path: str, folder: Path) -> str:
    return os.path.splitext(os.path.relpath(path, folder))[0]


def _mask_rank(path: str) -> tuple[int, str]:
    suffix = os.path.splitext(path)[1].lower()
    known = suffix in MASK_SUFFIXES
    return (MASK_SUFFIXES.index(suffix) if known else len(MASK_SUFFIXES)), path


def _paired(images: list[str], mask_of: Callable[[str], str | None], masks: Path) -> Examples:
    """Each image with its mask."""
    pairs: dict[str, str] = {}
    for image in images:
        found = mask_of(image)
        if found is None:
            raise FolderError(
                f"mask: expected a mask for {image}. Received: no file of its name in {masks}"
            )
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
    if not folders and not (root / "classes.txt").is_file():
        _check_are_classes(root, folders_in(root))
    splits = {
        split: _labelled(folder, names, split in ("train", "all"), left_out, root)
        for folder, split in parents.items()
    }
    for folder in {root, *parents}:
        left_out.add("images beside the classes", (relative(x, root) for x in loose(folder)))
    return Layout(splits, names, None, left_out)


def _check_are_classes(root: Path, folders: list[Path]) -> None:
    """Raises FolderError for few folders that look like splits, or like images and their masks."""
    if len(folders) > _MOST_SPLITS:
        return
    advice = "Rename them, or write the names of the classes into classes.txt, one a line."
    inside = [{x.name for x in folders_in(folder) if holds_images(x)} for folder in folders]
    if len(inside[0]) > 1 and all(each == inside[0] for each in inside):
        raise FolderError(
            f"folder: expected folders of classes, or of splits called train, val and test, in "
            f"{root}. Received: {_listed(folders)}, which all hold {', '.join(sorted(inside[0]))}. "
            f"{advice}"
        )
    if len(folders) == 2 and {folder.name.lower() for folder in folders} & _OF_MASKS:
        one, other = ({_stem(path, folder) for path in images_in(folder)} for folder in folders)
        if len(one) > 1 and one == other:
            raise FolderError(
                f"folder: expected folders of classes, or images/ and masks/, in {root}. Received: "
                f"{_listed(folders)}, whose files have the same names. {advice}"
            )


def _listed(folders: list[Path]) -> str:
    return ", ".join(folder.name for folder in folders)


def _class_names(parents: dict[Path, str]) -> list[str]:
    """The folders' names, sorted; an empty one counts only where images are missed."""
    return sorted(
        {
            _class_name(each)
            for parent, split in parents.items()
            for each in folders_in(parent)
            if split in ("train", "all") or holds_images(each)
        }
    )


def _class_name(folder: Path) -> str:
    return printable(composed(folder.name))


def _labelled(
    folder: Path, names: list[str], complete: bool, left_out: LeftOut, root: Path
) -> Examples:
    """The images of the classes in a folder."""
    examples: Examples = []
    for each in folders_in(folder, left_out):
        images = images_in(each, left_out, root)
        name = _class_name(each)
        listed = name in names
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
        label = names.index(name) if listed else -1
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
        return bool({_class_name(folder) for folder in splits} & set(names))
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
    named = {folder: _SPLIT.fullmatch(folder.name) for folder in folders}
    found = {folder: SPLITS[match[1].lower()] for folder, match in named.items() if match}
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
