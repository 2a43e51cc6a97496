"""NumPy arrays as a dataset, for `Pipeline` and for recipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from larq_groupnet.data import VOID, dataset
from larq_groupnet.data.base import Dataset
from larq_groupnet.data.images import Part, crop
from larq_groupnet.data.order import Addressed, columns
from larq_groupnet.data.splits import check_sizes, draw_splits
from larq_groupnet.errors import DatasetError
from larq_groupnet.hints import did_you_mean, few
from larq_groupnet.values import is_whole, native

_MOST = 100_000
"""Largest number of classes named automatically; a larger label is an error."""

Examples = tuple[Sequence[np.ndarray], Sequence[Any]]
"""Images and their labels or masks."""

_KNOWN: dict[str, ArrayDataset] = {}


class ArrayDataset(Dataset):
    """Arrays as a dataset, without a copy; see `from_arrays`.

    Args:
        name: The name without `arrays:`.
        parts: Images and targets of each split that was given.
        places: The split and index of every example of each role.
        classes: Class names.
        channels: Number of image channels.
    """

    def __init__(
        self,
        name: str,
        parts: Mapping[str, Examples],
        places: Mapping[str, list[tuple[str, int]]],
        classes: Sequence[str],
        channels: int,
    ):
        self.name, self.classes, self.channels = f"arrays:{name}", tuple(classes), channels
        self.target = "label" if _is_label(parts["train"][1]) else "mask"
        self._parts, self._places = parts, places

    @property
    def sizes(self) -> Mapping[str, int]:
        return {role: len(places) for role, places in self._places.items()}

    def examples(self, role: str) -> Addressed:
        role = "validation" if role == "test" and role not in self._places else role
        order = list(self._parts)
        table = [(order.index(part), number) for part, number in self._places[role]]
        places = tf.constant(table, tf.int64)
        if self.target == "mask":
            return columns(places, places)
        labels = [self._parts[part][1][number] for part, number in self._places[role]]
        return columns(places, tf.constant(labels, tf.int32))

    def decode_image(self, image: tf.Tensor, part: Part | None = None) -> tf.Tensor:
        images = [images for images, _ in self._parts.values()]
        return crop(_element(images, image, self.channels), part)

    def decode_target(self, target: tf.Tensor) -> tf.Tensor:
        if self.target == "mask":
            target = _element([masks for _, masks in self._parts.values()], target, 1)
        return tf.cast(target, tf.int32)


@dataset("arrays")
def open_arrays(place: str) -> ArrayDataset:
    """Returns the dataset that `from_arrays` made under this name.

    Raises:
        DatasetError: If this process has made no such dataset.
    """
    if place not in _KNOWN:
        raise DatasetError(
            f"unknown dataset 'arrays:{place}'.{did_you_mean(place, _KNOWN)} Arrays are known only "
            "to the process that calls larq_groupnet.data.arrays.from_arrays; call it first."
        )
    return _KNOWN[place]


def from_arrays(
    name: str,
    train: Examples,
    validation: Examples | None = None,
    test: Examples | None = None,
    class_names: Sequence[str] | None = None,
) -> ArrayDataset:
    """Makes a dataset of arrays, known as `arrays:NAME` to recipes that this process runs.

    Nothing is copied, so arrays may be memory-mapped files. Without validation examples, a tenth of
    each class of `train` is drawn for validation and, if there are no test examples either, another
    tenth for test. The draw depends only on the index and class of each example.

    Args:
        name: Replaces an earlier dataset of the same name.
        train: Images `(n, height, width[, channels]) uint8`, with 1 or 3 channels, or a sequence of
            such images of several sizes; and labels `(n,)` or `(n, 1)` of integers or strings, or
            one-hot `(n, classes)`; or masks of the same sizes as the images,
            `(n, height, width[, 1]) uint8`, where 255 is void.
        validation: The same.
        test: The same.
        class_names: One per class, at least two. Defaults to the sorted string labels, or to
            `class_0`, ... up to the highest label in `train`.

    Raises:
        DatasetError: If an argument is not as described; names the first wrong image or label.
    """
    splits = {"train": train, "validation": validation, "test": test}
    given = {
        split: _pair(split, examples)
        for split, examples in splits.items()
        if split == "train" or examples is not None
    }
    first = given["train"][1]
    known = _strings(first) if class_names is None else [*map(str, class_names)]
    parts = {
        split: (images, _labels(split, targets, known or []))
        for split, (images, targets) in given.items()
    }
    labels = _is_label(parts["train"][1])
    if known:
        _check_names(known, labels)
    names = known or _names(first, parts["train"][1])  # One per label, if the labels are valid.
    channels = {c for split, each in parts.items() for c in _check(split, each, len(names))}
    _check_names(names, labels)
    if len(channels) != 1 or any(_is_label(targets) != labels for _, targets in parts.values()):
        raise DatasetError(
            "arrays: expected the same number of channels, and either labels or masks, in every "
            f"split. Received: channels {sorted(channels)}"
        )
    places = _divided(parts)
    check_sizes(f"arrays:{name}", {role: len(each) for role, each in places.items()})
    _KNOWN[name] = ArrayDataset(name, parts, places, names, channels.pop())
    return _KNOWN[name]


def _pair(split: str, examples: Any) -> Examples:
    """Checks a pair of images and targets; labels, or one-hot rows, become an array."""
    pair = isinstance(examples, tuple | list) and len(examples) == 2
    if not pair or not all(map(_is_sequence, examples)):
        received = type(examples).__name__
        if isinstance(examples, tuple | list):
            received += f" of {', '.join(type(each).__name__ for each in examples)}"
        raise DatasetError(
            f"{split}: expected a pair of arrays or lists, (images, labels) or (images, masks). "
            f"Received: {received}"
        )
    images, targets = examples
    if len(images) != len(targets) or not len(images):
        raise DatasetError(
            f"{split}: expected as many images as labels or masks, at least one. "
            f"Received: {len(images)} and {len(targets)}"
        )
    if getattr(targets, "ndim", 3) < 3 or np.ndim(targets[0]) < 2:  # pandas may lack [0].
        targets = np.asarray(targets)
        if targets.ndim == 2 and targets.shape[1] == 1:
            targets = targets[:, 0]
    return images, targets


def _is_sequence(value: Any) -> bool:
    """True for arrays, lists and similar types."""
    numbered = hasattr(value, "__len__") and hasattr(value, "__getitem__")
    return numbered and not isinstance(value, str | bytes | Mapping)


def _divided(parts: Mapping[str, Examples]) -> dict[str, list[tuple[str, int]]]:
    """The split and index of every example of each role."""
    places = {
        split: [(split, number) for number in range(len(images))]
        for split, (images, _) in parts.items()
    }
    if "validation" in places:
        return places
    targets = parts["train"][1]
    labels = _is_label(targets)
    # Arrays have no file names, so keys depend only on the index.
    keys = np.random.RandomState(0).randint(0, 2**63 - 1, len(targets)).tolist()

    def stratum(place: tuple[str, int]) -> int:
        return int(targets[place[1]]) if labels else 0

    return places | draw_splits(
        places["train"], stratum, lambda place: keys[place[1]], test="test" not in places
    )


def _element(sources: Sequence[Sequence[np.ndarray]], place: tf.Tensor, channels: int) -> tf.Tensor:
    """The array `(height, width, channels) uint8` at a place `(part, number)`."""

    def pixels(place: np.ndarray) -> np.ndarray:
        found = np.asarray(sources[place[0]][place[1]])
        return found if found.ndim == 3 else found[..., None]

    element = tf.numpy_function(pixels, [place], tf.uint8)
    return tf.ensure_shape(element, (None, None, channels))


def _is_label(targets: Sequence[Any]) -> bool:
    return np.ndim(targets[0]) == 0


def _strings(targets: Sequence[Any]) -> list[str] | None:
    """The distinct labels, sorted, if they are strings."""
    texts = all(isinstance(each, str | bytes) for each in targets)
    return sorted({_text(each) for each in targets}) if texts else None


def _text(label: Any) -> str:
    return label.decode() if isinstance(label, bytes) else str(label)


def _labels(split: str, targets: Any, names: Sequence[str]) -> Any:
    """Labels as integers `(n,)`; masks unchanged."""
    rows = np.ndim(targets[0])
    if rows == 1:
        wrong = (targets.sum(1) != 1) | (targets.max(1) != 1)
        if wrong.any():
            raise DatasetError(
                f"{split}: expected labels (n,), or (n, classes) with one 1 and zeros in each row. "
                f"Received: {targets[wrong][0]} at {wrong.argmax()}"
            )
        return targets.argmax(1)
    if rows:
        return targets
    values = native(targets)
    texts = any(isinstance(label, str | bytes) for label in values)
    expected = f"labels of 0 to {len(names) - 1}" if names else "labels 0, 1, 2, ..., or strings"
    for place, label in enumerate(values):
        if not (isinstance(label, str | bytes) if texts else is_whole(label, 0)):
            raise DatasetError(
                f"{split}: expected {'only strings' if texts else expected}. "
                f"Received: {targets.dtype} {label} at {place}"
            )
    if not texts:
        return targets
    numbers = {name: number for number, name in enumerate(names)}
    for place, label in enumerate(map(_text, values)):
        if label not in numbers:
            raise DatasetError(
                f"{split}: expected labels among {list(names)}. Received: {label!r} at {place}."
                f"{did_you_mean(label, names)}"
            )
    return np.array([numbers[_text(label)] for label in values])


def _names(given: Sequence[Any], targets: Sequence[Any]) -> list[str]:
    """`class_0`, ...: one per one-hot column, or up to the highest label."""
    if np.ndim(given[0]) == 1:
        count = len(given[0])
    elif _is_label(targets):
        count = min(int(np.max(targets)) + 1, _MOST)
    else:
        bytes_alone = [mask for mask in map(np.asarray, targets) if mask.dtype == np.uint8]
        count = 1 + max((int(m[m != VOID].max(initial=0)) for m in bytes_alone), default=0)
    return [f"class_{label}" for label in range(count)]


def _check_names(names: Sequence[str], labels: bool) -> None:
    most = len(names) if labels else VOID  # Masks have 8 bits.
    if len(set(names)) != len(names) or not 2 <= len(names) <= most:
        wanted = "2 or more" if labels else f"2 to {VOID}"
        raise DatasetError(
            f"class_names: expected {wanted} different names. Received: {len(names)}, {few(names)}"
        )


def _check(split: str, examples: Examples, num_classes: int) -> set[int]:
    """Checks one split and returns the numbers of channels of its images."""
    channels = set()
    for number, (image, target) in enumerate(zip(*examples, strict=True)):
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
                f"{split}: expected a mask {shape[:2]} uint8, the size of its image. "
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
