"""Finds explicit paddings that the converter mistakes for TensorFlow's "same".

TensorFlow Lite's converter replaces a pad before a "valid" convolution with "same" padding, if its
two sides are equal or the second is larger by one, and "same" gives as many outputs. At stride 1
both paddings are equal. At a larger stride "same" may put fewer rows in front, and the result is
shifted without a warning. On LCE 0.16 the rule below predicted every case of sizes 8, 9, 10 and 16,
kernels 1 to 7 and strides 1 to 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from larq_groupnet.autograph import package_of
from larq_groupnet.deploy.matching import layers_inside

Pads = tuple[tuple[int, int], ...]

_PACKAGES = {"tensorflow", "larq", *map(package_of, (tf.keras.Model, package_of))}
"""Packages whose code is not the user's."""


@dataclass(frozen=True)
class ShiftedPadding:
    """A padding of one layer, `((top, bottom), (left, right))`, that would be shifted.

    Attributes:
        padding: Padding in the model.
        same: Padding that the converted file would use instead.
        exact: Padding that gives the model's result and that the converter leaves alone.
        stride: The larger stride of the convolution.
        of_signs: True if signs are padded, False for floats.
    """

    padding: Pads
    same: Pads
    exact: Pads
    stride: int
    of_signs: bool


def shifted_paddings(model: tf.keras.Model) -> dict[str, ShiftedPadding]:
    """Finds the paddings that would be shifted, in the graph that the converter reads.

    Returns:
        Name of the convolution -> its padding; empty for a model without a fixed input size.
    """
    shape = model.input_shape
    if not isinstance(shape, tuple) or None in shape[1:]:
        return {}
    layers = layers_inside(model)
    if not any(map(_may_be_shifted, [model, *layers])):
        return {}  # Tracing a large network takes seconds.
    names = {layer.name for layer in layers}
    spec = tf.TensorSpec((shape[0] or 1, *shape[1:]), model.inputs[0].dtype)
    graph = tf.function(lambda x: model(x, training=False)).get_concrete_function(spec).graph
    found = {}
    for operation in graph.get_operations():
        padding = _shifted(operation)
        if padding is not None:
            scopes = [part for part in operation.name.split("/") if part in names]
            found[scopes[-1] if scopes else operation.name] = padding
    return found


def _may_be_shifted(layer: tf.keras.layers.Layer) -> bool:
    """True for a layer with a stride and "valid" padding, or one that may run a user's code."""
    functions = [getattr(layer, name, None) for name in ("activation", "input_quantizer")]
    if {*map(package_of, [type(layer), *filter(None, functions)])} - _PACKAGES:
        return True
    if "Lambda" in type(layer).__name__ or "call" in vars(layer):
        return True
    strides = getattr(layer, "strides", 1)
    return getattr(layer, "padding", "") == "valid" and bool(np.max(strides) > 1)


def _shifted(convolution: tf.Operation) -> ShiftedPadding | None:
    if convolution.type not in ("Conv2D", "DepthwiseConv2dNative"):
        return None
    pad = _source(convolution.inputs[0])
    if convolution.get_attr("padding") != b"VALID" or not _is_dropped(pad):
        return None
    padding, same, exact = [], [], []
    strides = convolution.get_attr("strides")[1:3]
    # A stride excludes dilation, and at stride 1 nothing is shifted.
    for size, width, stride, (first, last) in zip(
        pad.inputs[0].shape[1:3],
        convolution.inputs[1].shape[:2],
        strides,
        tf.get_static_value(pad.inputs[1])[1:3].tolist(),
        strict=True,
    ):
        outputs = -(-size // stride)
        if (size + first + last - width) // stride + 1 != outputs or last - first not in (0, 1):
            return None
        total = max((outputs - 1) * stride + width - size, 0)
        padding.append((first, last))
        same.append((total // 2, (total + 1) // 2))
        exact.append((first, max(total - first, 0)))
    if all(ours[0] == theirs[0] for ours, theirs in zip(padding, same, strict=True)):
        return None
    return ShiftedPadding(
        tuple(padding), tuple(same), tuple(exact), max(strides), _is_sign(pad.inputs[0])
    )


def _is_dropped(operation: tf.Operation) -> bool:
    """True if the converter drops a padding: height and width, one reader, 0 (or +1 for signs)."""
    if operation.type not in ("Pad", "PadV2"):
        return False
    # The converter first merges equal paddings of one tensor.
    equal = [other for other in operation.inputs[0].consumers() if _equal(other, operation)]
    if sum(len(other.outputs[0].consumers()) for other in equal) > 1:
        return False
    value = tf.get_static_value(operation.inputs[2]) if operation.type == "PadV2" else 0
    amounts = tf.get_static_value(operation.inputs[1])
    if amounts is None or amounts[[0, 3]].any():
        return False
    return value == 0 or (value == 1 and _is_sign(operation.inputs[0]))


def _equal(one: tf.Operation, other: tf.Operation) -> bool:
    return one.type == other.type and all(
        np.array_equal(tf.get_static_value(a), tf.get_static_value(b))
        for a, b in zip(one.inputs[1:], other.inputs[1:], strict=True)
    )


def _is_sign(tensor: tf.Tensor) -> bool:
    return _source(tensor).type == "Sign"


def _source(tensor: tf.Tensor) -> tf.Operation:
    """The operation that computes a tensor, skipping identities."""
    while tensor.op.type in ("Identity", "IdentityN"):
        tensor = tensor.op.inputs[tensor.value_index]
    return tensor.op
