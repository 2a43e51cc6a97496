"""Matches the layers of a Keras model with the operations of its file.

Names in a file are cut to 50 characters, and merged if layers are. So layers are found by the signs
of their kernels. Conversion keeps them, except that it flips channels to which batch normalisation
gives a negative scale.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import Any

import larq as lq
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from larq_groupnet.deploy.flatbuffer import WITH_KERNELS, Graph, Operation, unpack

Key = tuple[tuple[int, ...], bytes | None]

_KEEPS_SIGNS = ("ConstantPad2D", "Dropout", "MaxPooling2D", "ZeroPadding2D")


def match(model: tf.keras.Model, graph: Graph) -> dict[str, list[Operation]]:
    """Finds the operations that may compute each convolution and dense layer of a model.

    Returns:
        Name of the layer -> its operation. If several operations have an equal kernel, all of them,
        the likeliest first. Layers that the converter merged, because they are equal and read the
        same tensor, share one. Removed layers, transposed convolutions and convolutions other than
        2D are missing.
    """
    operations: dict[Key, list[Operation]] = defaultdict(list)
    for operation in graph.operations:
        if operation.name in WITH_KERNELS:
            operations[_key_in_file(operation, graph)].append(operation)
    layers: dict[Key, list[str]] = defaultdict(list)
    for layer in layers_with_kernels(model):
        kernel = _kernel_of(layer)
        if kernel is not None:
            key = _key(kernel)
            layers[key if key in operations else (kernel.shape, None)].append(layer.name)
    return {
        name: candidates[place:] + candidates[:place]  # In the order of the layers.
        for key, names in layers.items()
        if (candidates := operations.get(key))
        for place, name in enumerate(names)
    }


def layers_inside(model: tf.keras.Model) -> list[tf.keras.layers.Layer]:
    """Every layer of a model and of the models inside it."""
    return [each for each in model.submodules if isinstance(each, tf.keras.layers.Layer)]


def layers_with_kernels(model: tf.keras.Model) -> list[tf.keras.layers.Layer]:
    """Every convolution and dense layer of a model and of the models inside it."""
    return [layer for layer in layers_inside(model) if hasattr(layer, "kernel_initializer")]


def quantizer_before(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer | None:
    """The layer that quantizes the input of `layer`, or `None`.

    It is `layer` itself if it has an `input_quantizer`, else a quantizer used as a layer, with only
    padding, pooling or dropout in between.
    """
    if getattr(layer, "input_quantizer", None) is not None:
        return layer
    while len(layer.inbound_nodes) == 1:
        parents = tf.nest.flatten(layer.inbound_nodes[0].inbound_layers)
        if len(parents) != 1:
            return None
        layer = parents[0]
        if isinstance(layer, lq.quantizers.Quantizer):
            return layer
        # `tf.pad` in a functional model is a layer named after it.
        if type(layer).__name__ not in _KEEPS_SIGNS and ".pad" not in layer.name:
            return None
    return None


def _key(kernel: NDArray[Any]) -> Key:
    """A key of a kernel `(out, ...)`: its signs, up to the sign of each channel."""
    signs = np.sign(kernel).astype(np.int8).reshape(len(kernel), -1)
    first = signs[np.arange(len(signs)), np.argmax(signs != 0, axis=1)]
    return kernel.shape, hashlib.sha256((signs * first[:, None]).tobytes()).digest()


def _key_in_file(operation: Operation, graph: Graph) -> Key:
    tensor = graph.tensors[operation.inputs[1]]
    if tensor.data is None:
        # The converter leaves quantizing a very large kernel to the device.
        return tensor.shape, None
    if operation.name == "LceBconv2d":
        channels = operation.options["channels_in"]
        groups = -(-channels // 32) // tensor.shape[-1]
        return _key(unpack(tensor.data, channels // groups))
    depthwise = operation.name == "DEPTHWISE_CONV_2D"
    return _key(np.moveaxis(tensor.data, -1, 0) if depthwise else tensor.data)


def _kernel_of(layer: Any) -> NDArray[Any] | None:
    """The layer's quantized kernel with output channels first, as in the file."""
    layers = tf.keras.layers
    if not layer.built or isinstance(layer, layers.Conv2DTranspose):
        return None
    with lq.context.quantized_scope(True):
        if hasattr(layer, "depthwise_kernel"):
            kernel = tf.convert_to_tensor(layer.depthwise_kernel).numpy()
            return np.moveaxis(kernel.reshape(1, *kernel.shape[:2], -1), -1, 0)
        if isinstance(layer, layers.Conv2D | layers.Dense):
            return np.moveaxis(tf.convert_to_tensor(layer.kernel).numpy(), -1, 0)
    return None
