"""TFDS's own datasets with masks, in their features and with small contents."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from larq_groupnet.data.tfds_masks import SOURCES, MaskedDataset


def written(source, stored):
    """A builder with a TFDS dataset's name and features, its masks holding `stored`."""
    features = tfds.builder_cls(source).BUILDER_CONFIGS
    original = tfds.builder(f"{source}/{features[0].name}" if features else source)
    keys = SOURCES[source]
    size = original.info.features[keys.mask].shape[:2]
    if None not in size:  # Those of Cityscapes are all of one size.
        stored = np.resize(stored, size)

    class Small(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        __module__ = "larq_groupnet.data.small"  # TFDS wants a module in a package.
        name = source
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            kept = {key: original.info.features[key] for key in (keys.image, keys.mask)}
            kept["extra"] = tfds.features.Text()
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(kept))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(2), "test": self._generate_examples(1)}

        def _generate_examples(self, count):
            for key in range(count):
                image = np.full((*stored.shape, 3), 50 * key, np.uint8)
                yield key, {keys.image: image, keys.mask: stored[..., None], "extra": "x"}

    return Small


PET = (np.array([[1, 2, 3]]), [0, 1, 2], ["pet", "background", "border"])
STREET = (np.array([[7, 8, 33, 0, 6, 255]]), [0, 1, 18, 255, 255, 255], ["road", "sidewalk"])


@pytest.mark.parametrize(("source", "content"), [("oxford_iiit_pet", PET), ("cityscapes", STREET)])
def test_masks_are_translated(tmp_path, source, content):
    stored, expected, names = content
    small = written(source, stored.astype(np.uint8))
    builder = MaskedDataset(small(data_dir=str(tmp_path)))
    assert not builder.data_path.exists()
    builder.download_and_prepare()
    again = MaskedDataset(small(data_dir=str(tmp_path)))
    for each in (builder, again):
        assert each.name == source
        assert each.info.features["mask"].names[: len(names)] == names
        assert set(each.info.features) == {"image", "mask"}
        sizes = {name: split.num_examples for name, split in each.info.splits.items()}
        assert sizes == {"train": 2, "test": 1}
        data = each.as_dataset(split="train[1:]")
        assert len(data) == 1
        for example in data.as_numpy_iterator():
            assert example["image"].shape[:2] == example["mask"].shape[:2]
            found = example["mask"][0, :, 0]
            np.testing.assert_array_equal(found, np.resize(expected, len(found)))


def test_skipped_decoding_is_made_up_for_by_the_feature(tmp_path):
    small = written("oxford_iiit_pet", PET[0].astype(np.uint8))
    builder = MaskedDataset(small(data_dir=str(tmp_path)))
    builder.download_and_prepare()
    skip = {name: tfds.decode.SkipDecoding() for name in ("image", "mask")}
    features = builder.info.features
    for example in builder.as_dataset(split="test", decoders=skip):
        mask = features["mask"].decode_example(example["mask"])
        np.testing.assert_array_equal(mask[0, :, 0], PET[1])
        assert features["image"].decode_example(example["image"]).shape == (1, 3, 3)
