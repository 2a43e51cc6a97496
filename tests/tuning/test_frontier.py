"""The frontier and its hypervolume, against brute force and sampling."""

import numpy as np
import pytest

from larq_groupnet.tuning.frontier import Point, frontier, gains, hypervolume


@pytest.fixture(scope="module")
def points():
    random = np.random.RandomState(0)
    return [Point(2.0 ** random.uniform(0, 4), random.uniform()) for _ in range(30)]


def test_nothing_beats_the_frontier_and_everything_else_is_beaten(points):
    found = [points[index] for index in frontier(points)]
    assert found == sorted(found)
    for point in points:
        beaten = any(o.ops <= point.ops and o.value >= point.value and o != point for o in points)
        assert beaten is (point not in found)


def test_frontier_keeps_the_cheapest_of_equal_points():
    assert frontier([Point(2, 0.5), Point(1, 0.5), Point(1, 0.5), Point(3, 0.5)]) == [1]
    assert frontier([Point(1, 0.5, 9), Point(1, 0.5, 8), Point(1, 0.4, 7)]) == [1]
    assert frontier([]) == []


def test_hypervolume_is_the_share_of_random_points_that_are_beaten(points):
    random = np.random.RandomState(1)
    limit = 32.0
    ops, value = 2.0 ** random.uniform(0, 5, 200_000), random.uniform(0, 1, 200_000)
    beaten = np.zeros(len(ops), bool)
    for point in points:
        beaten |= (ops >= point.ops) & (value <= point.value)
    assert hypervolume(points, limit) == pytest.approx(5 * beaten.mean(), abs=0.02)


def test_gain_is_positive_on_the_frontier_alone(points):
    best = frontier(points)
    found = gains(points)
    for index, gain in enumerate(found):
        assert (gain > 0) is (index in best)
    # Behind it, how much is missing at the same cost.
    assert gains([Point(1, 0.9), Point(2, 0.7)])[1] == pytest.approx(-0.2)
    assert gains([Point(1, 0.5), Point(2, 0.75)])[1] == pytest.approx(0.25)
    assert gains([Point(1, 0.5)]) == [0.5]
    assert gains([]) == []
