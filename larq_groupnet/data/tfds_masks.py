"""TFDS datasets whose masks bear other names and labels than the rest of this package expects."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from larq_groupnet.data.features import NO_CLASS, TranslatedMask
from larq_groupnet.data.layouts import CITYSCAPES, cityscapes_lookup


class _Source(NamedTuple):
    image: str
    mask: str
    names: tuple[str, ...]
    lookup: np.ndarray


def _pet_lookup() -> np.ndarray:
    """Its trimaps hold 1 for the pet, 2 for the background and 3 for the border between them."""
    lookup = np.full(256, NO_CLASS)
    lookup[1:4] = range(3)
    return lookup


SOURCES = {
    "oxford_iiit_pet": _Source(
        "image", "segmentation_mask", ("pet", "background", "border"), _pet_lookup()
    ),
    "cityscapes": _Source(
        "image_left", "segmentation_label", tuple(CITYSCAPES.values()), cityscapes_lookup()
    ),
}
"""TFDS name -> where its images and masks are, and what the labels mean."""


class MaskedDataset(tfds.core.DatasetBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A TFDS dataset of `SOURCES` as one of `image` and `mask`, void being 255.

    Args:
        source: Its builder, prepared or not. Preparing this one prepares that one.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, source: tfds.core.DatasetBuilder):
        self._source, self._keys = source, SOURCES[source.name]
        self.name = source.name
        super().__init__(data_dir=str(source.data_path))
        self._data_dir = str(source.data_path)  # TFDS would add a name and a version.
        self._take_splits()

    def _take_splits(self) -> None:
        if self._source.info.splits:
            self.info.set_splits(self._source.info.splits)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="The masks of another TFDS dataset.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "mask": TranslatedMask(self._keys.names, self._keys.lookup),
                }
            ),
            supervised_keys=("image", "mask"),
        )

    def download_and_prepare(self, **kwargs: Any) -> None:
        """Prepares the dataset behind it; arguments as TFDS has them."""
        self._source.download_and_prepare(**kwargs)
        self._take_splits()

    def _download_and_prepare(self, **kwargs: Any) -> None:
        raise NotImplementedError

    def _as_dataset(self, split: str, decoders: Any = None, **options: Any) -> tf.data.Dataset:
        keys = self._keys
        encoded = {name: tfds.decode.SkipDecoding() for name in (keys.image, keys.mask)}
        wanted = tfds.decode.PartialDecoding({keys.image: True, keys.mask: True}, decoders=encoded)
        return self._source.as_dataset(split=split, decoders=wanted, **options).map(
            lambda example: self.info.features.decode_example(
                {"image": example[keys.image], "mask": example[keys.mask]}, decoders=decoders
            ),
            tf.data.AUTOTUNE,
            deterministic=True,
        )
