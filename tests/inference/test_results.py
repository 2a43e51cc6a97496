"""Result files: JSON for any program, matrices in a file beside it."""

import json

import numpy as np

from larq_groupnet.inference.results import write_results
from larq_groupnet.report.table import classes_table, results_table
from larq_groupnet.tasks.classification import Classification
from larq_groupnet.tasks.segmentation import Segmentation
from larq_groupnet.tasks.tallies import LabelCounts, SegmentationCounts


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


def test_results_are_json_without_nan_and_matrices_lie_beside_them(tmp_path):
    tally = LabelCounts(3)
    tally.add(np.array([0, 0, 1]), np.eye(3)[[0, 1, 1]])
    found = tally.to_dict(["cat", "dog", "cow"])  # Without a cow, its recall is not a number.
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
    long = {**results, "dataset": "folder:" + "/somewhere" * 20}
    assert max(map(len, results_table(long).splitlines())) < 120


def rows_of(task, counts):
    from larq_groupnet.report.table import metrics_table

    labels = {"labels": task.labels, "class_labels": task.class_labels}
    results = {"name": "net", "dataset": "set", "keras": counts.to_dict(["a", "b", "c"]), **labels}
    rows = [line.strip("| ").split(" | ") for line in metrics_table(results).splitlines()]
    return {row[0].strip(): row[1].strip() for row in rows if len(row) == 2}


def test_labels_end_with_interval_baseline_and_each_class_without_top5():
    counts = LabelCounts(3)
    counts.matrix += [[8, 2, 0], [1, 3, 0], [0, 0, 6]]
    rows = rows_of(Classification, counts)
    assert rows["test accuracy (top-1)"] == "0.8500"
    low, high = map(float, rows["95 % interval"].split(" to "))
    assert low < 0.85 < high
    assert rows["accuracy (top-1) of always a"] == "0.5000"
    assert (rows["recall of a"], rows["recall of b"]) == ("0.8000", "0.7500")
    assert not any("top-5" in row for row in rows)


def test_iou_of_each_class_stands_before_pixel_accuracy():
    counts = SegmentationCounts(3)
    counts.add(np.array([[0, 0, 0, 0, 1, 2]]), np.array([[0, 0, 0, 1, 1, 0]]))
    counts.add(np.array([[0, 0, 0, 0, 0, 2]]), np.array([[0, 0, 0, 0, 0, 2]]))
    rows = rows_of(Segmentation, counts)
    order = list(rows)
    assert order.index("IoU of c") < order.index("test pixel accuracy")
    assert rows["IoU of c"] == "0.5000"
    # Always predicting a: 9 of 12 pixels are right, and none of the other classes.
    assert rows["mIoU of always a"] == "0.2500"
