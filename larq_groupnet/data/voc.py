"""TFDS builders of Pascal VOC 2012 for segmentation, with and without the masks of SBD."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from larq_groupnet.data import VOID, DatasetError, dataset
from larq_groupnet.data.archives import unpack
from larq_groupnet.data.labels import read_labels

CLASS_NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat"),
    *("chair", "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant"),
    *("sheep", "sofa", "train", "tvmonitor"),
)

_VOC = "VOCtrainval_11-May-2012.tar"
_SBD = "benchmark.tgz"
_FOLDERS = {_VOC: Path("VOCdevkit", "VOC2012"), _SBD: Path("benchmark_RELEASE", "dataset")}
_PAGES = {
    _VOC: "'Download the training/validation data' on the page of the PASCAL VOC 2012 challenge",
    _SBD: "the download page of Berkeley's Semantic Boundaries Dataset and Benchmark",
}


def _instructions(*archives: str) -> str:
    lines = (f"{name}, unpacked or not, from {_PAGES[name]}" for name in archives)
    return "Put into the manual folder: " + "; and ".join(lines) + "."


@dataset("voc2012")
class Voc2012(tfds.core.GeneratorBasedBuilder):
    """Pascal VOC 2012: 1,464 images to train on, 1,449 to validate."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = _instructions(_VOC)
    ARCHIVES: ClassVar = {_VOC: _FOLDERS[_VOC]}

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description=(
                f"{type(self).__doc__} Each pixel has one of 20 classes, 0 for background, or "
                f"{VOID} for void, which is not evaluated: the outlines of objects, and regions "
                "too hard to tell."
            ),
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "mask": tfds.features.LabeledImage(
                        labels=list(CLASS_NAMES), shape=(None, None, 1)
                    ),
                }
            ),
            supervised_keys=("image", "mask"),
            homepage="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        voc = _folder(dl_manager, _VOC)
        return {
            "train": self._generate_examples(self._train_files(dl_manager, voc)),
            "validation": self._generate_examples(_voc_files(voc, _voc_names(voc, "val"))),
        }

    def _train_files(
        self, dl_manager: tfds.download.DownloadManager, voc: Path
    ) -> dict[str, tuple[Path, Path]]:
        """Key -> image and mask of a training example."""
        del dl_manager  # All of them are in VOC's archive.
        return _voc_files(voc, _voc_names(voc, "train"))

    def _generate_examples(
        self, files: dict[str, tuple[Path, Path]]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, (image, mask) in files.items():
            yield name, {"image": str(_existing(image)), "mask": _checked_mask(image, mask)}


@dataset("voc2012_aug")
class Voc2012Aug(Voc2012):
    """Pascal VOC 2012 with the masks of SBD: 10,582 images to train on, 1,449 to validate.

    The training images come from VOC's train list and both lists of SBD, without VOC's validation
    images, many of which are in SBD's lists. If both have a mask, VOC's is used. SBD's masks have
    no void.
    """

    MANUAL_DOWNLOAD_INSTRUCTIONS = _instructions(_VOC, _SBD)
    ARCHIVES: ClassVar = _FOLDERS

    def _train_files(
        self, dl_manager: tfds.download.DownloadManager, voc: Path
    ) -> dict[str, tuple[Path, Path]]:
        sbd, files = _folder(dl_manager, _SBD), super()._train_files(dl_manager, voc)
        listed = _names(sbd / "train.txt") + _names(sbd / "val.txt")
        more = sorted(set(listed) - {*files, *_voc_names(voc, "val")})
        return files | {name: _sbd_file(sbd, name) for name in more}


@dataset("voc2012_released")
class Voc2012Released(Voc2012):
    """Pascal VOC 2012 with SBD as the authors' segmentation code reads them, to repeat its figures.

    The training images come from VOC's train list and then SBD's train list: images in both count
    twice, once with each mask, and VOC's validation images in SBD's list are trained on. Validation
    figures are therefore too good; `voc2012_aug` is the clean set.
    """

    MANUAL_DOWNLOAD_INSTRUCTIONS = _instructions(_VOC, _SBD)
    ARCHIVES: ClassVar = _FOLDERS

    def _train_files(
        self, dl_manager: tfds.download.DownloadManager, voc: Path
    ) -> dict[str, tuple[Path, Path]]:
        sbd, files = _folder(dl_manager, _SBD), super()._train_files(dl_manager, voc)
        return files | {f"sbd/{name}": _sbd_file(sbd, name) for name in _names(sbd / "train.txt")}


def _sbd_file(sbd: Path, name: str) -> tuple[Path, Path]:
    return sbd / "img" / f"{name}.jpg", sbd / "cls" / f"{name}.mat"


def _folder(dl_manager: tfds.download.DownloadManager, archive: str) -> Path:
    """The folder in an archive; unpacks the archive if the user has not.

    Raises:
        DatasetError: If archive and folder are missing; says what to put where.
    """
    try:
        manual = Path(dl_manager.manual_dir)
    except AssertionError as error:  # A missing or empty folder; TFDS' text has many lines.
        raise DatasetError(" ".join(str(error).split())) from error
    if (manual / _FOLDERS[archive]).is_dir():
        return manual / _FOLDERS[archive]
    if not (manual / archive).is_file():
        raise DatasetError(
            f"Expected {manual / archive}, from {_PAGES[archive]}, or its folder "
            f"{_FOLDERS[archive]} beside it. "
            f"Received: {sorted(path.name for path in manual.iterdir())}"
        )
    target = Path(dl_manager.download_dir, "extracted", archive.partition(".")[0])
    folder = unpack(manual / archive, target) / _FOLDERS[archive]
    if not folder.is_dir():
        raise DatasetError(
            f"Expected the folder {_FOLDERS[archive]} in {manual / archive}. "
            f"Received: {sorted(path.name for path in target.iterdir())}"
        )
    return folder


def _voc_names(voc: Path, part: str) -> list[str]:
    return _names(voc / "ImageSets" / "Segmentation" / f"{part}.txt")


def _names(listing: Path) -> list[str]:
    return _existing(listing).read_text().split()


def _voc_files(voc: Path, names: list[str]) -> dict[str, tuple[Path, Path]]:
    return {
        name: (voc / "JPEGImages" / f"{name}.jpg", voc / "SegmentationClass" / f"{name}.png")
        for name in names
    }


def _checked_mask(image: Path, mask: Path) -> np.ndarray:
    labels = (_labels_of_mat if mask.suffix == ".mat" else read_labels)(_existing(mask))
    with Image.open(image) as opened:
        size = (opened.height, opened.width)
    wrong = (labels >= len(CLASS_NAMES)) & (labels != VOID)
    if labels.shape[:2] != size or wrong.any():
        raise DatasetError(
            f"Expected {mask} to have labels up to {len(CLASS_NAMES) - 1} or {VOID} for the "
            f"{size} pixels of {image}. "
            f"Received: shape={labels.shape[:2]}, labels={np.unique(labels).tolist()}"
        )
    return labels


def _labels_of_mat(path: Path) -> np.ndarray:
    """SBD's labels `(height, width, 1) uint8`: the field `Segmentation` of the struct `GTcls`."""
    from scipy.io import loadmat

    return loadmat(path, simplify_cells=True)["GTcls"]["Segmentation"].astype(np.uint8)[..., None]


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DatasetError(
            f"Expected {path}, as in the official archive. Received: no such file; unpack it again."
        )
    return path
