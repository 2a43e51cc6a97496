"""Converts everything that is not binary to 8-bit integers, for targets without fast floats.

LCE's converter takes no representative dataset: it uses integers for tensors whose range a
fake-quant operation gives. `quantize` inserts these operations into a trained network. The result
is a Keras model: `compile` and `fit` train it further, with straight-through gradients, before
`convert_int8`.

* Activations: one range per tensor, from the smallest to the largest value seen on the calibration
  images, widened to include 0. The ranges stay fixed in training.
* Kernels of real layers: one symmetric range per output channel (one in all for a dense layer), up
  to the largest absolute value. It follows the kernel in training.
* Batch normalisation after a real convolution is folded into it. Elsewhere, unless a binary
  convolution fuses it, it becomes a 1x1 depthwise convolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from larq_groupnet.deploy.audit import audit
from larq_groupnet.deploy.description import check_description, with_description
from larq_groupnet.deploy.engine import EngineInterpreter, modify_integer_quantized_model_io_type
from larq_groupnet.deploy.export import to_tflite
from larq_groupnet.deploy.fake_quant import FakeQuant, Rewriter
from larq_groupnet.deploy.flatbuffer import ConversionError, File, Graph, Runner, load_interpreter
from larq_groupnet.deploy.fold import fold
from larq_groupnet.deploy.samples import check_samples
from larq_groupnet.deploy.signs import MOST_FLIPS, Flips, SignsOfFile
from larq_groupnet.deploy.unshared import check_one_in_one_out
from larq_groupnet.files import check_output, replacing

Array = NDArray[np.float32]

CALIBRATION_BATCH = 8

MOST_LEVELS = 8
"""Largest allowed difference of an output, or of a value before a sign, in levels.

Every sum on the way may round by one level. In 15 untrained networks of up to 16 blocks, the
largest difference was 3 before a sign and 4 in an output.
"""

MOST_DRIFT = 1.0
"""Largest allowed mean difference, in levels; the largest in an output was 0.37."""


def quantize(model: tf.keras.Model, calibration: Array) -> tf.keras.Model:
    """Folds a network and rounds its real layers and activations to 8 bits (fake quantisation).

    Args:
        model: A trained functional model with one input and one output. It is not changed.
        calibration: Images `(n, height, width, channels) float32`, preprocessed for the model.

    Returns:
        A functional model that computes nearly the same. Train it further with `compile` and
        `fit`, or give it to `convert_int8` as it is.

    Raises:
        ConversionError: If a layer cannot be int8 (says which, why, and what to do), the model is
            not functional, or the images do not fit it.
    """
    check_one_in_one_out(model, "quantize")
    calibration = check_samples(calibration, model.input_shape[1:], np.float32, "calibration")
    folded = fold(model)
    if findings := audit(folded):
        raise ConversionError("\n  ".join(["quantize: cannot be int8:", *map(str, findings)]))
    rewriter = Rewriter(folded)
    quantized = rewriter.model()
    _calibrate(quantized, rewriter, calibration)
    return quantized


def convert_int8(
    model: tf.keras.Model,
    path: str | Path,
    *,
    data: Array,
    description: Mapping[str, Any] | None = None,
) -> Path:
    """Converts a model from `quantize`, verifies the file, then writes it.

    Args:
        model: The model, trained further or not, with a fixed input size, for one image at a time.
        path: Where to write the file.
        data: Real samples `(n, height, width, channels) float32` to verify the file with.
        description: As for `convert`.

    Returns:
        The path of a file whose input and output are int8; `predict_int8` shows how to run it.

    Raises:
        ConversionError: If LCE cannot convert the model, if the file computes with floats, or if it
            does not compute what the model computes.
        OutputError: If the file cannot be written.
    """
    check_one_in_one_out(model, "convert_int8")
    path = check_output(path)
    data = check_samples(data, model.input_shape[1:], np.float32, "data")
    description = check_description(description, model.output_shape[-1])
    content = to_tflite(model)
    if left := float_operations(content):
        raise ConversionError(
            "convert_int8: expected integers between input and output; quantize(model, calibration)"
            f" makes such a model. Received: operations on floats: {', '.join(left)}"
        )
    _verify(model, content, data)
    content = modify_integer_quantized_model_io_type(content, tf.int8, tf.int8)
    with replacing(path) as temporary:
        temporary.write_bytes(with_description(content, description))
    return path


def is_int8(model: tf.keras.Model) -> bool:
    """True if `quantize` made the model."""
    return any(isinstance(layer, FakeQuant) for layer in model.layers)


def float_operations(file: File) -> list[str]:
    """The operations of a file that compute with floats, as `name(tensor)`.

    Conversions of the input and output do not count. Neither do the multiplier and offset per
    channel, which `LceBconv2d` always holds as float constants.
    """
    graph, found = Graph(file), []
    ends = {*graph.inputs, *graph.outputs}
    for operation in graph.operations:
        translates = operation.name in ("QUANTIZE", "DEQUANTIZE")
        tensors = [
            i
            for i in (*operation.inputs, *operation.outputs)  # -1 is an omitted bias.
            if i >= 0 and graph.tensors[i].computes_floats and not (translates and i in ends)
        ]
        if tensors:
            found.append(f"{operation.name}({graph.tensors[tensors[-1]].name})")
    return found


def predict_int8(file: File, images: Array) -> Array:
    """Runs a file from `convert_int8` in LCE's interpreter; returns its outputs as floats.

    The images are `(n, height, width, channels) float32`, preprocessed for the model.
    """
    interpreter = load_interpreter(file)
    shape = interpreter.input_shapes[0][1:]
    return predict(interpreter, check_samples(images, shape, np.float32, "images"))


def predict(interpreter: EngineInterpreter, images: Array) -> Array:
    """Runs a loaded int8 or float file; inputs and outputs are floats."""
    if interpreter.input_types[0] != np.int8:
        return np.asarray(interpreter.predict(images), np.float32)
    steps = images / interpreter.input_scales[0] + interpreter.input_zero_points[0]
    outputs = interpreter.predict(np.clip(np.rint(steps), -128, 127).astype(np.int8))
    result: Array = np.asarray(outputs, np.float32) - interpreter.output_zero_points[0]
    return result * np.float32(interpreter.output_scales[0])


def _calibrate(model: tf.keras.Model, rewriter: Rewriter, images: Array) -> None:
    quants = [layer for layer in model.layers if isinstance(layer, FakeQuant)]
    given = [rewriter.joined.get(quant.name, quant.get_input_at(0)) for quant in quants]
    inside = tf.keras.Model(model.input, given)
    lowest, highest = np.zeros(len(quants)), np.zeros(len(quants))
    for quant in quants:
        quant.active = False
    starts = range(0, len(images), CALIBRATION_BATCH)
    for start in tqdm(starts, unit="batch", desc="Calibrating"):
        values = inside(images[start : start + CALIBRATION_BATCH], training=False)
        lowest = np.minimum(lowest, [x.numpy().min() for x in values])
        highest = np.maximum(highest, [x.numpy().max() for x in values])
    for quant, lower, upper in zip(quants, lowest, highest, strict=True):
        quant.active = True
        # A tensor of zeros has no range.
        quant.set_weights([np.array([lower, upper if upper > lower else 1.0], np.float32)])
    for quant in rewriter.softmaxes:
        quant.set_weights([np.array([0, 255 / 256], np.float32)])
    for pad, quant in rewriter.pads:
        # No integer lies beyond the range; its end gives the same maximum or sign.
        pad.value = float(np.clip(pad.value, *quant.get_weights()[0]))


def _verify(model: tf.keras.Model, content: bytes, data: Array) -> None:
    """Compares layer by layer: the model runs on the signs that the file computed.

    Both use the same levels, but may round a value halfway between two levels differently. So
    values may differ by some levels, and signs of values that close to 0 may flip. The number of
    such values cannot be predicted, so the share of flipped signs counts only where the file does
    not show its numbers.
    """
    signs = SignsOfFile(model, content)
    runner = Runner(content)
    levels = np.array([np.abs(runner(x[None])[0] - signs(x[None])) for x in data]) / _level(model)
    wrong = [name for name, flips in signs.flips.items() if _is_wrong(flips)]
    # NaN is wrong, too.
    if wrong or not (levels.max() <= MOST_LEVELS and levels.mean() <= MOST_DRIFT):
        raise ConversionError(
            f"convert_int8: expected outputs and values before a sign within {MOST_LEVELS} levels "
            f"of the model's on the same signs, and within {MOST_DRIFT:g} on average. Received: "
            f"outputs that differ by {levels.max():.3g}, by {levels.mean():.3g} on average; wrong "
            f"values before {', '.join(wrong) or 'no layer'}"
        )


def _level(model: tf.keras.Model) -> float:
    """The size of one level of the outputs.

    For probabilities, it is at least a quarter of one level of the logits: the most that one level
    of the logits can change a probability.
    """
    quant = model.output.node.layer
    level = np.ptp(quant.get_weights()[0]) / 255
    before = quant.input.node.layer
    if getattr(before, "activation", None) is tf.keras.activations.softmax:
        level = max(level, np.ptp(before.input.node.layer.get_weights()[0]) / 255 / 4)
    return float(level)


def _is_wrong(flips: Flips) -> bool:
    if flips.numbers:
        return flips.misread > 0 or flips.levels > MOST_LEVELS or flips.drift > MOST_DRIFT
    return flips.flipped > MOST_FLIPS * flips.values
