"""Runs a Keras model on the signs that its converted file computes.

Two correct runtimes round differently. A value close to 0 may get a different sign in each, and
everything after it differs visibly. So each quantizer of the model quantizes its own input, is
compared with the file, and then returns the file's values: a flip does not spread, and the next
layer is compared on equal terms.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from larq_groupnet.deploy.flatbuffer import Graph, Operation, Runner, unpack
from larq_groupnet.deploy.matching import layers_with_kernels, match, quantizer_before
from larq_groupnet.deploy.replaced import replaced

NEAR = 1e-3
"""Distance from a threshold within which rounding may flip values, in RMS of the layer."""

MOST_FLIPS = 0.05
"""Share of a layer's values that may flip in all, not counting `TIE`: sums of signs often tie."""

SIGN_TOLERANCE = 0.05
"""Distance from a threshold within which a few values may flip, in RMS.

LCE computes `offset + factor * fan_in - 2 * factor * popcount` in float32. After normalising a
channel that hardly varied in training, the factor is 300 and the sum loses its last digits: in a
trained network, values up to 0.011 RMS from 0 flipped in two of 128 channels.
"""

MOST_ROUNDED = 0.01
"""Share of a layer's values that may flip farther away than `NEAR`; two always may."""

TIE = 1e-5
"""Values this close to a threshold, in RMS, are sums that cancel up to rounding.

An untrained network is full of them, because its streams are sums of a few integers. Any number of
them may flip if the file computed another number there, and none if it computed the same.
"""

Numbers = tuple[NDArray[Any], float | None]
"""The input of a quantizer in a file, and the value of one level if it is integers."""

_Pair = tuple[int, int | None]
"""Indices of the tensor that a convolution reads, and of the numbers it was quantized from."""


@dataclass
class Flips:
    """Counts values that one quantizer quantizes differently in the model and in the file.

    Attributes:
        values: Number of values compared.
        flipped: Number of values that differ.
        ties: Number of flips within `TIE` of a threshold, where the file shows its numbers.
        misread: Number of signs in the file that contradict the file's own numbers.
        far: Number of flips farther than `NEAR` from a threshold.
        beyond: Number of flips farther than `SIGN_TOLERANCE` from a threshold.
        distance: The largest absolute input of a flipped value, in RMS.
        levels: In an int8 file, the largest distance of its numbers from the model's, in levels; 0
            where it does not show them.
        drift: The mean of these distances.
        numbers: Number of these distances.
    """

    values: int = 0
    flipped: int = 0
    ties: int = 0
    misread: int = 0
    far: int = 0
    beyond: int = 0
    distance: float = 0.0
    levels: float = 0.0
    drift: float = 0.0
    numbers: int = 0

    @property
    def wrong(self) -> bool:
        """True if rounding does not explain the flips."""
        return (
            self.misread > 0
            or self.beyond > 0
            or self.far > max(MOST_ROUNDED * self.values, 2)
            or self.flipped - self.ties > MOST_FLIPS * self.values
        )


class SignsOfFile:
    """A Keras model whose quantizers return the file's values.

    Args:
        model: A model with one input and one output. While it runs, its quantizers are replaced.
        content: Its converted file.

    Attributes:
        flips: Name of the quantizing layer -> its differences, in order of computation.
        not_compared: Layers whose quantized input was not found in the file.
    """

    def __init__(self, model: tf.keras.Model, content: bytes):
        self.flips: dict[str, Flips] = {}
        self.not_compared: set[str] = set()
        self._model = model
        self._quantizers: dict[str, tuple[tf.keras.layers.Layer, list[_Pair]]] = {}
        self._graph = Graph(content)
        self._find()
        pairs = itertools.chain.from_iterable(pairs for _, pairs in self._quantizers.values())
        self._tensors = sorted({t for pair in pairs for t in pair if t is not None})
        self._runner = Runner(self._graph.with_outputs(self._tensors)) if self._tensors else None

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The model's output for one batch, computed from the file's signs."""
        outputs = self._runner(batch) if self._runner else []
        values = dict(zip(self._tensors, outputs, strict=True))
        with contextlib.ExitStack() as stack:
            for layer, pairs in self._quantizers.values():
                candidates = [
                    (
                        values[signs],
                        None if numbers is None else self._real(numbers, values[numbers]),
                    )
                    for signs, numbers in pairs
                ]
                name = "input_quantizer" if hasattr(layer, "input_quantizer") else "call"
                quantizer = self._quantizer(layer.name, getattr(layer, name), candidates)
                stack.enter_context(replaced(layer, name, quantizer))
            result: NDArray[np.float32] = self._model(batch, training=False).numpy()
        return result

    def _real(self, tensor: int, value: NDArray[Any]) -> Numbers:
        """The file's numbers as floats, and the value of one level if they are integers."""
        about = self._graph.tensors[tensor]
        if about.scale is None or value.dtype == np.float32:
            return value, None
        return (value.astype(np.float32) - about.zero_point) * np.float32(about.scale), about.scale

    def _find(self) -> None:
        """Finds the file's tensor for every quantizer: the input of the convolution after it."""
        operations = match(self._model, self._graph)
        for layer in layers_with_kernels(self._model):
            quantizer = quantizer_before(layer)
            if quantizer is None:
                continue
            if layer.name not in operations:
                self.not_compared.add(layer.name)
                continue
            pairs = [self._read_by(operation) for operation in operations[layer.name]]
            self._quantizers[quantizer.name] = quantizer, pairs

    def _read_by(self, operation: Operation) -> _Pair:
        tensor = operation.inputs[0]
        producer = self._graph.producer(tensor)
        if producer is not None and producer.name in ("PAD", "PADV2"):
            tensor = producer.inputs[0]
            producer = self._graph.producer(tensor)
        # If the previous convolution writes signs directly, the file has no numbers for them.
        if producer is not None and producer.name == "LceQuantize":
            return tensor, producer.inputs[0]
        return tensor, None

    def _quantizer(
        self,
        name: str,
        quantizer: Callable[[tf.Tensor], tf.Tensor],
        candidates: list[tuple[NDArray[Any], Numbers | None]],
    ) -> Callable[[tf.Tensor], tf.Tensor]:
        """A quantizer that returns the file's values: among equal kernels, the best match."""

        def replacement(inputs: tf.Tensor) -> tf.Tensor:
            own = quantizer(inputs).numpy()
            unpacked = [
                (unpack(value, own.shape[-1]) if value.dtype == np.int32 else value, numbers)
                for value, numbers in candidates
            ]
            found = [pair for pair in unpacked if pair[0].shape == own.shape]
            if not found:
                self.not_compared.add(name)
                return tf.convert_to_tensor(own)
            file, numbers = max(found, key=lambda pair: np.mean(pair[0] == own))
            flips = self.flips.setdefault(name, Flips())
            _compare(flips, quantizer, inputs, own, file)
            if numbers is not None:
                _explain(flips, quantizer, inputs, own, file, *numbers)
            return tf.convert_to_tensor(file)

        return replacement


def _compare(
    flips: Flips,
    quantizer: Callable[[tf.Tensor], tf.Tensor],
    inputs: tf.Tensor,
    own: NDArray[np.float32],
    file: NDArray[np.float32],
) -> None:
    # The levels of a multi-bit quantizer are rounded, too.
    rounding = 1e-4 * np.abs(own).max()
    flipped = np.abs(file - own) > rounding
    flips.values += own.size
    if not flipped.any():
        return
    scale = _root_mean_square(inputs)

    def farther_than(tolerance: float) -> int:
        ends = [quantizer(inputs + s * tolerance * scale).numpy() for s in (-1, 1)]
        low, high = np.minimum(*ends) - rounding, np.maximum(*ends) + rounding
        return int(((file < low) | (file > high)).sum())

    flips.flipped += int(flipped.sum())
    flips.far += farther_than(NEAR)
    flips.beyond += farther_than(SIGN_TOLERANCE)
    distance = np.abs(inputs.numpy()[flipped]).max() / (scale or 1.0)
    flips.distance = max(flips.distance, float(distance))


def _explain(
    flips: Flips,
    quantizer: Callable[[tf.Tensor], tf.Tensor],
    inputs: tf.Tensor,
    own: NDArray[np.float32],
    file: NDArray[np.float32],
    numbers: NDArray[Any],
    level: float | None,
) -> None:
    """Counts ties and signs that contradict the file's own numbers; measures how numbers differ."""
    flips.misread += int((quantizer(tf.convert_to_tensor(numbers)).numpy() != file).sum())
    if level is None:
        tie = np.abs(inputs.numpy()) <= TIE * _root_mean_square(inputs)
        flips.ties += int((tie & (file != own)).sum())
        return
    distances = np.abs(inputs.numpy() - numbers) / level
    count = flips.numbers + distances.size
    flips.drift += (distances.mean() - flips.drift) * distances.size / count
    flips.numbers = count
    flips.levels = max(flips.levels, float(distances.max()))


def _root_mean_square(values: tf.Tensor) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
