"""An artificial CamVid folder: lists, suffixes, void, missing files."""

import shutil

import numpy as np
import pytest
from PIL import Image

from larq_groupnet.data import DatasetError, DatasetWarning
from larq_groupnet.data.camvid import CLASS_NAMES
from larq_groupnet.data.frequencies import Counts, class_counts, median_frequency_weights
from larq_groupnet.data.pipeline import Pipeline, prepare
from larq_groupnet.data.reading import Reading

SIZE = (36, 48)


@pytest.fixture(params=[".png", ".jpg"])
def data_dir(request, tmp_path):
    root = tmp_path / "downloads" / "manual" / "CamVid"
    rng = np.random.RandomState(0)
    for part, count in (("train", 5), ("val", 2), ("test", 3)):
        for folder in (part, f"{part}annot"):
            (root / folder).mkdir(parents=True)
        rows = []
        for name in [f"{part}_{number}" for number in range(count)]:
            grey = int(rng.randint(256))
            Image.new("RGB", SIZE[::-1], (grey,) * 3).save(root / part / (name + request.param))
            labels = rng.randint(0, 12, SIZE).astype("u1")
            Image.fromarray(labels).save(root / f"{part}annot" / f"{name}.png")
            # The tutorial's lists have its author's paths, and always PNG.
            rows.append(f"/SegNet/CamVid/{part}/{name}.png /SegNet/CamVid/{part}annot/{name}.png")
        (root / f"{part}.txt").write_text("\n".join(reversed(rows)) + "\n")
        Image.new("RGB", SIZE[::-1]).save(root / part / "unlisted.png")
    return tmp_path


def test_lists_say_what_counts_and_11_is_void(data_dir):
    dataset = prepare("camvid", data_dir)
    assert dataset.classes == CLASS_NAMES and len(CLASS_NAMES) == 11
    assert dict(dataset.sizes) == {"train": 5, "validation": 2, "test": 3}
    root = data_dir / "downloads" / "manual" / "CamVid"
    masks = sorted(np.asarray(Image.open(p)).tobytes() for p in (root / "testannot").iterdir())
    found = [mask.numpy() for _, mask in Pipeline(dataset, Reading(SIZE), 1).full_images("test")]
    assert sorted(np.where(m == 255, 11, m).astype("u1").tobytes() for m in found) == masks
    assert {label for mask in found for label in np.unique(mask)} == {*range(11), 255}
    elsewhere = shutil.move(root, data_dir / "elsewhere")
    assert dict(prepare(f"camvid:{elsewhere}", data_dir).sizes) == dict(dataset.sizes)


def test_missing_files_are_named(data_dir):
    root = data_dir / "downloads" / "manual" / "CamVid"
    (root / "valannot" / "val_1.png").unlink()
    with pytest.raises(DatasetError, match=r"camvid: expected .*val_1.png, which .*val.txt lists"):
        prepare("camvid", data_dir)
    (root / "val.txt").unlink()
    with pytest.raises(DatasetError, match=r"camvid: expected the list .*val.txt"):
        prepare("camvid", data_dir)
    shutil.rmtree(root)
    with pytest.raises(
        DatasetError, match=r"camvid: expected the folder .*CamVid.*SegNet tutorial"
    ):
        prepare("camvid", data_dir)


def test_weights_are_median_frequency_balancing(data_dir):
    dataset = prepare("camvid", data_dir)
    counts = class_counts(dataset)
    examples = Pipeline(dataset, Reading(SIZE), 1).full_images("train")
    stored = np.stack([mask for _, mask in examples])
    for label in range(11):
        holds = (stored == label).any((1, 2))
        assert counts.own[label] == (stored == label).sum()
        assert counts.beside[label] == (stored[holds] != 255).sum()
    assert counts.classes == dataset.classes
    frequency = counts.own / counts.beside
    np.testing.assert_allclose(
        median_frequency_weights(counts), np.median(frequency) / frequency, rtol=1e-6
    )


def test_class_without_training_examples_weighs_one_and_moves_no_other_weight():
    own, beside, images = np.array([80, 0, 20]), np.array([100, 0, 100]), np.array([1, 0, 1])
    with pytest.warns(DatasetWarning, match="of class 1;"):
        weights = median_frequency_weights(Counts(own, beside, images))
    with pytest.warns(DatasetWarning, match="of car; using weight 1"):
        median_frequency_weights(Counts(own, beside, images, ("sky", "car", "road")))
    np.testing.assert_allclose(weights, [0.5 / 0.8, 1, 0.5 / 0.2], rtol=1e-6)
