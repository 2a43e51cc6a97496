"""How far the probabilities of a classifier are true, and the temperature that makes them truer.

Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

BINS = 15
"""Of confidence, of equal width."""

LEAST = 200
"""So many images, some of them named wrongly, can say what the temperature is."""


def probabilities(scores: Floats, temperature: float = 1.0, from_logits: bool = True) -> Floats:
    """Softmax of the logits over the temperature, `(..., classes)`.

    Args:
        scores: Logits, or probabilities; `(..., classes)`.
        temperature: Above 0.
        from_logits: False for probabilities.
    """
    if temperature == 1 and not from_logits:
        return scores
    # Logarithms of probabilities are logits, too.
    logits = scores if from_logits else np.log(np.maximum(scores, np.float32(1e-30)))
    scaled = logits / np.float32(temperature)
    powers = np.exp(scaled - scaled.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


class Calibration:
    """Expected calibration error: how far confidence and accuracy lie apart, on average.

    Attributes:
        gaps: Of each of `BINS` bins of confidence: the number of its images that are right, less
            the sum of their confidences.
        images: Number of images.
    """

    def __init__(self) -> None:
        self.gaps = np.zeros(BINS)
        self.images = 0

    def add(self, labels: NDArray[np.integer], shares: Floats) -> None:
        """Adds labels `(images,)` and probabilities `(images, classes)`."""
        # Of a network that has diverged, which is sure of nothing.
        confidence, right = np.nan_to_num(shares.max(-1)), shares.argmax(-1) == labels
        bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
        self.gaps += np.bincount(bins, right - confidence, BINS)
        self.images += len(labels)

    @property
    def error(self) -> float:
        """The mean over all images of the gap of their bin; NaN without images."""
        return float(np.abs(self.gaps).sum() / self.images) if self.images else float("nan")


def best_temperature(labels: NDArray[np.integer], logits: Floats) -> float:
    """The temperature of the lowest cross-entropy, between 1/20 and 20.

    1 of fewer than `LEAST` images, or where all are named right: the best would be the lowest.

    Args:
        labels: `(images,)`.
        logits: Or logarithms of probabilities, `(images, classes)`.
    """
    from scipy.optimize import minimize_scalar  # Slow to import.

    if len(labels) < LEAST or (logits.argmax(-1) == labels).all():
        return 1.0

    def loss(logarithm: float) -> float:
        shares = probabilities(logits, np.exp(logarithm))[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(shares, 1e-30)).mean())

    bounds = (np.log(1 / 20), np.log(20))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))
