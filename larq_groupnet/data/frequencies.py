"""Class frequencies, and class weights that balance them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from tqdm import tqdm

from larq_groupnet.autograph import as_written
from larq_groupnet.data import VOID, DatasetWarning
from larq_groupnet.data.base import Dataset
from larq_groupnet.hints import few
from larq_groupnet.lazy import Lazy

if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = Lazy("tensorflow")


class Counts(NamedTuple):
    """Numbers of pixels for class maps, or of images for labels; void is not counted.

    Attributes:
        own: `(classes,)`: number of each class.
        beside: `(classes,)`: number, of any class, in the images that hold the class; for labels,
            in all images.
        images: `(classes,)`: number of images that hold the class.
        classes: Class names, for messages.
    """

    own: np.ndarray
    beside: np.ndarray
    images: np.ndarray
    classes: tuple[str, ...] = ()


def class_counts(dataset: Dataset, role: str = "train", most: int | None = None) -> Counts:
    """Counts classes in one pass, or in the first `most` masks; no image is decoded."""
    examples, number = dataset.examples(role), len(dataset.classes)
    labels = dataset.target == "label"

    def one(handle: tf.Tensor) -> tf.Tensor:
        target = dataset.decode_target(examples.fetch(handle)[1])
        flat = tf.reshape(target, (-1,))
        known = flat if labels else tf.boolean_mask(flat, flat != VOID)
        return tf.math.bincount(known, minlength=number, maxlength=number, dtype=tf.int64)

    counted = as_written(one, dataset, examples)
    data, count = examples.stored().map(counted, tf.data.AUTOTUNE), examples.count
    if most is not None and dataset.target != "label":
        data, count = data.take(most), min(most, count)
    own, beside, images = np.zeros((3, number), np.int64)
    with tqdm(desc="Counting classes", total=count) as progress:
        for counts in data.batch(16).as_numpy_iterator():
            own += counts.sum(0)
            images += (counts > 0).sum(0)
            beside += counts.sum(1) @ (counts > 0)
            progress.update(len(counts))
    beside = np.full(number, own.sum()) if labels else beside
    return Counts(own, beside, images, dataset.classes)


def median_frequency_weights(counts: Counts, power: float = 1.0) -> np.ndarray:
    """Median frequency balancing (Eigen and Fergus, ICCV 2015), `(classes,) float32`.

    The frequency of a class is its share of the pixels in the images that hold it. Its weight is
    the median frequency divided by its own, raised to `power`. A class without examples is left out
    of the median and gets weight 1, with a warning.
    """
    held = counts.own > 0
    if missing := np.flatnonzero(~held).tolist():
        names = few([counts.classes[i] if counts.classes else f"class {i}" for i in missing])
        text = f"class weights: no training example of {names}; using weight 1"
        warnings.warn(text, DatasetWarning, 2)
    frequency = counts.own[held] / counts.beside[held]
    weights = np.ones(len(held), np.float32)
    weights[held] = (np.median(frequency) / frequency) ** power if held.any() else 1
    return weights
