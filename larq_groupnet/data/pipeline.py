"""Prepared datasets and their tf.data pipelines, deterministic under a seed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from filelock import FileLock


def prepare(name: str, data_dir: str | Path) -> tfds.core.DatasetBuilder:
    """The TFDS builder of a dataset, written under `data_dir` on the first call.

    TFDS writes into a folder of another name and renames it when it is whole; what a killed run
    left behind is removed here. A second process that asks for the same dataset waits.

    Args:
        name: Registered TFDS name.
        data_dir: Where datasets lie.
    """
    builder = tfds.builder(name, data_dir=str(data_dir))
    folder = Path(builder.data_path)
    if _is_written(folder):
        return builder
    Path(data_dir).mkdir(parents=True, exist_ok=True)
    with FileLock(Path(data_dir) / f".{name}.lock"):
        if _is_written(folder):
            return tfds.builder(name, data_dir=str(data_dir))
        for left_over in folder.parent.glob(f"incomplete.*_{folder.name}"):
            shutil.rmtree(left_over)
        config = tfds.download.DownloadConfig(try_download_gcs=False)
        builder.download_and_prepare(download_config=config)
    return builder


def _is_written(folder: Path) -> bool:
    return (folder / "dataset_info.json").is_file()


def preprocess(image: tf.Tensor) -> tf.Tensor:
    """uint8 pixels to float32 in [-1, 1]; what every model here is trained on."""
    return tf.cast(image, tf.float32) / 127.5 - 1.0


def to_pixels(image: np.ndarray) -> np.ndarray:
    """The inverse of `preprocess`, to look at."""
    return ((image + 1.0) * 127.5).round().astype(np.uint8)


def train_batches(
    builder: tfds.core.DatasetBuilder,
    size: tuple[int, int],
    batch_size: int,
    seed: int,
    colour_jitter: float,
) -> tf.data.Dataset:
    """Endless shuffled and augmented batches, always in the same order for the same seed.

    Args:
        builder: A prepared dataset with `image` and `mask`.
        size: Height and width of the model's input.
        batch_size: Images per step.
        seed: Of order and augmentation.
        colour_jitter: Largest change of contrast (as a factor) and brightness, per colour channel.

    Yields:
        Images `(batch, height, width, 3) float32` and masks `(batch, height, width) int32`.
    """

    def augment(example: tuple[tf.Tensor, tf.Tensor], seed: tf.Tensor) -> tuple:
        image, mask = example
        change = tf.random.stateless_uniform((2, 3), seed, -colour_jitter, colour_jitter)
        return image * (1 + change[0]) + change[1], mask

    data = _examples(builder, "train", size)
    data = data.shuffle(builder.info.splits["train"].num_examples, seed=seed).repeat()
    seeds = tf.data.Dataset.random(seed=seed).batch(2)
    data = tf.data.Dataset.zip((data, seeds)).map(augment, tf.data.AUTOTUNE, deterministic=True)
    return data.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def eval_batches(
    builder: tfds.core.DatasetBuilder, split: str, size: tuple[int, int], batch_size: int
) -> tf.data.Dataset:
    """One pass over a split in its stored order; yields as `train_batches`."""
    return _examples(builder, split, size).batch(batch_size).prefetch(tf.data.AUTOTUNE)


def _examples(
    builder: tfds.core.DatasetBuilder, split: str, size: tuple[int, int]
) -> tf.data.Dataset:
    def to_example(features: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        image, mask = preprocess(features["image"]), tf.cast(features["mask"], tf.int32)
        if tuple(image.shape[:2]) != size:
            image = tf.image.resize(image, size)
            mask = tf.image.resize(mask, size, method="nearest")
        return image, mask[..., 0]

    data = builder.as_dataset(split=split, read_config=tfds.ReadConfig(interleave_cycle_length=1))
    return data.map(to_example, tf.data.AUTOTUNE, deterministic=True)
