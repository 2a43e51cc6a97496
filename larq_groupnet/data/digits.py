"""The TFDS builder of `digits`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from larq_groupnet.data import dataset
from larq_groupnet.data.base import ROLES
from larq_groupnet.data.scenes import split_digits


@dataset("digits")
class Digits(tfds.core.GeneratorBasedBuilder):
    """scikit-learn's handwritten digits, for classification."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description=(
                "The 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn: the "
                "test half of the optical recognition set of UCI. The 17 levels of ink (0 to 16) "
                "are spread over 0 to 255. Train, validation and test are disjoint, 60, 20 and "
                "20 %, and the same digits as in the scenes of `digit_scenes`."
            ),
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1)),
                    "label": tfds.features.ClassLabel(names=[str(digit) for digit in range(10)]),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://archive.ics.uci.edu/dataset/80",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # Nothing is downloaded.
        return {split: self._generate_examples(split) for split in ROLES}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        ink, labels = split_digits(split)
        images = np.rint(ink * 255).astype(np.uint8)[..., None]
        for key, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield key, {"image": image, "label": int(label)}
