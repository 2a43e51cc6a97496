"""Scores of every pixel of an image of any size, from a network of a fixed input size."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
import tensorflow as tf

from larq_groupnet.data.images import fitted, normalise, resize
from larq_groupnet.data.reading import MAX_PIXELS, Reading
from larq_groupnet.errors import DatasetError
from larq_groupnet.inference.network import Array, Predict

BATCH_SIZE = 16
"""Windows per batch."""


@dataclasses.dataclass(frozen=True)
class FullImage:
    """How a network predicts a whole image.

    An image that is larger than the network's input is covered by windows half a window apart; a
    smaller image is padded below and on the right, as by the augmentation `"segmentation"`.
    Windows, scales and mirror images are averaged as probabilities. Each pixel of a window is
    weighted by its distance from the window's edge, where an object may be cut off.

    Attributes:
        reading: How the image becomes the network's input; needs a size. Ignores the central crop.
        logits: True if the network gives logits, which become probabilities before averaging.
    """

    reading: Reading
    logits: bool = True

    @property
    def _window(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        assert self.reading.size is not None
        return self.reading.size

    def scores(self, predict: Predict, images: Sequence[Array]) -> list[Array]:
        """Probabilities `(height, width, classes)` of images, each of its own size.

        The windows of all images share batches. Peak memory is about
        `8 * height * width * classes` bytes per image.

        Args:
            predict: The network.
            images: `(height, width, channels)`, pixels of 0 to 255.
        """
        height, width = self._window
        views = [list(self._views(image)) for image in images]
        windows = [
            view[top : top + height, left : left + width]
            for view, *_ in chain.from_iterable(views)
            for top, left in self._corners(view.shape)
        ]
        found = iter(self._predicted(predict, windows))
        results = []
        for image, own in zip(images, views, strict=True):
            total: Array | float = 0.0
            for view, extent, mirrored in own:
                scores = self._joined(view.shape, found)[: extent[0], : extent[1]]
                scores = scores[:, ::-1] if mirrored else scores
                total += np.asarray(resize(scores, image.shape[:2]))
            results.append(np.asarray(total / np.float32(len(own)), np.float32))
        return results

    def groups(self, examples: Iterable[tuple[Array, Array]]) -> Iterator[tuple[list, list]]:
        """Groups images and truths into lists that each fill at least one batch of windows."""
        images: list[Array] = []
        truths: list[Array] = []
        windows = 0
        for image, truth in examples:
            images.append(image)
            truths.append(truth)
            corners = sum(len(self._corners(extent)) for extent in self._extents(image))
            windows += corners * (1 + self.reading.flip)
            if windows >= BATCH_SIZE:
                yield images, truths
                images, truths, windows = [], [], 0
        if images:
            yield images, truths

    def _extents(self, image: Array) -> list[tuple[int, int]]:
        """Height and width of the image at each scale."""
        height, width = image.shape[:2]
        scales = self.reading.scales
        sizes = [(max(round(scale * height), 1), max(round(scale * width), 1)) for scale in scales]
        for extent in sizes:
            if extent[0] * extent[1] > MAX_PIXELS:
                raise DatasetError(
                    f"scales: expected at most {MAX_PIXELS} pixels. Received: {extent[0]} x "
                    f"{extent[1]}, of an image of {height} x {width} at the scales {scales}."
                )
        if not sizes and self.reading.letterbox:
            sizes = [tuple(fitted(image, self._window).numpy().tolist())]
        return sizes or [self._window]

    def _views(self, image: Array) -> Iterator[tuple[Array, tuple[int, int], bool]]:
        """The image at each scale, normalised and padded to at least the size of a window.

        Yields each view with its size before padding, and True if it is mirrored.
        """
        for extent in self._extents(image):
            resized = resize(np.asarray(image, np.float32), extent)
            pixels = normalise(resized, self.reading.normalisation).numpy()
            short = [max(side - own, 0) for side, own in zip(self._window, extent, strict=True)]
            padding = ((0, short[0]), (0, short[1]), (0, 0))
            for mirrored in (False, True)[: 1 + self.reading.flip]:
                # After normalisation, the mean colour is 0.
                yield np.pad(pixels[:, ::-1] if mirrored else pixels, padding), extent, mirrored

    def _corners(self, shape: Sequence[int]) -> list[tuple[int, int]]:
        """Top left corners of the windows: half a window apart, the last ones at the edge."""
        starts = []
        for whole, side in zip(shape, self._window, strict=False):
            last, step = max(whole - side, 0), max(side // 2, 1)
            starts.append([min(start, last) for start in range(0, last + step, step)])
        return [(top, left) for top in starts[0] for left in starts[1]]

    def _predicted(self, predict: Predict, windows: Sequence[Array]) -> Iterator[Array]:
        """The values to average, window by window."""
        for start in range(0, len(windows), BATCH_SIZE):
            scores = predict(np.stack(windows[start : start + BATCH_SIZE]))
            yield from tf.nn.softmax(scores).numpy() if self.logits else scores

    def _joined(self, shape: Sequence[int], found: Iterator[Array]) -> Array:
        """The weighted mean of the next windows of `found` over a view of this shape."""
        height, width = self._window
        ramps = [np.minimum(side, side[::-1]) + 1.0 for side in map(np.arange, self._window)]
        weight = np.outer(*ramps)[..., None].astype(np.float32)
        total, weights = np.zeros((), np.float32), np.zeros((*shape[:2], 1), np.float32)
        for top, left in self._corners(shape):
            window = next(found)
            if not total.ndim:
                total = np.zeros((*shape[:2], window.shape[-1]), np.float32)
            part = np.s_[top : top + height, left : left + width]
            total[part] += weight * window
            weights[part] += weight
        joined: Array = total / weights
        return joined
