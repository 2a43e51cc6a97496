"""Comparing classes where scores are not nearly tied.

Kernels for other processors round otherwise. That flips the sign of a value that is nearly 0, which
changes the scores around it a little, and the best class only where two were nearly as good.
"""

import numpy as np


def decided(scores, margin=0.05):
    """Where the best of `(..., classes)` leads the second by `margin` of the range of all scores.

    That must hold for half of them, or a comparison there would say little.
    """
    ordered = np.sort(scores, axis=-1)
    found = ordered[..., -1] - ordered[..., -2] > margin * np.ptp(scores)
    assert found.mean() > 0.5, f"only {found.mean():.0%} of the scores decide"
    return found


def assert_same_classes(received, expected, margin=0.05):
    """The best class is the same wherever `expected`, `(..., classes)`, decides."""
    sure = decided(expected, margin)
    wrong = sure & (np.argmax(received, axis=-1) != np.argmax(expected, axis=-1))
    assert not wrong.any(), f"{wrong.sum()} of {sure.sum()} differ"
