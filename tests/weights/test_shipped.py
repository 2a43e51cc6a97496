"""The weights inside the package: built by name, measured again, held against their cards."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

import larq_groupnet
from larq_groupnet.inference.judge_file import judge_file
from larq_groupnet.tasks.task import task_of
from larq_groupnet.weights import registry

LARGEST = 1_500_000
"""Bytes of one release file in the package."""

TOLERANCE = 1e-3
"""Of a metric: another processor rounds otherwise, and a value next to 0 may change its sign. For
the 359 digits this is less than one image."""

SHIPPED = ("digits", "cifar10", "cifar10_stride2", "digit_scenes", "camvid")


@pytest.fixture(autouse=True)
def no_cache(tmp_path, monkeypatch):
    """Nothing but the package has weights."""
    monkeypatch.setenv("LARQ_GROUPNET_CACHE", str(tmp_path))
    monkeypatch.delenv("LARQ_GROUPNET_WEIGHTS", raising=False)


def entry_of(name):
    (entry,) = registry.list_weights(name)
    return entry


def test_these_are_shipped_and_each_is_small():
    states = {entry.name: state for entry, state in registry.verify()}
    assert states == dict.fromkeys(SHIPPED, "intact")
    assert all(entry.size <= LARGEST for entry in registry.list_weights())
    files = {path.name for path in (registry._PACKAGE / "files").iterdir()}
    assert files == {entry.file for entry in registry.list_weights()}


@pytest.mark.parametrize("name", SHIPPED)
def test_card_says_what_the_registry_says(name):
    entry = entry_of(name)
    stem = ROOT / "docs" / "cards" / f"{entry.model}-{name}"
    card = stem.with_suffix(".md").read_text()
    assert entry.file in card and entry.sha256 in card
    rows = dict(re.findall(r"^\| (.+?) \| (.+) \|$", card, re.MULTILINE))
    heading = re.search(r"^\| \| (Keras \| .+) \|$", card, re.MULTILINE)[1]
    older = {"converted": "LCE", "LCE (`.tflite`)": "LCE"}
    engines = [older.get(column, column) for column in heading.split(" | ")]
    for metric in entry.metadata.metrics:
        label, runtime = metric.name.rsplit(", ", 1)
        figures = dict(zip(engines, rows[label].split(" | "), strict=True))
        assert figures[runtime] == f"{metric.value:.4f}"
        assert f"\n{metric.command}\n" in card
    for picture in re.findall(r"!\[.+\]\((.+)\)", card):
        assert (stem.parent / picture).read_bytes().startswith(b"\x89PNG")


def folder_of(dataset, data_dir):
    """Where a dataset lies: the project makes its own, and photographs are the reader's."""
    if dataset not in ("cifar10", "camvid"):
        return data_dir
    folder = os.environ.get("LARQ_GROUPNET_DATA")
    if folder is None:
        pytest.skip("needs LARQ_GROUPNET_DATA, a folder with CIFAR-10 or CamVid, see docs/data.md")
    return Path(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_weights_by_name_reach_what_their_card_says(name, data_dir):
    metadata = entry_of(name).metadata
    data_dir = folder_of(metadata.dataset, data_dir)
    task, found = task_of(metadata.config), judge_file(name, None, data_dir)
    expected = {m.name: m.value for m in metadata.metrics if m.name.endswith(", Keras")}
    measured = {f"{label}, Keras": found["keras"].get(key) for key, label in task.labels.items()}
    assert expected == pytest.approx({k: measured[k] for k in expected}, abs=TOLERANCE)
    assert task.headline in found["keras"] and f"{task.labels[task.headline]}, Keras" in expected


def made_images(height, width, seeds):
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j][..., None]
    waves = [np.random.RandomState(n).uniform(-3, 3, (3, 3)) for n in seeds]
    return np.tanh(2 * np.sin([2 * a * x + 2 * b * y + c for a, b, c in waves])).astype("float32")


@pytest.mark.parametrize(
    ("name", "seeds", "classes"),
    [
        (
            "cifar10",
            (2517, 2978, 1330, 1256, 1888),
            ["airplane", "automobile", "cat", "dog", "bird"],
        ),
        (
            "cifar10_stride2",
            (13, 23, 26, 50, 58),
            ["truck", "bird", "automobile", "truck", "airplane"],
        ),
    ],
)
def test_weights_of_photographs_name_made_images_as_when_they_were_shipped(name, seeds, classes):
    model = larq_groupnet.GroupNetResNet18(weights=name)
    assert model.input_shape[1:] == entry_of(name).metadata.config.input_shape
    scores = model(made_images(32, 32, seeds)).numpy()
    named = [entry_of(name).metadata.classes[each] for each in scores.argmax(-1)]
    # The second likeliest class of each is at least 0.75 less likely.
    assert named == classes


def test_weights_of_streets_part_made_images_as_when_they_were_shipped():
    model = larq_groupnet.GroupNetDSP(weights="camvid")
    classes = entry_of("camvid").metadata.classes
    maps = model(made_images(240, 320, (38, 3, 9))).numpy().argmax(-1)
    shares = [np.bincount(each.ravel(), minlength=len(classes)) / each.size for each in maps]
    largest = [np.argsort(-each)[:2] for each in shares]
    named = [[classes[label] for label in labels] for labels in largest]
    assert named == [["sign", "sky"], ["sign", "building"], ["sign", "sky"]]
    found = [each[labels] for each, labels in zip(shares, largest, strict=True)]
    expected = [[0.507, 0.302], [0.564, 0.188], [0.594, 0.340]]
    np.testing.assert_allclose(found, expected, atol=0.01)
