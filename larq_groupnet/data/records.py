"""TFDS datasets on disk."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from filelock import FileLock

from larq_groupnet.data import dataset as registered
from larq_groupnet.data.base import ROLES, Dataset, Examples
from larq_groupnet.data.images import Part, Size, crop, decode_image
from larq_groupnet.data.masks import translate
from larq_groupnet.data.order import Addressed, Records, block_for
from larq_groupnet.data.tfds_masks import SOURCES
from larq_groupnet.errors import DatasetError
from larq_groupnet.files import path_of
from larq_groupnet.hints import did_you_mean

UNLABELLED = ("imagenet2012",)
"""Datasets whose test split has no labels."""


class RecordDataset(Dataset):
    """A TFDS dataset with `image` and `label`, or with `image` and a mask.

    Args:
        builder: Its builder, prepared or not.

    Raises:
        DatasetError: If it has no such features.
    """

    def __init__(self, builder: tfds.core.DatasetBuilder):
        self.builder, self.name = builder, builder.name
        features, source = builder.info.features, SOURCES.get(builder.name)
        self._lookup: np.ndarray | None = None
        if source is not None:
            self._keys, self.target = (source.image, source.mask), "mask"
            self.classes, self._lookup = source.names, source.lookup
        else:
            self._keys = ("image", _target(builder))
            self.target = "label" if self._keys[1] == "label" else "mask"
            self.classes = tuple(features[self._keys[1]].names or ())
        self.channels = features[self._keys[0]].shape[-1]

    @property
    def sizes(self) -> Mapping[str, int]:
        """Empty until the dataset is written."""
        splits = self.builder.info.splits
        found = {role: split_of(self.builder, role) for role in ROLES} if splits else {}
        if found.get("test") == found.get("validation"):
            found.pop("test", None)
        return {role: splits[split].num_examples for role, split in found.items()}

    def examples(self, role: str) -> Examples:
        split = self.builder.info.splits[split_of(self.builder, role)]
        wanted = tfds.decode.PartialDecoding(dict.fromkeys(self._keys, True))
        features = wanted.extract_features(self.builder.info.features)
        decoders = {
            key: tfds.decode.SkipDecoding()
            for key in self._keys
            if isinstance(features[key], tfds.features.Image)
        }

        def parse(record: tf.Tensor) -> tuple[tf.Tensor, ...]:
            example = features.deserialize_example(record, decoders=decoders)
            return tuple(example[key] for key in self._keys)

        if self.builder.info.file_format.value == "array_record":
            return _addressed(self.builder, split_of(self.builder, role), parse)
        files = [(x.filename, x.skip, x.take) for x in split.file_instructions if x.take]
        whole = self.builder.info.splits[split.name.partition("[")[0]]
        return Records(files, parse, block_for(whole.num_examples, whole.num_bytes))

    def decode_image(self, image: tf.Tensor, part: Part | None = None) -> tf.Tensor:
        """Decodes an image; ignores EXIF if it has a mask, because TFDS masks fit stored images."""
        feature = self.builder.info.features[self._keys[0]]
        if feature.np_dtype != np.uint8 or self.channels not in (1, 3):
            return crop(feature.decode_example(image), part)
        image = decode_image(image, self.channels, self.target == "label", part)
        # With a static shape, `images.resize` may have nothing to do.
        return tf.ensure_shape(image, feature.shape) if part is None else image

    def decode_target(self, target: tf.Tensor) -> tf.Tensor:
        if self.target == "mask":
            target = self.builder.info.features[self._keys[1]].decode_example(target)
            if self._lookup is not None:
                target = translate(target, self._lookup)
        return tf.cast(target, tf.int32)

    def largest(self, count: int) -> Size | None:
        """See `Dataset.largest`; images of a fixed size need not be written yet."""
        height, width, _ = self.builder.info.features[self._keys[0]].shape
        return (height, width) if height and width else super().largest(count)

    def check_sources(self) -> None:
        """Checks that the archives that a user must download exist, without reading them.

        Raises:
            DatasetError: If the dataset is not written and archives are missing.
        """
        wanted = self.builder.MANUAL_DOWNLOAD_INSTRUCTIONS
        if not wanted or _is_written(Path(self.builder.data_path)):
            return
        manual = Path(self.builder._data_dir_root) / "downloads" / "manual"  # noqa: SLF001
        there = {path.name for path in manual.iterdir()} if manual.is_dir() else set()
        archives: Mapping[str, Path] = getattr(self.builder, "ARCHIVES", {})
        missing = [name for name, path in archives.items() if not {name, path.parts[0]} & there]
        if missing or not there:
            raise DatasetError(
                f"dataset {self.name}: expected {', '.join(missing) or 'its archives'} in "
                f"{manual}. Received: {', '.join(sorted(there)) or 'nothing'}. "
                f"{' '.join(wanted.split())}"
            )

    def prepare(self) -> None:
        """Writes the dataset unless it is already written.

        TFDS writes into a temporary folder and renames it when it is complete. Folders that killed
        runs left behind are removed. A second process that asks for the same dataset waits.
        """
        folder = Path(self.builder.data_path)
        if _is_written(folder):
            return
        root = Path(self.builder._data_dir_root)  # noqa: SLF001
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{self.name}.lock"):
            if _is_written(folder):
                self.builder = _builder(self.name, root)
                return
            for left_over in folder.parent.glob(f"incomplete.*_{folder.name}"):
                shutil.rmtree(left_over)
            config = tfds.download.DownloadConfig(try_download_gcs=False)
            try:
                self.builder.download_and_prepare(download_config=config)
            except (AssertionError, tfds.download.DownloadError) as error:  # No archive or network.
                raise DatasetError(
                    f"dataset {self.name}: expected to write it to {root}. Received from TFDS: "
                    f"{' '.join(str(error).split())}"
                ) from error


def open_records(name: str, data_dir: str | Path) -> RecordDataset:
    """Opens a dataset that TFDS knows or that is on disk, in any version.

    Args:
        name: `NAME`, `NAME/CONFIG` or either with `:VERSION`. Without a version, the version that
            TFDS would write if it is on disk, otherwise the newest on disk.
        data_dir: Folder of the datasets.

    Raises:
        DatasetError: If the dataset is unknown; suggests the nearest name.
    """
    return RecordDataset(_builder(name, data_dir))


def check_no_folder(name: str) -> None:
    """Raises DatasetError if an unknown name is a folder, with or without options."""
    if any(path and path_of(path).is_dir() for path in (name, name.rpartition("?")[0])):
        raise DatasetError(
            f"dataset: expected a name, or folder:PATH for a folder. Received: {name}. "
            f"Did you mean folder:{name}?"
        )


def _builder(name: str, data_dir: str | Path) -> tfds.core.DatasetBuilder:
    error: Exception
    try:
        builder = tfds.builder(name, data_dir=str(data_dir))
        if _is_written(Path(builder.data_path)):
            return builder
    except (tfds.core.DatasetNotFoundError, AssertionError, ValueError) as received:
        builder, error = None, received
    on_disk = _versions(name, Path(data_dir))
    if on_disk:
        return tfds.builder_from_directory(str(on_disk[-1]))
    if builder is not None:
        return builder
    check_no_folder(name)
    near = did_you_mean(name, [*registered, *tfds.list_builders()])
    raise DatasetError(
        f"unknown dataset {name!r}.{near} Choices: {', '.join(registered.choices)}, every name "
        f"that TFDS has, and every dataset of TFDS in {data_dir}"
    ) from error


def _versions(name: str, data_dir: Path) -> list[Path]:
    """Folders of a dataset on disk, oldest version first."""
    name, _, version = name.partition(":")
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        return []
    found = [
        path.parent
        for path in (data_dir / name).glob(f"{version or '*'}/dataset_info.json")
        if tfds.core.Version.is_valid(path.parent.name)
    ]
    return sorted(found, key=lambda path: tfds.core.Version(path.name))


def _is_written(folder: Path) -> bool:
    return (folder / "dataset_info.json").is_file()


def _target(builder: tfds.core.DatasetBuilder) -> str:
    features = builder.info.features
    for name in ("mask", "segmentation_mask", "label"):
        if name in features and "image" in features:
            return name
    raise DatasetError(
        f"dataset: expected the features image and label, or image and mask. "
        f"Received: {', '.join(features)} (in {builder.name})"
    )


def split_of(builder: tfds.core.DatasetBuilder, role: str) -> str:
    """The split that serves as `"train"`, `"validation"` or `"test"`, in TFDS' notation.

    Without a validation split, the last tenth of the training split is used. Without a labelled
    test split (as in ImageNet), the validation split is used, as in publications.
    """
    splits = builder.info.splits
    if "validation" in splits:
        unlabelled = builder.name in UNLABELLED
        return role if role in splits and not (role == "test" and unlabelled) else "validation"
    if role == "test" and "test" in splits:
        return "test"
    return "train[:90%]" if role == "train" else "train[90%:]"


def _addressed(builder: tfds.core.DatasetBuilder, split: str, parse: Any) -> Addressed:
    """Records that can be read in any order."""
    source: Any = builder.as_data_source(split=split).data_source

    def fetch(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
        read = tf.numpy_function(lambda n: source[int(n)], [number], tf.string, stateful=False)
        return parse(tf.ensure_shape(read, ()))

    return Addressed(len(source), fetch)
