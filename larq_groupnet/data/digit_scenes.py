"""The TFDS builder of `digit_scenes`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from larq_groupnet.data import dataset
from larq_groupnet.data.scenes import CLASS_NAMES, SCENE_SIZE, draw_scenes

SPLITS = {"train": (3200, 1), "validation": (200, 2), "test": (400, 3)}
"""Split -> (number of scenes, seed)."""


@dataset("digit_scenes")
class DigitScenes(tfds.core.GeneratorBasedBuilder):
    """Colour scenes with real handwritten digits on plates, for semantic segmentation."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description=(
                "Scenes of 96 x 96 pixels: up to 6 plates of varied shape, size, colour and "
                "rotation, some partly covered, over a cluttered background. Each plate bears a "
                "digit from scikit-learn's optical recognition set; its pixels bear that digit's "
                "class. The handwriting of the three splits is disjoint."
            ),
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(SCENE_SIZE, SCENE_SIZE, 3)),
                    "mask": tfds.features.LabeledImage(
                        labels=list(CLASS_NAMES), shape=(SCENE_SIZE, SCENE_SIZE, 1)
                    ),
                }
            ),
            supervised_keys=("image", "mask"),
            homepage="https://archive.ics.uci.edu/dataset/80",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # Nothing is downloaded.
        return {name: self._generate_examples(name) for name in SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        count, seed = SPLITS[split]
        for key, (image, mask) in enumerate(draw_scenes(split, count, seed)):
            yield key, {"image": image, "mask": mask}
