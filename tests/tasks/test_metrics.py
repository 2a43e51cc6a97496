"""The metrics compared with loops over pixels, scikit-learn and Keras."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT
from scipy.spatial.distance import cdist
from sklearn.metrics import confusion_matrix

from larq_groupnet.errors import ConfigError
from larq_groupnet.tasks.boundaries import BoundaryCounts
from larq_groupnet.tasks.metrics import IntegerMeanIoU
from larq_groupnet.tasks.segmentation import Segmentation
from larq_groupnet.tasks.tallies import SegmentationCounts


@pytest.fixture
def maps():
    """Class maps with void and a class, 4, that never occurs."""
    rng = np.random.RandomState(0)
    truth, predicted = rng.choice(4, (2, 3, 9, 8), p=[0.6, 0.2, 0.15, 0.05])
    truth[rng.rand(*truth.shape) < 0.2] = 255
    return truth.astype(np.uint8), predicted


def counts_of(truth, predicted, **options):
    counts = SegmentationCounts(5, **options)
    counts.add(truth, predicted)
    return counts


def test_matrix_is_that_of_scikit_learn_without_void(maps):
    truth, predicted = maps
    judged = truth != 255
    expected = confusion_matrix(truth[judged], predicted[judged], labels=range(5))
    counts = counts_of(truth, predicted)
    np.testing.assert_array_equal(counts.matrix, expected)
    assert counts.matrix.dtype == np.int64
    assert 0 < counts.matrix.sum() < truth.size


def test_scores_are_those_of_a_loop_over_pixels(maps):
    truth, predicted = maps
    counts = counts_of(truth, predicted)
    pairs = [(t, p) for t, p in zip(truth.ravel(), predicted.ravel(), strict=True) if t != 255]
    iou, accuracy, weights = [], [], []
    for label in range(5):
        hits = sum(t == label == p for t, p in pairs)
        true = sum(t == label for t, _ in pairs)
        union = sum(label in pair for pair in pairs)
        iou.append(hits / union if union else np.nan)
        accuracy.append(hits / true if true else np.nan)
        weights.append(true / len(pairs))
    np.testing.assert_array_equal(counts.iou, iou)
    np.testing.assert_array_equal(counts.class_accuracy, accuracy)
    assert np.isnan(iou[4])
    np.testing.assert_allclose(counts.miou, np.mean(iou[:4]), rtol=1e-15)
    np.testing.assert_allclose(counts.mean_accuracy, np.mean(accuracy[:4]), rtol=1e-15)
    np.testing.assert_allclose(
        counts.frequency_weighted_iou, np.dot(weights[:4], iou[:4]), rtol=1e-15
    )
    assert counts.pixel_accuracy == sum(t == p for t, p in pairs) / len(pairs)


def test_class_predicted_but_never_true_lowers_miou_and_not_mean_accuracy():
    counts = counts_of(np.array([[0, 0, 1, 1]]), np.array([[0, 2, 1, 1]]))
    assert counts.miou == np.mean([1 / 2, 1, 0])
    assert counts.mean_accuracy == np.mean([1 / 2, 1])


def test_counts_add_up_over_batches(maps):
    truth, predicted = maps
    whole = counts_of(truth, predicted, boundary_tolerance=2)
    parts = counts_of(truth[:1], predicted[:1], boundary_tolerance=2)
    assert (parts.matrix != whole.matrix).any()
    parts.add(truth[1:], predicted[1:])
    np.testing.assert_array_equal(parts.matrix, whole.matrix)
    np.testing.assert_array_equal(parts.boundary.total, whole.boundary.total)


def test_counts_stay_whole_beyond_the_integers_of_floats():
    counts = SegmentationCounts(2)
    counts.matrix[0, 0] = 2**53
    counts.add(np.zeros((1, 1), int), np.zeros((1, 1), int))
    assert counts.matrix[0, 0] == 2**53 + 1


def test_only_void_gives_no_number_and_no_warning():
    counts = counts_of(np.full((4, 4), 255), np.zeros((4, 4), int), boundary_tolerance=1)
    found = counts.to_dict("abcde")
    assert np.isnan([found["miou"], found["pixel_accuracy"], found["mean_accuracy"]]).all()
    assert np.isnan([found["frequency_weighted_iou"], found["mean_boundary_f_score"]]).all()
    json.dumps(found)


@pytest.mark.parametrize(
    ("truth", "predicted", "said"),
    [
        ([[0, 5]], [[0, 0]], "truth from 0 to 5"),
        ([[0, -1]], [[0, 0]], "truth from -1 to 0"),
        ([[0, 255]], [[0, 255]], "predicted from 0 to 255"),
    ],
)
def test_labels_that_are_no_classes_are_refused(truth, predicted, said):
    counts = SegmentationCounts(5)
    with pytest.raises(ValueError, match=said):
        counts.add(np.array(truth), np.array(predicted))
    assert not counts.matrix.any()


def boundary_by_loop(classes, label):
    """Coordinates of a class's boundary pixels, from the definition."""
    height, width = classes.shape
    found = []
    for row, column in np.argwhere(classes == label):
        neighbours = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        inside = [(r, c) for r, c in neighbours if 0 <= r < height and 0 <= c < width]
        if any(classes[place] != label for place in inside):
            found.append((row, column))
    return np.array(found).reshape(-1, 2)


def scores_by_loop(images, labels, reach):
    scores = []
    for label in range(labels):
        hits, totals = np.zeros(2), np.zeros(2)
        for truth, predicted in images:
            edges = [boundary_by_loop(classes, label) for classes in (predicted, truth)]
            for side in (0, 1):
                distance = cdist(edges[side], edges[1 - side])
                hits[side] += (distance <= reach).any(1).sum()
                totals[side] += len(edges[side])
        if not totals.any():
            scores.append(np.nan)
            continue
        precision, recall = (h / t if t else 0 for h, t in zip(hits, totals, strict=True))
        scores.append(2 * precision * recall / max(precision + recall, 1e-300))
    return scores


def blobs(seed, shape=(30, 40), labels=4):
    """A smooth class map."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.RandomState(seed).rand(labels, *shape)
    return gaussian_filter(noise, (0, 4, 4)).argmax(0)


@pytest.mark.parametrize(("tolerance", "reach"), [(1, 1), (2.5, 2.5), (0.05, 2.5), (0.0075, 0.375)])
def test_boundaries_are_those_of_a_loop_over_pixels(tolerance, reach):
    """The diagonal of 30 x 40 pixels is 50."""
    images = [(blobs(seed), np.roll(blobs(seed), 2, axis=0)) for seed in range(3)]
    counts = BoundaryCounts(5, tolerance)
    for truth, predicted in images:
        counts.add(truth, predicted)
    expected = scores_by_loop(images, 5, reach)
    np.testing.assert_allclose(counts.f_score, expected, rtol=1e-12)
    np.testing.assert_allclose(counts.mean_f_score, np.nanmean(expected), rtol=1e-12)
    assert 0 < counts.mean_f_score < 1


def test_square_moved_by_its_tolerance_matches_and_one_further_does_not():
    truth = np.zeros((40, 40), int)
    truth[10:20, 10:20] = 1
    for moved, expected in ((0, 1.0), (3, 1.0), (15, 0.0)):
        counts = BoundaryCounts(2, tolerance=3)
        counts.add(truth, np.roll(truth, moved, axis=1))
        np.testing.assert_array_equal(counts.f_score, [expected, expected])


def test_edge_of_the_image_is_no_boundary():
    counts = BoundaryCounts(2)
    counts.add(np.ones((20, 20), int), np.ones((20, 20), int))
    assert not counts.total.any()
    assert np.isnan(counts.f_score).all()


def test_boundary_missed_or_invented_scores_nothing():
    square = np.zeros((20, 20), int)
    square[5:15, 5:15] = 1
    for truth, predicted in ((square, 0 * square), (0 * square, square)):
        counts = BoundaryCounts(3, 2)
        counts.add(truth, predicted)
        np.testing.assert_array_equal(counts.f_score, [0, 0, np.nan])


def test_strip_of_void_around_an_object_costs_nothing_and_its_depth_is_not_judged():
    full = np.zeros((60, 60), int)
    full[20:40, 20:40] = 1
    strip = full.copy()
    strip[18:42, 18:42] = 255
    strip[22:38, 22:38] = 1
    counts = BoundaryCounts(2, tolerance=2)
    counts.add(strip, full)
    np.testing.assert_array_equal(counts.f_score, [1, 1])

    hidden = np.zeros((60, 60), int)
    hidden[:, 30:] = 255
    counts = BoundaryCounts(2, tolerance=2)
    counts.add(hidden, np.where(np.arange(60) > 50, 1, 0) + np.zeros((60, 1), int))
    assert not counts.total.any()


def scores_for(predicted, classes):
    return np.eye(classes, dtype=np.float32)[predicted]


def test_keras_metric_is_exact_under_void(maps):
    truth, predicted = maps
    metric = IntegerMeanIoU(5)
    keras = tf.keras.metrics.MeanIoU(5, ignore_class=255, sparse_y_pred=False)
    for part in (slice(0, 1), slice(1, 3)):
        metric.update_state(truth[part], scores_for(predicted[part], 5))
        keras.update_state(truth[part], scores_for(predicted[part], 5))
    counts = counts_of(truth, predicted)
    np.testing.assert_array_equal(metric.matrix, counts.matrix)
    np.testing.assert_allclose(metric.result(), counts.miou, rtol=1e-6)
    np.testing.assert_allclose(metric.result(), keras.result(), rtol=1e-6)
    metric.reset_state()
    assert metric.result() == 0
    assert not metric.matrix.numpy().any()


def test_keras_metric_counts_where_float32_stops():
    keras, metric = tf.keras.metrics.MeanIoU(2, sparse_y_pred=False), IntegerMeanIoU(2)
    keras.total_cm.assign([[2.0**24, 0], [0, 1]])
    metric.matrix.assign([[2**24, 0], [0, 1]])
    for _ in range(3):
        for each in (keras, metric):
            each.update_state([[0]], [[[1.0, 0.0]]])
    assert int(keras.total_cm[0, 0]) == 2**24  # float32 stops here: the reason for our metric.
    assert int(metric.matrix[0, 0]) == 2**24 + 3


def test_keras_metric_works_in_fit_and_is_saved(maps, tmp_path):
    truth, predicted = maps
    inputs = tf.keras.Input((9, 8, 5))
    model = tf.keras.Model(inputs, tf.keras.layers.Activation("linear")(inputs))
    model.compile(loss="mse", metrics=[IntegerMeanIoU(5, name="judged")])
    labels = truth[..., None].astype(np.float32)
    found = model.evaluate(scores_for(predicted, 5), labels, verbose=0, return_dict=True)
    expected = counts_of(truth, predicted).miou
    np.testing.assert_allclose(found["judged"], expected, rtol=1e-6)

    model.save(tmp_path / "model.keras")
    again = tf.keras.models.load_model(tmp_path / "model.keras")
    found = again.evaluate(scores_for(predicted, 5), labels, verbose=0, return_dict=True)
    np.testing.assert_allclose(found["judged"], expected, rtol=1e-6)
    config = IntegerMeanIoU(5, ignore=7).get_config()
    assert IntegerMeanIoU.from_config(config).get_config() == config
    assert (config["num_classes"], config["ignore"]) == (5, 7)


def test_label_of_void_is_no_class():
    assert len(Segmentation(255).tally().matrix) == 255
    for judge in (Segmentation(256).tally, Segmentation(256).metrics):
        with pytest.raises(ConfigError, match=r"at most 255 .*Received: num_classes=256"):
            judge()


def test_keras_metric_refuses_what_it_cannot_count():
    with pytest.raises(tf.errors.InvalidArgumentError):
        IntegerMeanIoU(2).update_state([2], [[1.0, 0.0]])
    with pytest.raises(ValueError, match="takes no sample_weight"):
        IntegerMeanIoU(2).update_state([1], [[1.0, 0.0]], sample_weight=[1.0])


ON_TWO_REPLICAS = """
import tensorflow as tf
from larq_groupnet.tasks.metrics import IntegerMeanIoU
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    metric = IntegerMeanIoU(2)

def right_or_not():
    context = tf.distribute.get_replica_context()
    right = tf.cast(context.replica_id_in_sync_group, tf.float32)
    metric.update_state([0, 1, 255], tf.stack([[1.0, 0.0], [1 - right, right], [1.0, 0.0]]))

tf.function(lambda: strategy.run(right_or_not))()
print(metric.matrix.numpy().tolist(), float(metric.result()))
"""


def test_keras_metric_is_summed_over_replicas():
    """One of two replicas predicts class 0 for class 1."""
    done = subprocess.run(
        [sys.executable, "-c", ON_TWO_REPLICAS], cwd=ROOT, capture_output=True, text=True
    )
    matrix, _, miou = done.stdout.strip().rpartition(" ")
    assert json.loads(matrix) == [[2, 0], [1, 1]], done.stderr
    assert float(miou) == pytest.approx((2 / 3 + 1 / 2) / 2)
