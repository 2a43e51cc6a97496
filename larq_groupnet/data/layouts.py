"""Finds the files of a folder of images, their splits and their classes."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from larq_groupnet.data import VOID
from larq_groupnet.data.labels import Meaning, composed, index_labels, only
from larq_groupnet.data.listing import (
    OTHER_FILE,
    SUFFIXES,
    LeftOut,
    count_beside,
    folders_in,
    holds_images,
    images_in,
    look_anew,
    loose,
    printable,
    relative,
)
from larq_groupnet.data.missing_masks import missing
from larq_groupnet.errors import DatasetError
from larq_groupnet.hints import counted

SPLITS = {"train": "train", "val": "validation", "test": "test"}
"""Start of the name of a split's folder -> the split."""

_SPLIT = re.compile(r"(train|val|test)(ing|id|idation)?([ _-]?(set|data|images))?", re.IGNORECASE)

CITYSCAPES = {
    **{7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole"},
    **{19: "traffic light", 20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky"},
    **{24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus", 31: "train"},
    **{32: "motorcycle", 33: "bicycle"},
}
"""Label id -> name of the 19 classes that Cityscapes evaluates, in the order of their train ids."""

_IMAGES = ("images", "image", "imgs", "img", "img_dir", "jpegimages")
_MASKS = (
    *("masks", "mask", "labels", "label", "annotations", "annot", "ann_dir", "gt", "groundtruth"),
    *("ground_truth", "segmentation", "segmentations", "segmentationclass", "segmentationclasspng"),
)
"""Names that people and tools (labelme, CVAT, MMSegmentation) give to the folders of images and
masks, in lower case; the first folder that exists counts."""

_MOST_SPLITS = 5
"""More folders than this are taken for classes without further checks."""

MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif", ".webp")
"""Suffixes of mask files, in the order of the search."""


class FolderError(DatasetError):
    """A folder holds no dataset, or an incomplete or damaged one."""


Examples = list[tuple[str, int | str]]
"""Images, each with its label: a number or the path of a mask."""


@dataclass(frozen=True)
class Layout:
    """The files and classes of a folder.

    Attributes:
        splits: Examples of each split; only `"all"` if the folder has no splits.
        names: Class names; empty if only the masks can tell how many classes there are.
        meaning: Meaning of the mask values; `None` for labels.
        left_out: Files and folders that are ignored.
        unmasked: Photo without a mask, relative to the folder -> message with the expected mask.
    """

    splits: dict[str, Examples]
    names: list[str]
    meaning: Meaning | None = None
    left_out: LeftOut = field(default_factory=LeftOut)
    unmasked: dict[str, str] = field(default_factory=dict)


def find_layout(
    root: Path, names: list[str], meaning: Meaning, used: Collection[Path] = ()
) -> Layout:
    """Finds the layout of a folder without opening an image.

    Known layouts, in this order:

    - `leftImg8bit/SPLIT/CITY/*_leftImg8bit.png` with `gtFine/SPLIT/CITY/*_gtFine_labelTrainIds.png`
      or, if there are none, `*_gtFine_labelIds.png`, as in Cityscapes.
    - `images/[SPLIT/]NAME.*` with `masks/[SPLIT/]NAME.png`, or with other folder names in `_IMAGES`
      and `_MASKS`, unless `names` lists them as classes.
    - `SPLIT/CLASS/*` or `CLASS/*`.

    A split is called train, val or test (also training, validation, test_set, ...). Case does not
    matter, nor for `images` and `masks`. Images may be at any depth below these folders.

    Args:
        root: The folder.
        names: Class names from `classes.txt`; in label order for masks.
        meaning: Meaning of the mask values.
        used: Files directly in the folder that define the meaning.

    Raises:
        FolderError: If it has none of these layouts, two images share a mask, or a class has no
            image.
    """
    look_anew()
    if not root.is_dir():
        raise FolderError(f"folder: expected a folder of images. Received: {str(root)!r}")
    if (root / "leftImg8bit").is_dir():
        return _cityscapes(root)
    if own := _images_and_masks(root, names):
        layout = Layout({}, names, meaning)
        _add_masks(layout, root, *own)
        both = " and ".join(f"{folder.name}/" for folder in own)
        beside = [printable(folder.name) for folder in folders_in(root) if folder not in own]
        layout.left_out.add(f"folder beside {both}", beside)
        used = {*used, root / "classes.txt"}
        count_beside(root, layout.left_out, root, f"image beside {both}", used)
        return layout
    return _classes(root, names)


def _images_and_masks(root: Path, names: list[str]) -> tuple[Path, Path] | None:
    """The folders of images and of masks, if both exist; a folder of labels must hold images."""
    parts = {folder.name.lower(): folder for folder in folders_in(root)}
    images = next((parts[name] for name in _IMAGES if name in parts), None)
    named = (parts[name] for name in _MASKS if name in parts)
    masks = next((x for x in named if x.name.lower() == "masks" or holds_images(x)), None)
    if images is None or masks is None or {images.name, masks.name} <= set(names):
        return None
    return images, masks


def _cityscapes(root: Path) -> Layout:
    trained = any((root / "gtFine").glob("*/*/*_gtFine_labelTrainIds.png"))
    kind = "labelTrainIds" if trained else "labelIds"
    meaning = index_labels(len(CITYSCAPES)) if trained else cityscapes_meaning()
    layout = Layout({}, list(CITYSCAPES.values()), meaning)
    for folder, split in _split_folders(root / "leftImg8bit").items():
        if (root / "gtFine" / folder.name).is_dir():
            images = [str(path) for path in sorted(folder.glob("*/*_leftImg8bit.png"))]
            masks = {image: _cityscapes_mask(image, kind) for image in images}
            wanted = {x: y for x, y in masks.items() if not os.path.isfile(y)}
            layout.splits[split] = _paired({x: y for x, y in masks.items() if x not in wanted})
            layout.unmasked.update(missing(wanted, (), root))
    return layout


def _cityscapes_mask(image: str, kind: str) -> str:
    path = Path(image)
    name = f"{path.name.removesuffix('leftImg8bit.png')}gtFine_{kind}.png"
    root, split, city = path.parents[3], path.parents[1].name, path.parent.name
    return str(root / "gtFine" / split / city / name)


def cityscapes_meaning() -> Meaning:
    """The meaning of Cityscapes' label ids, 0 to 33."""
    return only(CITYSCAPES, {*range(34), VOID} - {*CITYSCAPES})


def _add_masks(layout: Layout, root: Path, images: Path, masks: Path) -> None:
    """Adds the splits in a folder of images and a folder of masks to a layout."""
    left_out = layout.left_out

    def pairs(images: Path, masks: Path) -> Examples:
        # Name without suffix -> mask; the earliest suffix in `MASK_SUFFIXES` wins.
        there: dict[str, str] = {}
        others = LeftOut()  # Other files of all splits are counted below.
        for path in sorted(images_in(masks, others), key=_mask_rank) if masks.is_dir() else []:
            there.setdefault(_stem(path, masks), path)
        stems = {path: _stem(path, images) for path in images_in(images, left_out, root)}
        wanted = {x: f"{masks / y}.png" for x, y in stems.items() if y not in there}
        if wanted:
            used = set(stems.values())
            spare = [path for stem, path in there.items() if stem not in used]
            spare += others.kinds.get(OTHER_FILE, [])
            layout.unmasked.update(missing(wanted, spare, root))
        return _paired({x: there[y] for x, y in stems.items() if y in there})

    folders = _split_folders(images)
    if not folders:
        layout.splits["all"] = pairs(images, masks)
        _count_spare_masks(layout, root, masks)
        return
    of_split = {split: folder for folder, split in _split_folders(masks).items()}
    for folder, split in folders.items():
        if split not in of_split and split == "test":
            unlabelled = images_in(folder, left_out, root)
            left_out.add("image without a mask", (relative(path, root) for path in unlabelled))
        else:
            layout.splits[split] = pairs(folder, of_split.get(split, masks / folder.name))
    left_out.add("folder beside the splits", _others(images, folders))
    count_beside(images, left_out, root, "image in no split")
    _count_spare_masks(layout, root, masks)


def _count_spare_masks(layout: Layout, root: Path, masks: Path) -> None:
    """Counts the masks that belong to no photo."""
    used = {str(mask) for examples in layout.splits.values() for _, mask in examples}
    stems = {_stem(mask, masks) for mask in used}
    for path in images_in(masks, layout.left_out, root):
        if path not in used:
            second = _stem(path, masks) in stems
            kind = "second mask of a photo" if second else "mask without a photo"
            layout.left_out.add(kind, [relative(path, root)])


def _stem(path: str, folder: Path) -> str:
    return os.path.splitext(os.path.relpath(path, folder))[0]


def _mask_rank(path: str) -> tuple[int, str]:
    suffix = os.path.splitext(path)[1].lower()
    return [*MASK_SUFFIXES, suffix].index(suffix), path


def _paired(masks: Mapping[str, str]) -> Examples:
    """Pairs each image with its mask; two images may not share one."""
    pairs: dict[str, str] = {}
    for image, found in masks.items():
        if found in pairs:
            raise FolderError(
                f"mask: expected a separate mask for each image. Received: {pairs[found]} and "
                f"{image}, which share {found}"
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
            f"classes, in {root} or in its train/, val/ and test/. Received: "
            f"{_too_few(root, names)}"
        )
    if not folders and not (root / "classes.txt").is_file():
        _check_are_classes(root, folders_in(root))
    for folder in dict.fromkeys((root, *parents)):
        count_beside(folder, left_out, root, "image beside the classes", {root / "classes.txt"})
    splits = {
        split: _labelled(folder, names, split in ("train", "all"), left_out, root)
        for folder, split in parents.items()
    }
    return Layout(splits, names, None, left_out)


def _too_few(root: Path, names: list[str]) -> str:
    """What was found instead of two classes."""
    if names:
        return f"one class, {names[0]}"
    if images := loose(root):
        return f"{counted(len(images), 'image')} of one class, {root.name}{_beside_masks(images)}"
    return "no folder of images"


def _beside_masks(images: list[str]) -> str:
    """Advice for photos with masks beside them, as Roboflow exports `NAME_mask.png`."""
    stems = {os.path.splitext(os.path.basename(image))[0] for image in images}
    if not any(stem.removesuffix("_mask") in stems for stem in stems if stem.endswith("_mask")):
        return ""
    return (
        ". If NAME_mask.png is the mask of NAME.jpg: move it to masks/NAME.png and the photo to "
        "images/NAME.jpg, with train/, val/ and test/ in both if there are splits"
    )


def _check_are_classes(root: Path, folders: list[Path]) -> None:
    """Raises FolderError for folders that look like splits, or like images and their masks."""

    def refuse(expected: str, received: str, advice: str = "Rename them") -> NoReturn:
        raise FolderError(
            f"folder: expected folders of classes, or {expected}, in {root}. Received: {received}. "
            f"{advice}, or write the names of the classes into classes.txt, one per line."
        )

    plain = {re.sub(r"[\W_]", "", folder.name.lower()): folder.name for folder in folders}
    for name in filter(_SPLIT.fullmatch, plain):
        split = plain[name]
        if beside := next((plain[name + kind] for kind in _MASKS if name + kind in plain), None):
            refuse(
                "images/ and masks/",
                f"{split} beside {beside}, which look like images and their masks",
                f"Call them images/{split} and masks/{split}, with files of the same names",
            )
    if len(folders) > _MOST_SPLITS:
        return
    listed = ", ".join(folder.name for folder in folders)
    inside = [{x.name for x in folders_in(folder) if holds_images(x)} for folder in folders]
    if len(inside[0]) > 1 and all(each == inside[0] for each in inside):
        classes = ", ".join(sorted(inside[0]))
        refuse("of splits called train, val and test", f"{listed}, which all hold {classes}")
    if len(folders) == 2 and {folder.name.lower() for folder in folders} & {*_MASKS}:
        one, other = ({_stem(path, folder) for path in images_in(folder)} for folder in folders)
        if len(one) > 1 and one == other:
            refuse("images/ and masks/", f"{listed}, whose files have the same names")


def _class_names(parents: dict[Path, str]) -> list[str]:
    """Sorted names of the class folders; an empty folder counts only in `train` or `all`."""
    folders = [(each, split) for parent, split in parents.items() for each in folders_in(parent)]
    counting = (each for each, split in folders if split in ("train", "all") or holds_images(each))
    return sorted({*map(_class_name, counting)})


def _class_name(folder: Path) -> str:
    return printable(composed(folder.name))


def _labelled(
    folder: Path, names: list[str], complete: bool, left_out: LeftOut, root: Path
) -> Examples:
    """The images of the classes in a folder."""
    examples: Examples = []
    for each in folders_in(folder):
        images = images_in(each, left_out, root)
        name = _class_name(each)
        listed = name in names
        if not images and not (listed and complete):
            left_out.add("empty folder", [relative(str(each), root)])
        elif not listed:
            raise FolderError(
                f"class: expected one of {names}, as classes.txt says. Received: {each}"
            )
        elif not images:
            raise FolderError(
                f"class: expected images ({', '.join(SUFFIXES)}) in every class. "
                f"Received: none in {each}{left_out.clause()}"
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
            continue
        images = images_in(folder, left_out, root)
        if split == "train":
            raise FolderError(
                f"folder: expected a folder of images for each class in {folder}, or images/ and "
                f"masks/ in {root}. Received: {counted(len(images), 'image')} without a class"
                f"{_beside_masks(images)}"
            )
        left_out.add("image without a class", (relative(image, root) for image in images))
    if splits:
        left_out.add("folder beside the splits", _others(root, found))
    return splits


def _are_classes(root: Path, splits: dict[Path, str], names: list[str]) -> bool:
    """True if folders with the names of splits, such as `train`, are classes among others.

    Raises:
        FolderError: If the folders are ambiguous.
    """
    if names:
        return bool({_class_name(folder) for folder in splits} & set(names))
    others = _others(root, splits)
    with_classes = [folder for folder in splits if _has_classes(folder)]
    if others and [splits[folder] for folder in with_classes] == ["train"]:
        raise FolderError(
            f"folder: expected only folders of classes, or only splits, in {root}. Received: "
            f"{with_classes[0].name} with folders in it, beside {others[0]}. Write the names of "
            "the classes into classes.txt, one per line, to say which."
        )
    return bool(others) and not with_classes


def _split_folders(root: Path) -> dict[Path, str]:
    """The folders in a folder that are named like a split.

    Raises:
        FolderError: If two folders name the same split.
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
    """The names of folders that hold images but are not splits."""
    folders = [folder for folder in folders_in(root) if folder not in splits]
    return [printable(folder.name) for folder in folders if holds_images(folder)]


def _has_classes(folder: Path) -> bool:
    return any(map(holds_images, folders_in(folder)))
