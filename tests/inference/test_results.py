"""Files of results: JSON that any program reads, matrices beside it."""

import json

import numpy as np

from larq_groupnet.inference.results import write_results
from larq_groupnet.report.table import classes_table, results_table
from larq_groupnet.tasks.tallies import LabelCounts


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


def test_results_are_json_without_nan_and_matrices_lie_beside_them(tmp_path):
    tally = LabelCounts(3)
    tally.add(np.array([0, 0, 1]), np.eye(3)[[0, 1, 1]])
    found = tally.to_dict(["cat", "dog", "cow"])  # No cow: its recall is not a number.
    results = {
        "keras": found, "lce": found, "agreement": np.float32(1), "bytes": np.int64(7),
        "seen": (1,),
    }  # fmt: skip
    write_results(tmp_path / "results.json", results)
    text = (tmp_path / "results.json").read_text()
    read = json.loads(text, parse_constant=refuse)
    assert read["keras"]["recall"] == {"cat": 0.5, "dog": 1.0, "cow": None}
    assert (read["agreement"], read["bytes"], read["seen"]) == (1.0, 7, [1])
    assert "confusion" not in text
    matrices = np.load(tmp_path / "results-confusion.npz")
    np.testing.assert_array_equal(matrices["lce"], [[1, 1, 0], [0, 1, 0], [0, 0, 0]])
    table = {"labels": {"accuracy": "accuracy"}, "class_labels": {"recall": "recall"}}
    assert "nan" in classes_table({**table, "keras": read["keras"]})


def test_thousand_classes_take_little_room(tmp_path):
    tally = LabelCounts(1000)
    rng = np.random.RandomState(0)
    tally.matrix += rng.poisson(0.05, (1000, 1000)) + 40 * np.eye(1000, dtype=int)
    found = tally.to_dict([f"class {label}" for label in range(1000)])
    write_results(tmp_path / "results.json", {"keras": found, "lce": found})
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 2**20


def test_no_image_is_no_number_and_no_crash():
    found = LabelCounts(2).to_dict(["a", "b"])
    assert np.isnan(found["accuracy"]) and "top5" not in found
    results = {
        "keras": {**found, "bytes": 1}, "lce": {**found, "accuracy": None, "bytes": 1},
        "labels": {"accuracy": "accuracy"}, "name": "x", "dataset": "y", "unit": "images",
        "agreement": 1.0, "macs": {"1": 0}, "ops": {},
    }  # fmt: skip
    assert results_table(results).count("nan") == 2
