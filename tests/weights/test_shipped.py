"""The weights inside the package: built by name, measured again, held against their cards."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT

import larq_groupnet
from larq_groupnet.data.pipeline import Pipeline, class_names, prepare
from larq_groupnet.inference.evaluate import evaluate
from larq_groupnet.tasks.task import task_of
from larq_groupnet.weights import registry

LARGEST = 1_500_000
"""Bytes of one release file in the package."""

TOLERANCE = 1e-3
"""Of a metric: another processor rounds otherwise, and a value next to 0 may change its sign. For
the 359 digits this is less than one image."""

SHIPPED = {
    "digits": larq_groupnet.GroupNetResNet18,
    "digit_scenes": larq_groupnet.GroupNetDSP,
}


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
    for metric in entry.metadata.metrics:
        label, runtime = metric.name.rsplit(", ", 1)
        figures = dict(zip(("Keras", "LCE"), rows[label].split(" | "), strict=True))
        assert figures[runtime] == f"{metric.value:.4f}"
        assert f"\n{metric.command}\n" in card
    for picture in re.findall(r"!\[.+\]\((.+)\)", card):
        assert (stem.parent / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_weights_by_name_reach_what_their_card_says(name, data_dir):
    metadata = entry_of(name).metadata
    model = SHIPPED[name](weights=name)
    assert model.input_shape[1:] == metadata.config.input_shape

    builder = prepare(metadata.dataset, data_dir)
    assert class_names(builder) == list(metadata.classes)
    # Images have the network's size, so that it is all the same at which scales they are read.
    known = {key: metadata.preprocessing[key] for key in ("normalisation", "central_crop")}
    data = Pipeline(builder, metadata.preprocessing["size"], 50, **known)
    task = task_of(metadata.config)
    found, _ = evaluate(model, None, data.eval_batches("test"), task, metadata.classes)
    expected = {m.name: m.value for m in metadata.metrics if m.name.endswith(", Keras")}
    measured = {f"{label}, Keras": found["keras"].get(key) for key, label in task.labels.items()}
    assert expected == pytest.approx({k: measured[k] for k in expected}, abs=TOLERANCE)
    assert task.headline in found["keras"] and f"{task.labels[task.headline]}, Keras" in expected
