"""How common each class is, and the weights that make rare ones count as much."""

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
    """Pixels of a class map, or images of a label; void counts nowhere.

    Attributes:
        own: `(classes,)`: how many there are of each class.
        beside: `(classes,)`: how many there are, of any class, in the images that hold the class;
            for labels, in all.
        images: `(classes,)`: how many images hold the class.
        classes: Their names, for messages.
    """

    own: np.ndarray
    beside: np.ndarray
    images: np.ndarray
    classes: tuple[str, ...] = ()


def class_counts(dataset: Dataset, role: str = "train", most: int | None = None) -> Counts:
    """Counts over one pass, or over the first `most` examples; no image is decoded."""
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

    The frequency of a class is its share of the pixels in the images that hold it; its weight is
    the median of all frequencies over its own, to a power. A class of which there is nothing does
    not count in the median, and weighs 1; a warning names it.
    """
    held = counts.own > 0
    if missing := np.flatnonzero(~held).tolist():
        names = few([counts.classes[i] if counts.classes else f"class {i}" for i in missing])
        text = f"class weights: no training example of {names}, which then weighs 1"
        warnings.warn(text, DatasetWarning, 2)
    frequency = counts.own[held] / counts.beside[held]
    weights = np.ones(len(held), np.float32)
    weights[held] = (np.median(frequency) / frequency) ** power if held.any() else 1
    return weights
