"""How well a classifier's probabilities are calibrated, and the temperature that improves them.

Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

BINS = 15
"""Number of confidence bins of equal width."""

LEAST = 200
"""Fewest images, some of them misclassified, from which a temperature is found."""


def probabilities(scores: Floats, temperature: float = 1.0, from_logits: bool = True) -> Floats:
    """Softmax of the logits divided by the temperature, `(..., classes)`.

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
    """Expected calibration error: the mean gap between confidence and accuracy.

    Attributes:
        gaps: For each of `BINS` confidence bins, the number of its images that are right, minus the
            sum of the confidences of all its images.
        images: Number of images.
    """

    def __init__(self) -> None:
        self.gaps = np.zeros(BINS)
        self.images = 0

    def add(self, labels: NDArray[np.integer], shares: Floats) -> None:
        """Adds labels `(images,)` and probabilities `(images, classes)`."""
        # A network that has diverged gives NaN, which counts as no confidence.
        confidence, right = np.nan_to_num(shares.max(-1)), shares.argmax(-1) == labels
        bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
        self.gaps += np.bincount(bins, right - confidence, BINS)
        self.images += len(labels)

    @property
    def error(self) -> float:
        """The gap of the bin of an image, averaged over all images; NaN without images."""
        return float(np.abs(self.gaps).sum() / self.images) if self.images else float("nan")


def best_temperature(labels: NDArray[np.integer], logits: Floats) -> float:
    """The temperature with the lowest cross-entropy, between 1/20 and 20.

    1 for fewer than `LEAST` images, or if all are classified correctly: the best would be the
    lowest.

    Args:
        labels: `(images,)`.
        logits: Logits or logarithms of probabilities, `(images, classes)`.
    """
    from scipy.optimize import minimize_scalar  # Slow to import.

    if len(labels) < LEAST or (logits.argmax(-1) == labels).all():
        return 1.0

    def loss(logarithm: float) -> float:
        shares = probabilities(logits, np.exp(logarithm))[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(shares, 1e-30)).mean())

    bounds = (np.log(1 / 20), np.log(20))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))
