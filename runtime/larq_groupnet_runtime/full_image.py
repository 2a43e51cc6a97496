"""Probabilities of every pixel of an image of any size, from a network with a fixed input size.

The same windows, weights and averages as `larq_groupnet.inference.full_image`, without TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from larq_groupnet_runtime.description import Description
from larq_groupnet_runtime.images import Array, Pixels, fitted, normalise, pad, resize

Predict = Callable[[Array], Array]
"""From windows `(n, height, width, channels)` to logits `(n, height, width, classes)`."""

Size = tuple[int, int]


def probabilities(predict: Predict, pixels: Pixels, size: Size, how: Description) -> Array:
    """Probabilities `(height, width, classes) float32` of one image.

    A larger image is covered by windows half a window apart; a smaller one is padded below and on
    the right. In each window, pixels are weighted by their distance from the window's edge, where
    an object may be cut off. Scales and mirror images are averaged.

    Args:
        predict: The network.
        pixels: `(height, width, channels)` of 0 to 255.
        size: Height and width of the network's input.
        how: Normalisation, scales, flip and letterbox.
    """
    extents = [
        (max(round(scale * pixels.shape[0]), 1), max(round(scale * pixels.shape[1]), 1))
        for scale in how.scales
    ] or [fitted(pixels, size) if how.letterbox else size]
    total: Array | None = None
    for extent in extents:
        view = normalise(resize(pixels, extent), how.normalisation or "")
        for mirrored in (False, True)[: 1 + how.flip]:
            scores = _joined(predict, view[:, ::-1] if mirrored else view, size)
            scores = resize(scores[:, ::-1] if mirrored else scores, pixels.shape[:2])
            total = scores if total is None else total + scores
    assert total is not None
    return total / np.float32(len(extents) * (1 + how.flip))


def tempered(scores: Array, how: Description) -> Array:
    """Probabilities of classes, from logits or probabilities `(classes,)`.

    Without logits or a temperature in the description, scores stay unchanged.
    """
    if how.temperature == 1 and not how.logits:
        return scores
    logits = scores if how.logits else np.log(np.maximum(scores, np.float32(1e-30)))
    return softmax(logits / np.float32(how.temperature))


def softmax(logits: Array) -> Array:
    """Softmax over the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    result: Array = powers / powers.sum(-1, keepdims=True)
    return result


def _joined(predict: Predict, view: Array, size: Size) -> Array:
    """The weighted mean of the windows over a view, `(height, width, classes)` of the view."""
    height, width = view.shape[:2]
    padded = pad(view, size)
    ramps = [np.minimum(np.arange(side), np.arange(side)[::-1]) + 1.0 for side in size]
    weight = np.outer(*ramps)[..., None].astype(np.float32)
    total: Array | None = None
    weights: Array = np.zeros((*padded.shape[:2], 1), np.float32)
    for top, left in _corners(padded.shape, size):
        part = np.s_[top : top + size[0], left : left + size[1]]
        window = softmax(predict(padded[part][None])[0])
        if total is None:
            total = np.zeros((*padded.shape[:2], window.shape[-1]), np.float32)
        total[part] += weight * window
        weights[part] += weight
    assert total is not None
    joined: Array = (total / weights)[:height, :width]
    return joined


def _corners(shape: Sequence[int], size: Size) -> Iterator[tuple[int, int]]:
    """Top left corners of the windows: half a window apart, the last windows at the edge."""
    starts = []
    for whole, side in zip(shape, size):
        last, step = max(whole - side, 0), max(side // 2, 1)
        starts.append([min(start, last) for start in range(0, last + step, step)])
    return ((top, left) for top in starts[0] for left in starts[1])
