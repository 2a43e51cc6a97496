"""The calibration error against sums by hand, and the temperature against one that is known."""

import numpy as np
import pytest

from larq_groupnet.tasks.calibration import (
    BINS,
    best_temperature,
    calibration_error,
    probabilities,
)


def test_error_is_the_distance_of_confidence_and_accuracy_by_hand():
    """Four images that are 60 % sure, three of them right; one that is sure, and wrong."""
    shares = np.array([[0.6, 0.4]] * 4 + [[0.0, 1.0]])
    labels = np.array([0, 0, 1, 0, 0])
    assert calibration_error(labels, shares) == pytest.approx((4 * 0.15 + 1 * 1.0) / 5)


def test_error_is_that_of_a_loop_over_bins():
    numbers = np.random.RandomState(0)
    shares = numbers.dirichlet([0.3] * 7, 400)
    # Too sure where it is unsure, and the other way round, so that the bins matter.
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
