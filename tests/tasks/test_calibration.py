"""The calibration error against sums by hand; the temperature against a known one."""

import numpy as np
import pytest

from larq_groupnet.tasks.calibration import (
    BINS,
    LEAST,
    Calibration,
    best_temperature,
    probabilities,
)


def calibration_error(labels, shares):
    """The error of images in two batches, the second one larger."""
    found = Calibration()
    third = len(labels) // 3
    found.add(labels[:third], shares[:third])
    found.add(labels[third:], shares[third:])
    return found.error


def test_error_is_the_distance_of_confidence_and_accuracy_by_hand():
    """Four images with confidence 0.6, three of them right; one with confidence 1, and wrong."""
    shares = np.array([[0.6, 0.4]] * 4 + [[0.0, 1.0]])
    labels = np.array([0, 0, 1, 0, 0])
    assert calibration_error(labels, shares) == pytest.approx((4 * 0.15 + 1 * 1.0) / 5)


def test_error_is_that_of_a_loop_over_bins():
    numbers = np.random.RandomState(0)
    shares = numbers.dirichlet([0.3] * 7, 400)
    # Overconfident at low confidence and underconfident at high, so that the bins matter.
    doubtful = shares.max(1) < np.median(shares.max(1))
    labels = np.where(doubtful, numbers.randint(0, 7, 400), shares.argmax(1))
    expected = 0.0
    for bin in range(BINS):
        sure = shares.max(1)
        inside = (sure >= bin / BINS) & ((sure < (bin + 1) / BINS) | (bin == BINS - 1))
        if inside.any():
            right = (shares.argmax(1) == labels)[inside].mean()
            expected += inside.mean() * abs(right - sure[inside].mean())
    assert calibration_error(labels, shares) == pytest.approx(expected)


@pytest.mark.parametrize("known", [0.5, 3.0])
def test_temperature_is_found_that_the_labels_were_drawn_with(known):
    numbers = np.random.RandomState(1)
    logits = numbers.normal(0, 4, (20_000, 5))
    powers = np.exp(logits / known)
    shares = powers / powers.sum(1, keepdims=True)
    labels = (shares.cumsum(1) < numbers.uniform(size=(len(logits), 1))).sum(1)
    found = best_temperature(labels, logits)
    assert found == pytest.approx(known, rel=0.03)
    assert calibration_error(labels, probabilities(logits, found)) < 0.01
    assert calibration_error(labels, probabilities(logits)) > 0.05


def test_few_images_or_no_mistake_say_nothing_of_the_temperature():
    logits = np.random.RandomState(2).normal(0, 4, (LEAST, 5))
    right, labels = logits.argmax(1), np.arange(LEAST) % 5
    assert best_temperature(labels, logits) != 1
    assert best_temperature(labels[1:], logits[1:]) == 1
    assert best_temperature(right, logits) == 1


def test_probabilities_and_logits_are_tempered_alike():
    logits = np.random.RandomState(3).normal(0, 2, (50, 4))
    expected = np.exp(logits / 1.7) / np.exp(logits / 1.7).sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities(logits, 1.7), expected, rtol=1e-6)
    np.testing.assert_allclose(
        probabilities(probabilities(logits), 1.7, from_logits=False), expected, rtol=1e-6
    )


def test_network_that_diverged_is_sure_of_nothing():
    shares = np.full((4, 3), np.nan)
    assert calibration_error(np.array([0, 0, 1, 2]), shares) == pytest.approx(0.5)
