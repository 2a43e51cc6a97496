"""The builder of `digits` against scikit-learn."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from sklearn.datasets import load_digits

from larq_groupnet.data import digits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    digits.Digits(data_dir=str(folder)).download_and_prepare()
    return folder


@pytest.fixture(scope="module")
def splits(folder):
    data = tfds.load("digits", data_dir=str(folder), download=False)
    return {
        name: [(e["image"], int(e["label"])) for e in part.as_numpy_iterator()]
        for name, part in data.items()
    }


def test_splits_are_disjoint_and_hold_every_digit_with_its_label(splits):
    source = load_digits()
    truth = {
        image.tobytes(): label for image, label in zip(source.images, source.target, strict=True)
    }
    assert len(truth) == 1797

    found = {}
    for examples in splits.values():
        for image, label in examples:
            assert image.shape == (8, 8, 1)
            assert image.dtype == np.uint8
            # 255 / 16 is far above rounding, so the 17 levels can be recovered exactly.
            ink = np.rint(image[..., 0] / 255 * 16).astype(source.images.dtype).tobytes()
            assert ink not in found
            found[ink] = label
    assert found == truth
    assert {name: len(part) for name, part in splits.items()} == {
        "train": 1078,
        "validation": 360,
        "test": 359,
    }


def test_ink_spreads_over_the_whole_range_and_every_split_has_every_class(splits):
    for examples in splits.values():
        images = np.stack([image for image, _ in examples])
        levels = {int(x + 0.5) for x in np.arange(17) * 255 / 16}
        assert set(np.unique(images)) == levels
        counts = np.bincount([label for _, label in examples])
        assert len(counts) == 10
        assert counts.min() > 0.07 * len(examples)


def test_class_names_are_the_digits(folder):
    _, info = tfds.load("digits", data_dir=str(folder), download=False, with_info=True)
    assert info.features["label"].names == list("0123456789")
    assert info.supervised_keys == ("image", "label")
