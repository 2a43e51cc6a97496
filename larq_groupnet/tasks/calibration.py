"""How far the probabilities of a classifier are true, and the temperature that makes them truer.

Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

BINS = 15
"""Of confidence, of equal width."""

_COLDEST = 1 / 20
_HOTTEST = 20.0


def probabilities(logits: Floats, temperature: float = 1.0) -> Floats:
    """Softmax of `logits / temperature`, `(images, classes)`."""
    scaled = logits / temperature
    powers = np.exp(scaled - scaled.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def calibration_error(labels: NDArray[np.integer], shares: Floats) -> float:
    """Expected calibration error: how far confidence and accuracy lie apart, on average.

    Args:
        labels: `(images,)`.
        shares: Probabilities `(images, classes)`.

    Returns:
        The mean over `BINS` bins of the distance between the accuracy of the images in it and their
        mean confidence, each bin weighted by its number of images.
    """
    confidence, right = shares.max(-1), shares.argmax(-1) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, right - confidence, BINS)
    return float(np.abs(gaps).sum() / len(labels))


def best_temperature(labels: NDArray[np.integer], logits: Floats) -> float:
    """The temperature of the lowest cross-entropy, between 1/20 and 20; arguments as above."""
    from scipy.optimize import minimize_scalar  # Slow to import.

    def loss(logarithm: float) -> float:
        shares = probabilities(logits, np.exp(logarithm))[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(shares, 1e-30)).mean())

    bounds = (np.log(_COLDEST), np.log(_HOTTEST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))
