"""Median-frequency weights, from training labels or masks, in the loss."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT

from larq_groupnet.data.arrays import from_arrays
from larq_groupnet.errors import RecipeError
from larq_groupnet.tasks.segmentation import Segmentation
from larq_groupnet.tasks.task import kind_of
from larq_groupnet.training import load_recipe, override
from larq_groupnet.training.run import session_of


def test_loss_is_the_weighted_mean_without_void():
    rng = np.random.RandomState(0)
    truth = rng.randint(0, 3, (2, 4, 5))
    truth[0, 0] = 255
    scores, weights = rng.normal(size=(2, 4, 5, 3)), np.array([0.5, 1.0, 4.0], np.float32)
    logs = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    known = truth != 255
    each = -logs[known][np.arange(known.sum()), truth[known]]
    expected = np.average(each, weights=weights[truth[known]])
    loss = Segmentation(3, class_weights=weights).loss()
    found = loss(tf.constant(truth), tf.constant(scores, tf.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert abs(expected - each.mean()) > 0.01


def test_weights_are_counted_over_the_training_masks_where_a_recipe_says_so(tmp_path):
    rng = np.random.RandomState(1)
    images = rng.randint(0, 256, (6, 16, 16, 3)).astype(np.uint8)
    masks = np.zeros((6, 16, 16), np.uint8)
    masks[:, :4], masks[::2, 4] = 1, 2
    data = from_arrays("weighted", (images, masks), (images, masks))
    changes = {
        "num_classes": "3",
        "input_shape": "(16, 16, 3)",
        "class_weights": "median_frequency",
    }
    recipe = override(load_recipe("groupnet_dsp", ROOT / "zoo"), changes.items())
    session = session_of(recipe, data, tmp_path)
    # Shares in images with the class: 23/32 (11.5 rows of 16 on average), 1/4, 1/16.
    frequency = np.array([23 / 32, 1 / 4, 1 / 16])
    np.testing.assert_allclose(session.task.class_weights, 0.25 / frequency, rtol=1e-6)
    plain = session_of(dataclasses.replace(recipe, class_weights=""), data, tmp_path)
    assert plain.task.class_weights is None


@pytest.mark.parametrize("beside", [{"class_weights": "median"}, {"mixup": 0.2}])
def test_other_class_weights_are_refused(beside):
    recipe = load_recipe("groupnet_resnet18", ROOT / "zoo")
    with pytest.raises(RecipeError, match="class_weights: expected one of ''"):
        dataclasses.replace(recipe, **{"class_weights": "median_frequency", **beside})


def test_labels_of_a_column_are_weighted_each_by_its_class():
    weights, truth = np.array([1.0, 4.0], "f4"), np.array([[0], [1], [1]])
    scores = np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]], "f4")
    task = kind_of("classifier")(2, class_weights=weights)
    found = float(task.loss()(tf.constant(truth), tf.constant(scores)))
    expected = -(np.log(0.5) + 4 * np.log(0.1) + 4 * np.log(0.8)) / 9
    assert found == pytest.approx(expected, rel=1e-5)
