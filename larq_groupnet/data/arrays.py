"""NumPy arrays as a dataset, for `Pipeline` and for recipes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from larq_groupnet.data import VOID, DatasetError
from larq_groupnet.hints import did_you_mean

ARRAYS = "arrays:"
"""Start of the name of a dataset that `from_arrays` has made."""

Examples = tuple[Sequence[np.ndarray], Sequence[Any]]
"""Images, and their labels or masks."""

_KNOWN: dict[str, ArrayDataset] = {}


class _Element(tfds.features.Image):
    """An image or mask of the caller's arrays. Under `SkipDecoding` it is its number."""

    def __init__(self, sources: Sequence[Sequence[np.ndarray]], channels: int):
        super().__init__(shape=(None, None, channels))
        self._sources = sources

    def decode_example(self, example: tf.Tensor) -> tf.Tensor:
        """The pixels `(height, width, channels) uint8` of `(split, number) int64`."""
        pixels = tf.numpy_function(self._pixels, [example], tf.uint8)
        return tf.ensure_shape(pixels, self.shape)

    def _pixels(self, example: np.ndarray) -> np.ndarray:
        pixels = np.asarray(self._sources[example[0]][example[1]])
        return pixels if pixels.ndim == 3 else pixels[..., None]


class _Mask(_Element, tfds.features.LabeledImage):
    """A class map, void being 255."""

    def __init__(self, sources: Sequence[Sequence[np.ndarray]], names: Sequence[str]):
        tfds.features.LabeledImage.__init__(self, labels=list(names), shape=(None, None, 1))
        self._sources = sources


class ArrayDataset(tfds.core.DatasetBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Arrays that stay where they are; see `from_arrays`."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, name: str, splits: dict[str, Examples], names: list[str], channels: int):
        self.name = name
        self._examples, self._names, self._channels = splits, names, channels
        self._target = "label" if _is_label(splits["train"][1]) else "mask"
        super().__init__(data_dir=".")
        self._data_dir = "."  # TFDS wants a folder that exists, and would add a name to it.
        infos = [
            tfds.core.SplitInfo(name=split, shard_lengths=[len(images)], num_bytes=0)
            for split, (images, _) in splits.items()
        ]
        self.info.set_splits(tfds.core.splits.SplitDict(infos))

    def _info(self) -> tfds.core.DatasetInfo:
        images, targets = zip(*self._examples.values(), strict=True)
        masks = self._target == "mask"
        return tfds.core.DatasetInfo(
            builder=self,
            description="Arrays of the calling process.",
            features=tfds.features.FeaturesDict(
                {
                    "image": _Element(images, self._channels),
                    self._target: _Mask(targets, self._names)
                    if masks
                    else tfds.features.ClassLabel(names=self._names),
                }
            ),
            supervised_keys=("image", self._target),
        )

    def download_and_prepare(self, **kwargs: Any) -> None:
        """Nothing to do."""

    def _download_and_prepare(self, **kwargs: Any) -> None:
        raise NotImplementedError

    def _as_dataset(self, split: str, decoders: Any = None, **options: Any) -> tf.data.Dataset:
        del options  # Only the pipeline reads this, which shuffles and shards by itself.
        parts = tfds.core.splits.AbstractSplit.from_spec(split).to_absolute(self.info.splits)
        order = list(self._examples)
        chosen = [
            (order.index(part.splitname), number)
            for part in parts
            for number in range(self.info.splits[part.splitname].num_examples)[part.from_ : part.to]
        ]
        places = np.array(chosen, np.int64).reshape(-1, 2)
        targets: np.ndarray = places
        if self._target == "label":
            labels = [np.asarray(labels, np.int64) for _, labels in self._examples.values()]
            targets = np.array([labels[s][n] for s, n in places], np.int64)
        data = tf.data.Dataset.from_tensor_slices({"image": places, self._target: targets})
        return data.map(
            lambda example: self.info.features.decode_example(example, decoders=decoders),
            tf.data.AUTOTUNE,
            deterministic=True,
        )


def from_arrays(
    name: str,
    train: Examples,
    validation: Examples | None = None,
    test: Examples | None = None,
    class_names: Sequence[str] | None = None,
) -> tfds.core.DatasetBuilder:
    """Arrays as a dataset, and under the name `arrays:NAME` for recipes run by this process.

    Nothing is copied, so that arrays may be memory-mapped files. What has no validation or test
    split is divided as any dataset is; see `larq_groupnet.data.pipeline.split_of`.

    Args:
        name: Takes the place of an earlier one of that name.
        train: Images `(n, height, width[, channels]) uint8`, with 1 or 3 channels, or a sequence of
            such images of several sizes; and labels `(n,)` of integers, or masks of
            the images' sizes, `(n, height, width[, 1]) uint8`, in which 255 is void.
        validation: The same.
        test: The same.
        class_names: One per class; `class_0`, ... up to the highest label in `train` by default.

    Returns:
        A TFDS builder of `image` with `label` or `mask`.

    Raises:
        DatasetError: If anything is not so; names the first image or label.
    """
    splits = {"train": train, "validation": validation, "test": test}
    given = {split: examples for split, examples in splits.items() if examples is not None}
    names = list(class_names or _names(train[1]))
    if len(set(names)) != len(names) or not 2 <= len(names) <= VOID:
        raise DatasetError(f"class_names: expected 2 to {VOID} different names. Received: {names}")
    channels = {c for split, each in given.items() for c in _check(split, each, len(names))}
    if len(channels) != 1 or _is_label(train[1]) != all(_is_label(y) for _, y in given.values()):
        raise DatasetError(
            "arrays: expected the same number of channels, and either labels or masks, in every "
            f"split. Received: channels {sorted(channels)}"
        )
    builder = ArrayDataset(name, given, names, channels.pop())
    _KNOWN[name] = builder
    return builder


def open_arrays(name: str) -> tfds.core.DatasetBuilder:
    """The dataset that `from_arrays` has made under a name.

    Raises:
        DatasetError: If this process has made none.
    """
    if name not in _KNOWN:
        raise DatasetError(
            f"unknown dataset {ARRAYS}{name}.{did_you_mean(name, _KNOWN)} Arrays are known only to "
            "the process that calls larq_groupnet.data.arrays.from_arrays; call it before."
        )
    return _KNOWN[name]


def _is_label(targets: Sequence[Any]) -> bool:
    return len(targets) == 0 or np.ndim(targets[0]) == 0


def _names(targets: Sequence[Any]) -> list[str]:
    arrays = [np.asarray(target) for target in targets]
    highest = max((int(a[a != VOID].max(initial=0)) for a in arrays if a.size), default=0)
    return [f"class_{label}" for label in range(highest + 1)]


def _check(split: str, examples: Examples, num_classes: int) -> set[int]:
    """The numbers of channels of the images of one split, once everything is right."""
    images, targets = examples
    if len(images) != len(targets) or not len(images):
        raise DatasetError(
            f"{split}: expected as many images as labels or masks, at least one. "
            f"Received: {len(images)} and {len(targets)}"
        )
    channels = set()
    for number, (image, target) in enumerate(zip(images, targets, strict=True)):
        image, target = np.asarray(image), np.asarray(target)
        shape = (*image.shape, 1)[:3]
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or shape[2] not in (1, 3):
            raise DatasetError(
                f"{split}: expected images (height, width, 1 or 3) uint8 with pixels of 0 to 255. "
                f"Received: image {number} of shape {image.shape} and dtype {image.dtype}"
            )
        channels.add(shape[2])
        if target.ndim and (target.dtype != np.uint8 or (*target.shape, 1)[:3] != (*shape[:2], 1)):
            raise DatasetError(
                f"{split}: expected a mask {shape[:2]} uint8, as its image is. "
                f"Received: mask {number} of shape {target.shape} and dtype {target.dtype}"
            )
        outside = np.unique(target[(target < 0) | (target >= num_classes)])
        wrong = outside if target.ndim == 0 else outside[outside != VOID]
        if not np.issubdtype(target.dtype, np.integer) or wrong.size:
            raise DatasetError(
                f"{split}: expected labels of 0 to {num_classes - 1}"
                f"{' and 255 for void' if target.ndim else ''}. "
                f"Received: {target.dtype} {(wrong[0] if wrong.size else target)} at {number}"
            )
    return channels
