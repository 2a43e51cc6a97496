"""Conversion for Larq Compute Engine, with a check that every binary convolution stayed binary."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from pathlib import Path

import larq as lq
import larq_compute_engine as lce
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

from larq_groupnet.files import replacing


class ConversionError(ValueError):
    """The converted file would not run as binary kernels. Says which operations did not convert."""


def convert(model: tf.keras.Model, path: str | Path) -> Path:
    """Writes `model` as a `.tflite` for LCE's ARM kernels; nothing is written if that fails.

    Args:
        model: A built model whose input has a fixed height and width.
        path: Where to write; the file appears there only once it is whole.

    Returns:
        The path.

    Raises:
        ConversionError: If the input size is not fixed, or if a binary convolution became a
            float one.
    """
    if None in model.input_shape[1:]:
        raise ConversionError(
            "convert: expected a fixed input size, because a binary convolution of unknown size "
            f"does not convert. Received: input_shape={model.input_shape}. Build the model with "
            "the height and width that it will see."
        )
    with warnings.catch_warnings():
        # Keras' SavedModel export warns of its own deprecated calls.
        warnings.simplefilter("ignore")
        flatbuffer = lce.convert_keras_model(model)
    convolutions = [x for x in model.submodules if isinstance(x, tf.keras.layers.Conv2D)]
    real = sum(not _is_binary(layer) for layer in convolutions)
    ops = count_ops(flatbuffer)
    # Not the number of LceBconv2d: the converter makes one of equal convolutions of one tensor.
    if ops["CONV_2D"] > real or (len(convolutions) > real and not ops["LceBconv2d"]):
        raise ConversionError(
            f"convert: expected at most {real} float convolutions, one per real-valued layer. "
            f"Received: {ops['CONV_2D']}. {ops['CONV_2D'] - real} of the model's "
            f"{len(convolutions) - real} binary ones are not binary in the file, usually for their "
            "padding (pad_values=1) or their quantizers (ste_sign)."
        )
    path = Path(path)
    with replacing(path) as temporary:
        temporary.write_bytes(flatbuffer)
    return path


def _is_binary(layer: tf.keras.layers.Layer) -> bool:
    return isinstance(layer, lq.layers.QuantConv2D) and layer.kernel_quantizer is not None


def count_ops(file: bytes | str | Path) -> Counter[str]:
    """Counts the operations of a `.tflite`.

    Args:
        file: The flatbuffer or its path.

    Returns:
        Name of the operation (`CONV_2D`, `LceBconv2d`, ...) -> how often it occurs.
    """
    content = file if isinstance(file, bytes) else Path(file).read_bytes()
    model = schema.Model.GetRootAs(content)
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    names = [
        code.CustomCode().decode() if code.CustomCode() else _BUILTIN[code.BuiltinCode()]
        for code in codes
    ]
    graph = model.Subgraphs(0)
    return Counter(names[graph.Operators(i).OpcodeIndex()] for i in range(graph.OperatorsLength()))


_BUILTIN = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
}


def load_interpreter(path: str | Path) -> lce.testing.Interpreter:
    """LCE's interpreter of a `.tflite`; `predict(images)` maps `(batch, h, w, c)` to outputs."""
    return lce.testing.Interpreter(Path(path).read_bytes(), num_threads=os.cpu_count() or 1)
