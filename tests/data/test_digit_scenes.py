"""The scenes, their builder and its pipeline."""

import hashlib
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow_datasets as tfds
from conftest import ROOT, SCENES
from sklearn.datasets import load_digits

from larq_groupnet.data import augment, digit_scenes, scenes
from larq_groupnet.data.digit_scenes import SPLITS
from larq_groupnet.data.pipeline import Pipeline, prepare
from larq_groupnet.data.reading import Reading


def test_handwriting_of_the_splits_is_disjoint_and_complete():
    parts = [{ink.tobytes() for ink in scenes.split_digits(split)[0]} for split in SPLITS]
    assert [len(part) for part in parts] == [1078, 360, 359]
    assert set.union(*parts) == {(ink / 16.0).tobytes() for ink in load_digits().images}


def test_scene_is_the_same_on_every_machine():
    digest = hashlib.sha256()
    means = []
    for image, mask in scenes.draw_scenes("train", 5, seed=1):
        digest.update(mask.tobytes())
        means.append(image.mean((0, 1)))
    assert digest.hexdigest()[:16] == "c3eecc5f069bed69"
    expected = [
        [147.44, 142.26, 119.84],
        [152.64, 110.37, 177.1],
        [162.77, 167.97, 158.31],
        [168.95, 141.0, 108.73],
        [128.77, 177.84, 97.33],
    ]
    # A filter's last digit, and so the rounding of a pixel, may differ between machines.
    np.testing.assert_allclose(means, expected, atol=0.02)


def test_mask_bears_the_digits_that_were_drawn():
    ink, labels = np.ones((1, 8, 8)), np.array([7])
    image, mask = scenes.draw_scene(np.random.RandomState(0), ink, labels)
    assert image.shape == (96, 96, 3)
    assert image.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 8}


def test_plates_are_large_and_about_as_common_as_background():
    masks = np.stack([mask for _, mask in scenes.draw_scenes("validation", 40, seed=0)])
    share = np.bincount(masks.ravel(), minlength=11) / masks.size
    assert 0.3 < share[0] < 0.7
    assert (share[1:] > 0.01).all()


def test_tfds_loads_what_was_written(data_dir):
    data, info = tfds.load(
        "digit_scenes", data_dir=str(data_dir), split="test", with_info=True, download=False
    )
    assert {name: split.num_examples for name, split in info.splits.items()} == {
        name: count for name, (count, _) in SCENES.items()
    }
    assert SCENES["test"] == SPLITS["test"]
    first = next(iter(data.as_numpy_iterator()))
    image, mask = next(scenes.draw_scenes("test", *SPLITS["test"]))
    np.testing.assert_array_equal(first["image"], image)
    np.testing.assert_array_equal(first["mask"], mask)


FEWER = {name: (count // 40, seed) for name, (count, seed) in SPLITS.items()}

PREPARE_FEWER = """
import sys
from larq_groupnet.data import digit_scenes
from larq_groupnet.data.pipeline import prepare
digit_scenes.SPLITS = {splits}
print(prepare("digit_scenes", {folder!r}).sizes["test"])
"""


def start_writer(folder):
    return subprocess.Popen(
        [sys.executable, "-c", PREPARE_FEWER.format(splits=FEWER, folder=str(folder))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def begun(writer, folder):
    """Waits for the writer's first folder. Returns the folders it writes to."""
    deadline = time.monotonic() + 120
    while not (found := {path.parent for path in folder.glob("incomplete*/*")}):
        assert writer.poll() is None, writer.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def test_killed_writer_leaves_no_data_and_two_at_once_write_it_once(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "digit_scenes"
    writer = start_writer(tmp_path)
    left = begun(writer, folder)
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    assert set(folder.iterdir()) == left

    monkeypatch.setattr(digit_scenes, "SPLITS", FEWER)
    with ThreadPoolExecutor(2) as pool:
        both = pool.map(lambda _: prepare("digit_scenes", tmp_path).sizes["train"], range(2))
        assert [*both] == [80, 80]
    assert capsys.readouterr().err.count("Generating splits...:   0%") == 1
    assert [path.name for path in folder.iterdir()] == ["1.0.0"]


@pytest.fixture
def builder(data_dir):
    return prepare("digit_scenes", data_dir)


def first_batches(builder, seed, size=(96, 96)):
    pipeline = Pipeline(builder, Reading(size), 4, seed=seed, augmentation=augment.colour)
    data = pipeline.train_batches(800)
    return [tuple(map(np.asarray, batch)) for batch in data.take(3)]


@pytest.fixture(scope="module")
def once(data_dir):
    """The first batches of seed 0."""
    return first_batches(prepare("digit_scenes", data_dir), 0)


def test_same_seed_gives_the_same_batches_and_another_seed_others(builder, once):
    twice, other = (first_batches(builder, seed) for seed in (0, 1))
    for a, b in zip(once, twice, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])
    assert not np.array_equal(once[0][1], other[0][1])


def test_augmentation_changes_colours_and_not_masks(builder, once):
    plain = {
        np.asarray(mask).tobytes(): image
        for images, masks in Pipeline(builder, Reading((96, 96)), 64).eval_batches("train")
        for image, mask in zip(np.asarray(images), np.asarray(masks), strict=True)
    }
    for image, mask in zip(*once[0], strict=True):
        original = plain[mask.tobytes()]
        assert not np.allclose(image, original)
        for channel in range(3):
            x, y = original[..., channel].ravel(), image[..., channel].ravel()
            slope, offset = np.polyfit(x, y, 1)
            np.testing.assert_allclose(slope * x + offset, y, atol=1e-4)
            assert 0.8 <= slope <= 1.2
            assert abs(offset) <= 0.2


def test_another_input_size_keeps_masks_whole_numbers(builder):
    images, masks = first_batches(builder, 0, size=(48, 64))[0]
    assert images.shape == (4, 48, 64, 3)
    assert masks.shape == (4, 48, 64)
    assert masks.dtype == np.int32
