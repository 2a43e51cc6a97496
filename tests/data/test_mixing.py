"""mixup and CutMix: shares, labels, and equal results with any number of workers."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT
from scipy.stats import beta, kstest

from larq_groupnet.data.arrays import from_arrays
from larq_groupnet.data.mixing import Mixing, mix
from larq_groupnet.data.pipeline import Pipeline
from larq_groupnet.data.reading import Reading
from larq_groupnet.tasks.classification import Classification
from larq_groupnet.training import RecipeError, load_recipe, override

SIZE = (8, 12)


def seed(number):
    return tf.constant([1, number], tf.int64)


def owns(mixing, count):
    draw = tf.function(lambda number: mixing.own(SIZE, tf.stack([1, number])))
    return np.array([draw(tf.constant(n, tf.int64)) for n in range(count)])


@pytest.mark.parametrize("parameter", [0.2, 1.0])
def test_shares_of_mixup_are_those_of_a_beta_distribution(parameter):
    found = owns(Mixing(mixup=parameter), 600)
    assert np.ptp(found.reshape(600, -1), axis=1).max() == 0
    assert kstest(found[:, 0, 0, 0], beta(parameter, parameter).cdf).pvalue > 0.01


def test_cutmix_cuts_one_rectangle_of_the_drawn_area():
    found = owns(Mixing(cutmix=1.0), 300)[..., 0]
    assert set(np.unique(found)) == {0.0, 1.0}
    for mask in found:
        rows, columns = np.where(mask == 0)
        if rows.size:
            assert rows.size == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    # The share is uniform, but the border cuts off part of the rectangle.
    assert 0.6 < found.mean() < 0.85


def test_with_both_each_image_draws_one():
    kinds = [len(np.unique(own)) for own in owns(Mixing(1.0, 1.0), 200)]
    assert 60 < kinds.count(2) < 130


def test_labels_have_the_shares_of_the_pixels():
    """All pixels of image n are n, so a mixed pixel shows its image."""
    images = np.ones((4, *SIZE, 1), "f4") * np.arange(4)[:, None, None, None]
    own = np.stack([Mixing(0.0, 1.0).own(SIZE, seed(n)) for n in range(4)])
    mixed, shares = (x.numpy() for x in mix(images, np.arange(4), own, 5))
    np.testing.assert_allclose(shares.sum(1), 1)
    for number, (pixels, share) in enumerate(zip(mixed, shares, strict=True)):
        for other in (number, (number + 2) % 4):
            np.testing.assert_allclose(share[other], np.mean(pixels == other), atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_of_mixed_labels_is_the_mixed_loss(smoothing):
    rng = np.random.RandomState(0)
    scores = rng.dirichlet(np.ones(6), 4).astype("f4")
    one, two, share = rng.randint(0, 6, 4), rng.randint(0, 6, 4), rng.uniform(size=(4, 1))
    mixed = (share * np.eye(6)[one] + (1 - share) * np.eye(6)[two]).astype("f4")
    loss = Classification(6).loss(smoothing)
    each = [[loss(y[n : n + 1], scores[n : n + 1]) for n in range(4)] for y in (one, two)]
    expected = np.mean(share[:, 0] * each[0] + (1 - share[:, 0]) * each[1])
    np.testing.assert_allclose(loss(mixed, scores), expected, rtol=1e-5)
    for metric in Classification(6).metrics():
        metric.update_state(mixed, scores)
        value = metric.result().numpy()
        metric.reset_state()
        metric.update_state(np.where(share[:, 0] > 0.5, one, two), scores)
        assert value == metric.result().numpy()


def test_workers_and_resuming_change_nothing():
    rng = np.random.RandomState(0)
    arrays = from_arrays("mixed", (rng.randint(0, 256, (40, *SIZE, 1), "u1"), np.arange(40) % 3))

    def batches(count, *position, context=None):
        data = Pipeline(arrays, Reading(SIZE), 8, seed=2, mixing=Mixing(0.5, 1.0))
        return list(
            data.train_batches(3, *position, context=context).take(count).as_numpy_iterator()
        )

    whole = batches(6)
    for mine, expected in zip(batches(4, 0, 2), whole[2:], strict=True):
        for column in (0, 1):
            np.testing.assert_array_equal(mine[column], expected[column])
    for index in (0, 1):
        context = tf.distribute.InputContext(2, index, 2)
        for mine, expected in zip(batches(6, context=context), whole, strict=True):
            for column in (0, 1):
                np.testing.assert_array_equal(mine[column], expected[column][index::2])


@pytest.mark.parametrize(
    ("model", "key", "value", "message"),
    [
        ("groupnet_dsp", "mixup", "0.2", "mixup: expected a classifier, because masks"),
        ("groupnet_dsp", "cutmix", "1.0", "cutmix: expected a classifier"),
        ("groupnet_dsp", "rand_augment", "(2, 9)", "rand_augment: expected a classifier"),
        ("groupnet_dsp", "augmentation", "shift", "expected one of none, colour, segmentation"),
        ("resnet18", "augmentation", "segmentation", "expected one of none, colour, shift"),
        ("resnet18", "rand_augment", "(2, 11)", "a magnitude of 0 to 10"),
        ("resnet18", "mixup", "-1.0", "mixup: expected at least 0"),
    ],
)
def test_mixing_that_breaks_labels_is_refused(model, key, value, message):
    with pytest.raises(RecipeError, match=message):
        override(load_recipe(model, ROOT / "zoo"), [(key, value)])
