"""Prepared datasets and their tf.data pipelines, deterministic under a seed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from filelock import FileLock

from larq_groupnet.data import OWN_DATASETS, DatasetError, augment
from larq_groupnet.data.arrays import ARRAYS, open_arrays
from larq_groupnet.data.features import decode_part
from larq_groupnet.data.folders import open_folder
from larq_groupnet.data.imagenet import MEAN_RGB, STDDEV_RGB
from larq_groupnet.data.mixing import Mixing, mix
from larq_groupnet.data.tfds_masks import SOURCES as MASKED
from larq_groupnet.data.tfds_masks import MaskedDataset
from larq_groupnet.hints import did_you_mean

FOLDER = "folder:"
"""Start of the name of a dataset that is a folder."""

_BLOCK = 16384
"""Number of (undecoded) examples that are shuffled among themselves."""

_ENDLESS = np.iinfo(np.int64).max


def open_dataset(
    name: str, data_dir: str | Path, on_bad_image: str = "error"
) -> tfds.core.DatasetBuilder:
    """The builder of a dataset, whether it is written or not.

    Args:
        name: A name that TFDS knows, `folder:PATH` (see `folders.open_folder`), or `arrays:NAME`
            (see `arrays.from_arrays`).
        data_dir: Where datasets lie.
        on_bad_image: For a folder: `"error"`, or `"skip"` to leave bad images out.

    Raises:
        DatasetError: If TFDS knows no such dataset (names the nearest), or the folder holds none.
    """
    if name.startswith(FOLDER):
        return open_folder(name.removeprefix(FOLDER), data_dir, on_bad_image)
    if name.startswith(ARRAYS):
        return open_arrays(name.removeprefix(ARRAYS))
    try:
        builder = tfds.builder(name, data_dir=str(data_dir))
        return MaskedDataset(builder) if builder.name in MASKED else builder
    except tfds.core.DatasetNotFoundError as error:
        near = did_you_mean(name, [*OWN_DATASETS, *tfds.list_builders()])
        raise DatasetError(
            f"unknown dataset {name!r}.{near} Choices: {', '.join(OWN_DATASETS)}, and every name "
            "that TFDS has"
        ) from error


def prepare(
    name: str, data_dir: str | Path, on_bad_image: str = "error"
) -> tfds.core.DatasetBuilder:
    """The TFDS builder of a dataset, written under `data_dir` on the first call.

    TFDS writes into a folder of another name and renames it when it is whole; what a killed run
    left behind is removed here. A second process that asks for the same dataset waits.

    Arguments and errors are those of `open_dataset`. A folder is read where it lies, and so are
    arrays.
    """
    builder = open_dataset(name, data_dir, on_bad_image)
    if name.startswith((FOLDER, ARRAYS)):
        return builder
    folder = Path(builder.data_path)
    if _is_written(folder):
        return builder
    Path(data_dir).mkdir(parents=True, exist_ok=True)
    with FileLock(Path(data_dir) / f".{builder.name}.lock"):
        if _is_written(folder):
            return open_dataset(name, data_dir)
        for left_over in folder.parent.glob(f"incomplete.*_{folder.name}"):
            shutil.rmtree(left_over)
        config = tfds.download.DownloadConfig(try_download_gcs=False)
        try:
            builder.download_and_prepare(download_config=config)
        except (AssertionError, tfds.download.DownloadError) as error:  # No archive; no network.
            reason = str(error).strip()
            raise DatasetError(f"dataset {name} cannot be written. TFDS says: {reason}") from error
    return builder


def _is_written(folder: Path) -> bool:
    return (folder / "dataset_info.json").is_file()


def target_name(builder: tfds.core.DatasetBuilder) -> str:
    """Which feature is to be predicted: `mask`, `segmentation_mask` or `label`.

    Raises:
        DatasetError: If the dataset has none of them, or no `image`.
    """
    features = builder.info.features
    for name in ("mask", "segmentation_mask", "label"):
        if name in features and "image" in features:
            return name
    raise DatasetError(
        f"dataset: expected the features image and label, or image and mask. "
        f"Received: {', '.join(features)} (in {builder.name})"
    )


def class_names(builder: tfds.core.DatasetBuilder) -> list[str]:
    """The names of the classes, in the order of their labels."""
    return list(builder.info.features[target_name(builder)].names)


def normalise(image: tf.Tensor, normalisation: str) -> tf.Tensor:
    """Pixels in [0, 255] to what the model reads: `"symmetric"` [-1, 1], or `"imagenet"`."""
    image = tf.cast(image, tf.float32)
    if normalisation == "symmetric":
        return image / 127.5 - 1.0
    # A row of them, because TensorFlow is slow to repeat three numbers.
    row = tf.shape(image)[-2:]
    mean, stddev = (tf.broadcast_to(tf.constant(each), row) for each in (MEAN_RGB, STDDEV_RGB))
    return (image - mean) / stddev


def pixels_of(image: Any, normalisation: str) -> Any:
    """The inverse of `normalise`, of a tensor or an array."""
    if normalisation == "symmetric":
        return (image + 1.0) * 127.5
    return image * STDDEV_RGB + MEAN_RGB


def mean_colour(normalisation: str) -> float | tuple[float, ...]:
    """The pixel value, or that of each channel, that `normalise` makes 0."""
    return 127.5 if normalisation == "symmetric" else MEAN_RGB


def to_pixels(image: np.ndarray, normalisation: str) -> np.ndarray:
    """The same, to look at: `uint8`."""
    return pixels_of(image, normalisation).round().clip(0, 255).astype(np.uint8)


def split_of(builder: tfds.core.DatasetBuilder, role: str) -> str:
    """Where to read what serves as `"train"`, `"validation"` or `"test"`, in TFDS' notation.

    Without a validation split, the last tenth of the training split is one. Without a test split
    with labels (as in ImageNet), the validation split is the test split too, as in publications.
    """
    splits = builder.info.splits
    if "validation" in splits:
        unlabelled = builder.name in ("imagenet2012",)
        return role if role in splits and not (role == "test" and unlabelled) else "validation"
    parts = {"train": "train[:90%]", "validation": "train[90%:]", "test": "test"}
    if role == "test" and "test" not in splits:
        return parts["validation"]
    return parts[role]


class Pipeline:
    """Batches of one dataset for one model.

    Args:
        builder: A prepared dataset; `target_name` says what it must hold.
        size: Height and width of the model's input.
        batch_size: Images per step.
        seed: Of order and augmentation.
        augmentation: A function of `larq_groupnet.data.augment`.
        normalisation: See `normalise`.
        central_crop: Side of what is looked at when evaluating, over the shorter side; 1 for all.
        mixing: Which training images are mixed with each other; for labels.
    """

    def __init__(
        self,
        builder: tfds.core.DatasetBuilder,
        size: tuple[int, int],
        batch_size: int,
        *,
        seed: int = 0,
        augmentation: augment.Augmentation = augment.unchanged,
        normalisation: str = "symmetric",
        central_crop: float = 1.0,
        mixing: Mixing | None = None,
    ):
        self.builder = builder
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.augmentation = augmentation
        self.normalisation = normalisation
        self.central_crop = central_crop
        self.mixing = mixing or Mixing()
        self.target = target_name(builder)

    def steps_per_pass(self) -> int:
        """Whole batches in one pass over the training split, at least one."""
        return max(self._count("train") // self.batch_size, 1)

    def train_batches(
        self,
        steps_per_epoch: int,
        first_epoch: int = 0,
        first_step: int = 0,
        context: tf.distribute.InputContext | None = None,
    ) -> tf.data.Dataset:
        """Endless shuffled and augmented batches.

        What an epoch holds depends on the seed and its number alone, so that a run that was
        interrupted goes on with the very batches that it would have seen.

        Args:
            steps_per_epoch: Batches after which the next epoch begins.
            first_epoch: Number of the epoch to begin with.
            first_step: Batches of that epoch to leave out.
            context: Says which of several workers this is. Each reads its share of every batch;
                together they see what one worker would see.

        Yields:
            Images `(batch, height, width, channels) float32` and labels `(batch,) int32` or class
            maps `(batch, height, width) int32`. With `mixing`, the share of each class
            `(batch, num_classes) float32`.
        """
        examples = self._read("train")

        def one_epoch(number: tf.Tensor) -> tf.data.Dataset:
            seed = self.seed * 2**24 + number
            passes = tf.data.Dataset.range(_ENDLESS)
            data = passes.flat_map(lambda index: _shuffled(examples, seed, index))
            seeds = tf.data.Dataset.range(_ENDLESS).map(lambda index: tf.stack([seed, index]))
            data = tf.data.Dataset.zip((data, seeds)).take(steps_per_epoch * self.batch_size)
            left_out = tf.where(number == first_epoch, first_step * self.batch_size, 0)
            return data.skip(tf.cast(left_out, tf.int64))

        data = tf.data.Dataset.range(first_epoch, _ENDLESS).flat_map(one_epoch)
        batch_size = self.batch_size
        if context is not None:
            data = data.shard(context.num_input_pipelines, context.input_pipeline_id)
            batch_size = context.get_per_replica_batch_size(batch_size)
        data = data.map(self._augmented, tf.data.AUTOTUNE, deterministic=True)
        data = data.batch(batch_size, drop_remainder=True)
        if self.mixing:
            count = len(class_names(self.builder))
            data = data.map(
                lambda images, labels, own: mix(images, labels, own, count),
                tf.data.AUTOTUNE,
                deterministic=True,
            )
        return data.prefetch(tf.data.AUTOTUNE)

    def eval_batches(self, role: str) -> tf.data.Dataset:
        """One pass over `"validation"` or `"test"` in its stored order; yields as `train_batches`.

        See `split_of` for what these are.
        """
        data = self._read(role).map(self._evaluated, tf.data.AUTOTUNE, deterministic=True)
        return data.batch(self.batch_size).prefetch(tf.data.AUTOTUNE)

    def full_images(self, role: str) -> tf.data.Dataset:
        """One pass over `"validation"` or `"test"` in its stored order, as it is stored.

        Yields:
            Images `(height, width, channels) float32`, pixels of 0 to 255, each of its own size,
            and labels `() int32` or class maps `(height, width) int32`.
        """
        data = self._read(role).map(self._decode, tf.data.AUTOTUNE, deterministic=True)
        return data.map(lambda image, target: (image, _plain(target))).prefetch(tf.data.AUTOTUNE)

    def _count(self, role: str) -> int:
        return self.builder.info.splits[split_of(self.builder, role)].num_examples

    def _read(self, role: str) -> tf.data.Dataset:
        """Undecoded examples, so that shuffling holds files rather than pixels."""
        read = tfds.ReadConfig(interleave_cycle_length=1)
        features = self.builder.info.features
        decoders = {
            name: tfds.decode.SkipDecoding()
            for name in ("image", self.target)
            if isinstance(features[name], tfds.features.Image)
        }
        split = split_of(self.builder, role)
        data = self.builder.as_dataset(split=split, read_config=read, decoders=decoders)
        return data.map(lambda features: (features["image"], features[self.target]))

    def _decode(self, image: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = self.builder.info.features
        image = features["image"].decode_example(image)
        target = features[self.target].decode_example(target)
        return tf.cast(image, tf.float32), tf.cast(target, tf.int32)

    def _augmented(
        self, example: tuple[tf.Tensor, tf.Tensor], seed: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        if self.augmentation is augment.imagenet:
            feature = self.builder.info.features["image"]
            image = decode_part(feature, example[0], lambda shape: augment.random_part(shape, seed))
            target = tf.cast(example[1], tf.int32)
            changed = augment.scaled_and_flipped(image, target, self.size, seed)
        else:
            changed = self.augmentation(*self._decode(*example), self.size, seed)
        found = self._finish(*changed)
        return (*found, self.mixing.own(self.size, seed)) if self.mixing else found

    def _evaluated(self, image: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, target = self._decode(image, target)
        if self.central_crop < 1:
            image = augment.central_crop(image, self.central_crop)
        return self._finish(*augment.resize(image, target, self.size))

    def _finish(self, image: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image.set_shape((*self.size, image.shape[-1]))
        return normalise(image, self.normalisation), _plain(target)


def _plain(target: tf.Tensor) -> tf.Tensor:
    """A class map without its last axis, or a label."""
    return target[..., 0] if target.shape.rank else target


def _shuffled(examples: tf.data.Dataset, seed: tf.Tensor, index: tf.Tensor) -> tf.data.Dataset:
    """Pass number `index` over the examples, shuffled within blocks.

    Not `Dataset.shuffle`, whose seed cannot depend on the epoch, so that going on in a late epoch
    would have to read all earlier ones.
    """

    def shuffle(block: tf.Tensor, *columns: tf.Tensor) -> tuple[tf.Tensor, ...]:
        draw = tf.stack([seed, index * 2**32 + block])
        order = tf.random.experimental.stateless_shuffle(tf.range(tf.shape(columns[0])[0]), draw)
        return tuple(tf.gather(column, order) for column in columns)

    blocks = examples.batch(_BLOCK).enumerate().map(lambda number, row: (number, *row))
    return blocks.map(shuffle).prefetch(1).unbatch()
