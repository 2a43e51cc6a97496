"""Lines printed before the first step: splits with counts, warnings, cost, steps."""

import numpy as np
import pytest
from PIL import Image

from larq_groupnet import GroupNetConfig
from larq_groupnet.data.arrays import from_arrays
from larq_groupnet.data.folders import open_folder
from larq_groupnet.network.complexity import complexity
from larq_groupnet.recipes import Phase, Recipe
from larq_groupnet.recipes.announce import announce


@pytest.fixture
def recipe():
    config = GroupNetConfig(input_shape=(32, 32, 3), num_classes=3, num_bases=2, width=0.0625)
    phases = (Phase("tanh", 1, 1e-3, False), Phase("binary", 3, 1e-3, True))
    return Recipe("mine", config, phases, "arrays:said", batch_size=4)


def said(recipe, counts, tests, tmp_path):
    """The lines for `counts` training images per class and `tests` as test labels."""
    labels = np.repeat(range(3), counts)
    images = np.zeros((len(labels), 8, 8, 3), "u1")
    truth = np.array(tests)
    other = (np.zeros((len(truth), 8, 8, 3), "u1"), truth)
    names = ["ant", "bee", "cat"]
    dataset = from_arrays("said", (images, labels), other, other, class_names=names)
    return announce(recipe, dataset, tmp_path / "out")


def test_counts_of_each_class_steps_and_cost_are_said(recipe, tmp_path):
    lines = said(recipe, (20, 10, 10), [0, 1, 2] * 12, tmp_path)
    text = "\n".join(lines)
    assert "40 train, 36 validation, 36 test" in lines[0]
    rows = [line.strip("| ").split() for line in text.splitlines() if line.startswith("| ")]
    assert ["bee", "|", "10", "|", "12", "|", "12"] in rows
    assert "Warning" not in text
    # 40 images, batches of 4, 4 epochs.
    assert "40 steps (tanh 10, binary 30) of 4 images, 4.0 passes" in text
    macs = complexity(recipe.model).total.macs[1]
    assert "K=2" in text and f"{macs / 1e6:,.1f} M 1-bit MACs" in text
    assert str(tmp_path / "out") in lines[-1]


def test_few_test_images_and_a_class_without_any_are_warned_of(recipe, tmp_path):
    lines = said(recipe, (20, 10, 10), [0, 2] * 5, tmp_path)
    assert any(line.startswith("Warning: 10 test images") and "10.0%" in line for line in lines)
    assert "Warning: test has no image of bee." in lines


def test_few_masks_are_not_warned_of_in_the_words_of_accuracy(recipe, tmp_path):
    images, masks = np.zeros((4, 8, 8, 3), "u1"), np.zeros((4, 8, 8), "u1")
    part = (images, masks)
    dataset = from_arrays("masks", part, part, class_names=["ground", "part"])
    text = "\n".join(announce(recipe, dataset, tmp_path / "out"))
    assert "Warning: 4 validation images; a metric of so few is a rough guess" in text
    assert "right or wrong" not in text


def test_folder_of_few_images_among_classes_is_warned_of(recipe, tmp_path):
    for name, count in (("bolt", 12), ("nut", 10), ("unsorted", 4), ("one", 1)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (8, 8)).save(tmp_path / "set" / name / f"{number}.png")
    folder = open_folder(tmp_path / "set", tmp_path)
    lines = announce(recipe, folder, tmp_path / "out")
    expected = "one has 1 image, unsorted has 4 images; move the folder out if it is not a class."
    assert f"Warning: {expected}" in lines
