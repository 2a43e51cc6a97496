"""Rewrites a network for inference with fewer element-wise operations.

A sign ignores a positive factor and the rest of a branch is linear. So a residual stream can be
stored multiplied by a `scale`, if the batch normalisations that feed it are scaled too. If the gate
of base k divides its scale by sigma,

    sigma * own_k + (1 - sigma) * aggregate    becomes    own_k + shared

and no branch is multiplied. Only the aggregate's own sum still multiplies. Its factors absorb
`1 - sigma`, `1 / K` and every scale: one multiplication per base, one in all for a mean, or none
for a single base.

Batch normalisations keep their variance, so that Keras bounds epsilon equally in both networks.
LCE's converter merges equal quantisations of one tensor.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from larq_groupnet.deploy.unshared import (
    applied,
    check_functional,
    copied,
    is_functional,
    nodes_of,
    unshared,
)
from larq_groupnet.network.layers import Aggregate, Broadcast, ConstantPad2D, Resize, SoftGate
from larq_groupnet.network.quantizers import CLASSES

layers = tf.keras.layers

_SCALE_FREE = {kind for kind, facts in CLASSES.items() if facts.scale_free}
"""Quantizers that give the same output for x and every positive multiple of x."""


def fold(model: tf.keras.Model) -> tf.keras.Model:
    """Rewrites a Group-Net for inference: the same function, fewer element-wise multiplications.

    Gates and aggregates become additions and constant factors. Dropout, identities, and branches
    that the parameters switch off (a gate of exactly 1, scales of exactly 0) are removed. Layers
    that `fold` does not know are copied, so any functional model keeps its function. Nested models
    are inlined. The real twin (`binary=False`) hardly gets cheaper, because nothing in it ignores a
    factor.

    Args:
        model: A functional model. It is not changed and shares no weights with the result.

    Returns:
        A functional model with the same inputs and outputs and their names. Convolutions and batch
        normalisations keep their names, too; a shared layer becomes one layer per call (see
        `unshared`). The weights of normalisations, and of real layers after an aggregate, differ.

    Raises:
        ConversionError: If the model is not functional.
    """
    check_functional(model, "fold")
    given = model.output_names
    model = unshared(model)
    taken = {layer.name for layer in model.layers}
    names = [
        own if name in taken else name for name, own in zip(given, model.output_names, strict=True)
    ]
    nodes = nodes_of(model)
    calls = Counter(id(node.layer) for node in nodes)
    copies: dict[int, tf.keras.layers.Layer] = {}
    values: dict[int, _Value] = {}  # id of a tensor of the model -> its new value.
    for node in nodes:
        layer = node.layer
        rule = _rule(node) if calls[id(layer)] == 1 else None
        if rule is not None:
            results = rule(layer, *(values[id(x)] for x in node.keras_inputs))
        else:
            if is_functional(layer):
                warnings.warn(
                    f"fold: the nested model {layer.name!r} is not folded (correct but slower), "
                    "because it is called with more than its inputs, such as training=True",
                    stacklevel=2,
                )
            if id(layer) not in copies:
                copies[id(layer)] = copied(layer)
            copy = copies[id(layer)]
            results = [_Value.of(layer.name, x) for x in _call(copy, node, values)]
            copy.set_weights(layer.get_weights())
        tensors = tf.nest.flatten(node.outputs)
        for tensor, value in zip(tensors, tf.nest.flatten(results), strict=True):
            values[id(tensor)] = value
            if any(tensor is x for x in model.outputs):
                value.at(1.0)  # Before a consumer asks for another scale under the same name.
    outputs = [
        _renamed(values[id(x)].at(1.0), name) for x, name in zip(model.outputs, names, strict=True)
    ]
    return tf.keras.Model(
        tf.nest.map_structure(lambda x: values[id(x)].at(1.0), model.input),
        tf.nest.pack_sequence_as(model.output, outputs),
        name=model.name,
    )


class _Value:
    """A tensor of the given model; the new model may hold it multiplied by a scale.

    Args:
        name: Name of the layer that computes the value.
        build: Builds the tensor at a scale. Called once; other scales are multiples of the first.
        natural: The cheapest scale; `None` if all cost the same.
        multiple: A tensor of the new model and the factor that turns it into this value, if known.
    """

    def __init__(
        self,
        name: str,
        build: Callable[[float], tf.Tensor],
        natural: float | None = None,
        multiple: tuple[tf.Tensor, float] | None = None,
    ):
        self.name = name
        self.multiple = multiple
        self._build = build
        self._natural = natural
        self._tensors: dict[float, tf.Tensor] = {}

    @classmethod
    def of(cls, name: str, tensor: tf.Tensor, scale: float = 1.0) -> _Value:
        """Wraps an existing tensor."""
        value = cls(name, lambda _: tensor, scale)
        value.any()
        return value

    @property
    def adapts(self) -> bool:
        """True if the consumer may still choose the scale."""
        return self._natural is None and not self._tensors

    def any(self) -> tuple[tf.Tensor, float]:
        """The tensor at its cheapest scale, and the scale."""
        if not self._tensors:
            self.at(self._natural or 1.0)
        scale, tensor = next(iter(self._tensors.items()))
        return tensor, scale

    def at(self, scale: float) -> tf.Tensor:
        """The tensor at this scale, multiplied if it exists at another scale."""
        if not self._tensors:
            self._tensors[scale] = self._build(scale)
        elif scale not in self._tensors:
            tensor, present = self.any()
            name = _named(self.name, scale, len(self._tensors))
            self._tensors[scale] = _times(tensor, scale / present, name)
        return self._tensors[scale]


_Rule = Callable[..., Any]  # (layer, *inputs as _Value) -> _Value, or a list of them


def _rule(node: Any) -> _Rule | None:
    """The rule that folds one call of a layer; `None` if its copy must read unscaled tensors."""
    layer = node.layer
    if len(tf.nest.flatten((node.call_args, node.call_kwargs))) != len(node.keras_inputs):
        return None  # Called with other arguments, too, such as training=True for dropout.
    if type(getattr(layer, "input_quantizer", layer)) in _SCALE_FREE:
        return _sign
    if isinstance(layer, layers.ReLU) and (layer.max_value is not None or layer.threshold):
        return None
    if isinstance(layer, layers.BatchNormalization) and not layer.scale:
        return None
    if isinstance(layer, layers.Activation) and layer.activation is tf.keras.activations.linear:
        return _identity
    return _RULES.get(type(layer))


def _identity(layer: tf.keras.layers.Layer, x: _Value) -> _Value:
    return x


def _sign(layer: tf.keras.layers.Layer, x: _Value) -> _Value:
    return _Value.of(layer.name, applied(layer, x.any()[0]))


def _homogeneous(layer: tf.keras.layers.Layer, x: _Value) -> _Value:
    tensor, scale = x.any()
    changes: dict[str, Any] = {"name": _named(layer.name, scale)}
    if isinstance(layer, ConstantPad2D):
        changes["value"] = layer.value * scale
    return _Value.of(layer.name, applied(layer, tensor, **changes), scale)


def _real_kernel(layer: tf.keras.layers.Layer, x: _Value) -> _Value:
    tensor, scale = x.any()
    kernel, *bias = layer.get_weights()
    return _Value.of(layer.name, applied(layer, tensor, [kernel / scale, *bias]))


def _batch_norm(layer: tf.keras.layers.Layer, x: _Value) -> _Value:
    tensor, scale = x.any()
    gamma, *beta, mean, variance = layer.get_weights()

    def build(wanted: float) -> tf.Tensor:
        offset = [wanted * value for value in beta]
        weights = [gamma * (wanted / scale), *offset, mean * scale, variance]
        return applied(layer, tensor, weights)

    return _Value(layer.name, build)


def _joined(layer: tf.keras.layers.Layer, *inputs: _Value) -> _Value:
    fixed = [x for x in inputs if not x.adapts]
    scale = fixed[0].any()[1] if fixed else 1.0
    tensors = [x.at(scale) for x in inputs]
    return _Value.of(layer.name, applied(layer, tensors, name=_named(layer.name, scale)), scale)


def _broadcast(layer: Broadcast, pixel: _Value, like: _Value) -> _Value:
    """Repeats the pixel by upsampling, because the converter would multiply by a constant map."""
    tensor, scale = pixel.any()
    height, width = like.any()[0].shape[1:3]
    name = _named(layer.name, scale)
    if height is None or width is None:
        return _Value.of(layer.name, applied(layer, [tensor, like.any()[0]], name=name), scale)
    repeat = layers.UpSampling2D((height, width), name=name, dtype=tensor.dtype.name)
    return _Value.of(layer.name, repeat(tensor), scale)


def _resize(layer: Resize, x: _Value, like: _Value | None = None) -> _Value:
    tensor, scale = x.any()
    size, inputs = layer.size, tensor
    if like is not None:
        size = like.any()[0].shape[1:3]
        if None in size:
            size, inputs = None, [tensor, like.any()[0]]
    name = _named(layer.name, scale)
    return _Value.of(layer.name, applied(layer, inputs, name=name, size=size), scale)


def _aggregate(layer: Aggregate, *inputs: _Value) -> _Value:
    weights = layer.scales.numpy().tolist() if layer.learned else [1 / len(inputs)] * len(inputs)
    present = [x.any() for x in inputs]
    terms = [(x, weight / scale) for (x, scale), weight in zip(present, weights, strict=True)]
    # If every scale is 0, one term remains to give the zeros their shape.
    terms = [term for term in terms if term[1]] or terms[:1]
    largest = max(abs(factor) for _, factor in terms)

    def build(scale: float) -> tf.Tensor:
        name = _named(layer.name, scale)
        return _weighted_sum([(x, scale * factor) for x, factor in terms], name)

    # The largest factor becomes 1 or -1, so a mean needs no multiplication.
    natural = 1 / largest if largest and _is_safe(1 / largest, terms[0][0]) else 1.0
    return _Value(layer.name, build, natural, terms[0] if len(terms) == 1 else None)


def _soft_gate(layer: SoftGate, aggregate: _Value, *own: _Value) -> list[_Value]:
    sigmas = np.broadcast_to(tf.sigmoid(layer.theta), len(own)).tolist()
    return [
        _gated(f"{layer.name}_base{k}", sigma, x, aggregate)
        for k, (sigma, x) in enumerate(zip(sigmas, own, strict=True), 1)
    ]


def _gated(name: str, sigma: float, own: _Value, aggregate: _Value) -> _Value:
    if sigma in (0, 1):
        return own if sigma else aggregate
    tensor, scale = own.any()
    if aggregate.multiple and aggregate.multiple[0] is tensor:  # This base is the whole aggregate.
        factor = sigma / scale + (1 - sigma) * aggregate.multiple[1]
        if factor > 0 and _is_safe(1 / factor, tensor):
            return _Value.of(name, tensor, 1 / factor)
    scale /= sigma
    if not _is_safe(scale, tensor):
        scale = 1.0
        tensor = own.at(sigma)
    shared = aggregate.at(scale * (1 - sigma))
    return _Value.of(name, _sum([tensor, shared], _named(name, scale)), scale)


_RULES: dict[type, _Rule] = {
    layers.Add: _joined,
    layers.AveragePooling2D: _homogeneous,
    layers.BatchNormalization: _batch_norm,
    layers.Concatenate: _joined,
    layers.Conv2D: _real_kernel,
    layers.Dense: _real_kernel,
    layers.Dropout: _identity,
    layers.SpatialDropout2D: _identity,
    layers.GlobalAveragePooling2D: _homogeneous,
    layers.ReLU: _homogeneous,
    Aggregate: _aggregate,
    Broadcast: _broadcast,
    Resize: _resize,
    ConstantPad2D: _homogeneous,
    SoftGate: _soft_gate,
}


def _is_safe(scale: float, tensor: tf.Tensor) -> bool:
    """True if the scale leaves half of the exponent's range to the values.

    A gate near 0 needs a large 1 / sigma, and these factors multiply over the blocks of a stage.
    Beyond the square root of the largest number, a multiplication resets the stream to scale 1.
    """
    limit = math.sqrt(float(tensor.dtype.max))
    return 1 / limit <= scale <= limit


def _weighted_sum(terms: list[tuple[tf.Tensor, float]], name: str) -> tf.Tensor:
    tensors, factors = zip(*terms, strict=True)
    if len(set(factors)) == 1:
        return _times(_sum(tensors, f"{name}_sum"), factors[0], name)
    products = [_times(x, y, f"{name}_scale{k}") for k, (x, y) in enumerate(terms, 1)]
    return _sum(products, name)


def _times(tensor: tf.Tensor, factor: float, name: str) -> tf.Tensor:
    if math.isclose(factor, 1.0, rel_tol=1e-14):
        return tensor
    # Keras treats a Python float as float32.
    return layers.Rescaling(np.float64(factor), name=name, dtype=tensor.dtype.name)(tensor)


def _sum(tensors: Sequence[tf.Tensor], name: str) -> tf.Tensor:
    """Becomes a chain of ADDs in the file: TFLite's ADD_N of five maps costs more."""
    if len(tensors) == 1:
        return tensors[0]
    return layers.Add(name=name, dtype=tensors[0].dtype.name)(tensors)


def _named(name: str, scale: float, index: int = 0) -> str:
    """The layer's name at scale 1, where it may name an output; a new name at other scales."""
    return name if scale == 1 else f"{name}_scaled{index or ''}"


def _renamed(tensor: tf.Tensor, name: str) -> tf.Tensor:
    if tensor.node.layer.name == name:
        return tensor
    return layers.Activation("linear", name=name, dtype=tensor.dtype.name)(tensor)


def _call(layer: tf.keras.layers.Layer, node: Any, values: dict[int, _Value]) -> list[tf.Tensor]:
    """Calls a copy of a layer with the new values of the arguments of the call `node`."""
    if node.is_input:
        return [layer.output]
    args, kwargs = tf.nest.map_structure(
        lambda x: values[id(x)].at(1.0) if id(x) in values else x,
        (node.call_args, node.call_kwargs),
    )
    return tf.nest.flatten(layer(*args, **kwargs))
