"""CamVid as the literature uses it: 701 street scenes of 11 classes."""

from __future__ import annotations

from pathlib import Path

from larq_groupnet.data import ABOUT, dataset
from larq_groupnet.data.folders import FolderDataset, opened
from larq_groupnet.data.labels import index_labels
from larq_groupnet.data.layouts import SPLITS, Examples, Layout
from larq_groupnet.errors import DatasetError
from larq_groupnet.files import path_of

CLASS_NAMES = (
    *("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car"),
    *("pedestrian", "bicyclist"),
)

VOID_LABEL = 11

ABOUT.add(
    "camvid",
    "CamVid (Brostow, Fauqueur and Cipolla, 2009): 701 street scenes of 480 x 360 pixels, 367 to "
    "train, 101 to validate, 233 to test, with masks of 11 classes, as the SegNet tutorial hands "
    "them out. For research; ask its authors for other uses.",
)

_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataset("camvid")
def open_camvid(
    data_dir: Path, place: str = "", on_bad_image: str | None = "error"
) -> FolderDataset:
    """CamVid, read in place.

    Args:
        data_dir: Folder of the datasets; CamVid is in `DATA_DIR/downloads/manual/CamVid`.
        place: Another folder of CamVid: `camvid:PATH`.
        on_bad_image: See `folders.open_folder`.

    Raises:
        DatasetError: If the folder, a list or an image is missing.
    """
    root = path_of(place) if place else data_dir / "downloads" / "manual" / "CamVid"
    if not root.is_dir():
        raise DatasetError(
            f"camvid: expected the folder {root} with train.txt, train/, trainannot/ and the same "
            "for val and test. Received: no such folder. Put the folder CamVid of the SegNet "
            "tutorial (on GitHub) there, or name another folder with --dataset camvid:PATH."
        )
    splits = {split: _examples(root, part) for part, split in SPLITS.items()}
    meaning = index_labels(len(CLASS_NAMES), (VOID_LABEL, 255))
    return opened(
        "camvid", root, Layout(splits, list(CLASS_NAMES), meaning), data_dir, on_bad_image
    )


def _examples(root: Path, part: str) -> Examples:
    """Images and masks of a list; uses the file names of the list, not its folders."""
    listing = root / f"{part}.txt"
    if not listing.is_file():
        raise DatasetError(f"camvid: expected the list {listing}. Received: no such file")
    found: Examples = []
    for line in listing.read_text().splitlines():
        if not line.strip():
            continue
        stem = Path(line.split()[0]).stem
        images = [root / part / (stem + suffix) for suffix in _SUFFIXES]
        image = next((path for path in images if path.is_file()), None)
        mask = root / f"{part}annot" / f"{stem}.png"
        if image is None or not mask.is_file():
            missing = mask if image else images[0]
            raise DatasetError(
                f"camvid: expected {missing}, which {listing} lists. Received: no such file"
            )
        found.append((str(image), str(mask)))
    return found
