"""Comparing classes where scores are not nearly tied.

Kernels for other processors round otherwise. That flips the sign of a value that is nearly 0, which
changes the scores around it a little, and the best class only where two were nearly as good.
"""

import numpy as np


def decided(scores, margin):
    """Where the best class of `(..., classes)` leads the second best by more than `margin`.

    That must hold for four in five, or a comparison there would say little.
    """
    ordered = np.sort(scores, axis=-1)
    found = ordered[..., -1] - ordered[..., -2] > margin
    assert found.mean() > 0.8, f"only {found.mean():.0%} of the scores are decided"
    return found


def assert_same_classes(received, expected, margin):
    """The best class is the same wherever `expected`, `(..., classes)`, decides."""
    sure = decided(expected, margin)
    wrong = sure & (received.argmax(-1) != expected.argmax(-1))
    assert not wrong.any(), f"{wrong.sum()} of {sure.sum()} differ"
