"""Finds beginners' mistakes: the network converts, but learns badly."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import larq as lq
import numpy as np
import tensorflow as tf

from larq_groupnet.deploy.audit import Finding
from larq_groupnet.deploy.matching import layers_with_kernels
from larq_groupnet.deploy.unshared import check_functional
from larq_groupnet.network.quantizers import has_latent_kernel

layers = tf.keras.layers

_NON_NEGATIVE = ("relu", "relu6", "sigmoid", "softplus", "softmax", "exponential", "hard_sigmoid")
_KEEPS_RANGE = (
    "MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "Dropout",
    "SpatialDropout2D", "Flatten", "Reshape", "Permute", "ZeroPadding2D", "UpSampling2D",
    "Cropping2D",
)  # fmt: skip
_JOINS = ("Add", "Average", "Concatenate", "Maximum", "Minimum")


def advise(model: tf.keras.Model) -> list[Finding]:
    """Finds unsuitable inputs of signs, channels of constant sign, and binary first or last layers.

    Args:
        model: A built functional or sequential Larq model. Nothing is reported about layers behind
            an opaque layer.

    Returns:
        Findings of severity `"weak"`.

    Raises:
        ConversionError: If the model is not functional.
    """
    check_functional(model, "advise")
    return list(_advice(model))


def _weak(layer: Any, cause: str, remedy: str) -> Finding:
    return Finding(layer.name, "weak", cause, remedy)


def _advice(model: tf.keras.Model) -> Iterator[Finding]:
    kernels = [layer for layer in layers_with_kernels(model) if layer.inbound_nodes]
    # Keras takes 0.2 s to list the layers of a large model, so list them once.
    begin = {id(each) for each in model.submodules if isinstance(each, layers.InputLayer)}
    end = {id(tensor.node.layer) for tensor in tf.nest.flatten(model.outputs)}
    for layer in kernels:
        if getattr(layer, "input_quantizer", None) is not None:
            yield from _before_sign(layer)
        if has_latent_kernel(layer):
            if _reaches(layer, begin, forwards=False):
                yield _weak(
                    layer,
                    "the first layer is binary: its sign keeps one bit of each pixel",
                    "Use layers.Conv2D or Dense here, and binarise only after its normalisation",
                )
            if _reaches(layer, end, forwards=True):
                yield _weak(
                    layer,
                    "the last layer is binary: scores are whole numbers with no scale",
                    "Use layers.Dense or Conv2D here, which costs little",
                )
    for layer in model.submodules:
        if isinstance(layer, lq.quantizers.Quantizer) and getattr(layer, "inbound_nodes", None):
            yield from _before_sign(layer)


def _before_sign(layer: Any) -> Iterator[Finding]:
    before = _parents(layer)
    if before and all(map(_is_non_negative, before)):
        yield _weak(
            layer,
            f"its sign reads {before[0].name}, which is never negative, so every sign is +1",
            "Normalise between the two, or move the ReLU before the batch normalisation",
        )
    elif before and not any(map(_is_normalised, before)):
        yield _weak(
            layer,
            f"its sign reads {before[0].name}, which is not normalised, so signs hardly change",
            "Put a BatchNormalization before the sign",
        )
    for parent in before:
        constant, total = _constant_channels(parent)
        if constant:
            yield _weak(
                parent,
                f"{constant} of its {total} channels never change sign before {layer.name}: their "
                "bias is larger than anything added to it",
                "Remove them, start with a smaller bias, or lower the learning rate",
            )


def _parents(layer: Any) -> list[Any]:
    """The layers that a layer reads, skipping layers that keep the range of values."""
    if len(layer.inbound_nodes) != 1:
        return []
    found = []
    for parent in tf.nest.flatten(layer.inbound_nodes[0].inbound_layers):
        keeps = type(parent).__name__ in _KEEPS_RANGE
        found += _parents(parent) if keeps and parent.inbound_nodes else [parent]
    return found


def _is_non_negative(layer: Any) -> bool:
    if isinstance(layer, layers.ReLU):
        return not layer.negative_slope and not layer.threshold
    if type(layer).__name__ == "Softmax":
        return True
    if type(layer).__name__ in _JOINS:
        parents = _parents(layer)
        return bool(parents) and all(map(_is_non_negative, parents))
    return getattr(getattr(layer, "activation", None), "__name__", "") in _NON_NEGATIVE


def _is_normalised(layer: Any) -> bool:
    """True if the layer's output comes from a normalisation or an opaque layer."""
    if isinstance(layer, layers.InputLayer) or hasattr(layer, "kernel_initializer"):
        return False
    if type(layer).__name__ in (*_JOINS, "Activation", "ReLU", "PReLU", "LeakyReLU"):
        parents = _parents(layer)
        return not parents or any(map(_is_normalised, parents))
    return True


def _constant_channels(layer: Any) -> tuple[int, int]:
    """Counts the channels of a layer whose sign is the same for any input, and all channels."""
    if isinstance(layer, layers.BatchNormalization) and layer.built:
        low, high = _range(_parents(layer)[:1])
        deviation = np.sqrt(layer.moving_variance.numpy() + layer.epsilon)
        scale = (layer.gamma.numpy() if layer.scale else 1.0) / deviation
        shift = (layer.beta.numpy() if layer.center else 0.0) - layer.moving_mean.numpy() * scale
        with np.errstate(invalid="ignore"):  # 0 times infinity
            ends = np.nan_to_num(np.stack([scale * low, scale * high])) + shift
    elif has_latent_kernel(layer) and getattr(layer, "bias", None) is not None:
        reach = float(np.prod(layer.kernel.shape[:-1]))
        ends = np.stack([-reach + layer.bias.numpy(), reach + layer.bias.numpy()])
    else:
        return 0, 0
    constant = (ends >= 0).all(0) | (ends < 0).all(0)
    return int(constant.sum()), constant.size


def _range(before: list[Any]) -> tuple[Any, Any]:
    """Smallest and largest output that the type of a layer allows."""
    if not before:
        return -np.inf, np.inf
    layer = before[0]
    low = 0.0 if _is_non_negative(layer) else -np.inf
    if isinstance(layer, layers.ReLU | layers.Activation):
        inner, high = _range(_parents(layer)[:1])
        return max(low, inner), high
    if has_latent_kernel(layer) and getattr(layer, "input_quantizer", None) is not None:
        reach = float(np.prod(layer.kernel.shape[:-1]))
        if getattr(layer, "bias", None) is None:
            return max(low, -reach), reach
    return low, np.inf


def _reaches(layer: Any, ends: Collection[int], forwards: bool) -> bool:
    """True if a path without kernels leads from the layer to one of `ends`, ids of layers."""
    queue, seen = [layer], set()
    while queue:
        one = queue.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if id(one) in ends and (forwards or one is not layer):
            return True
        nodes = one.outbound_nodes if forwards else one.inbound_nodes
        for node in nodes:
            beyond = [node.outbound_layer] if forwards else tf.nest.flatten(node.inbound_layers)
            queue += [each for each in beyond if not hasattr(each, "kernel_initializer")]
    return False
