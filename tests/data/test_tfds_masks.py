"""TFDS's own datasets with masks: their features, with little content."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from larq_groupnet.data.records import RecordDataset
from larq_groupnet.data.tfds_masks import SOURCES


def written(source, stored):
    """A builder with a TFDS dataset's name and features, and `stored` as its masks."""
    features = tfds.builder_cls(source).BUILDER_CONFIGS
    original = tfds.builder(f"{source}/{features[0].name}" if features else source)
    keys = SOURCES[source]
    size = original.info.features[keys.mask].shape[:2]
    if None not in size:  # All Cityscapes masks have one size.
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
    dataset = RecordDataset(small(data_dir=str(tmp_path)))
    assert not dataset.sizes
    dataset.builder.download_and_prepare()
    again = RecordDataset(small(data_dir=str(tmp_path)))
    for each in (dataset, again):
        assert (each.name, each.target, each.channels) == (source, "mask", 3)
        assert list(each.classes[: len(names)]) == names
        assert dict(each.sizes) == {"train": 2, "validation": 0, "test": 1}
        examples = each.examples("test")
        data = (
            examples.stored()
            .map(examples.fetch)
            .map(lambda x, y, each=each: (each.decode_image(x), each.decode_target(y)))
        )
        ((image, mask),) = data.as_numpy_iterator()
        assert image.shape[:2] == mask.shape[:2]
        np.testing.assert_array_equal(mask[0, :, 0], np.resize(expected, len(mask[0])))
