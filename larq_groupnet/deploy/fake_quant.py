"""Rewrites a folded network so that everything except its binary kernels is 8-bit integers.

LCE's converter uses integers for tensors whose range a fake-quant operation gives. So every tensor
that the file will hold, and every real kernel, is rounded here as in the file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import larq as lq
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from larq_groupnet.deploy.flatbuffer import ConversionError
from larq_groupnet.deploy.unshared import applied, copied, nodes_of
from larq_groupnet.network.convolution import OnePaddedConv2D
from larq_groupnet.network.layers import ConstantPad2D, Resize

layers = tf.keras.layers


@tf.keras.utils.register_keras_serializable("larq_groupnet")
class FakeQuant(tf.keras.layers.Layer):
    """Rounds to 256 levels over a range, which is a non-trainable weight.

    The gradient passes inside the range. Nothing is rounded while `active` is False.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.active = True

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates the weight `range`, which `quantize` sets."""
        self.range = self.add_weight(
            "range", (2,), initializer=tf.keras.initializers.Constant((0.0, 1.0)), trainable=False
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Rounds the inputs; shape and dtype stay."""
        if not self.active:
            return inputs
        return tf.quantization.fake_quant_with_min_max_vars(inputs, self.range[0], self.range[1])


@tf.keras.utils.register_keras_serializable("larq_groupnet")
class Int8Kernel(lq.quantizers.Quantizer):
    """Rounds a kernel to levels -127 to 127, where 127 is its largest absolute value.

    Args:
        per_channel: True for one range per channel of the last axis, False for one range in all.
    """

    precision = 8

    def __init__(self, per_channel: bool = True, **kwargs: Any):
        super().__init__(**kwargs)
        self.per_channel = per_channel

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Rounds the inputs; shape and dtype stay."""
        size = tf.abs(tf.stop_gradient(inputs))
        # A channel of zeros would have a scale of 0.
        limit = tf.maximum(tf.reduce_max(size), 1e-6)
        if not self.per_channel:
            return tf.quantization.fake_quant_with_min_max_vars(
                inputs, -limit, limit, narrow_range=True
            )
        limits = tf.maximum(tf.reduce_max(size, range(len(size.shape) - 1)), 1e-6 * limit)
        return tf.quantization.fake_quant_with_min_max_vars_per_channel(
            inputs, -limits, limits, narrow_range=True
        )

    def get_config(self) -> dict[str, Any]:
        """The configuration that Keras saves."""
        return {**super().get_config(), "per_channel": self.per_channel}


class _Value:
    """A tensor of the new model, rounded on the first request.

    Args:
        tensor: The tensor, before it is rounded.
        quant: The layer that rounds it.
        fuses: Types of layers that LCE would fuse with the layer that computes this tensor.
    """

    def __init__(self, tensor: tf.Tensor, quant: FakeQuant, fuses: tuple[type, ...] = ()):
        self.tensor = tensor
        self.quant = quant
        self.fuses = fuses
        self._rounded: tf.Tensor | None = None

    def rounded(self) -> tf.Tensor:
        """The tensor, rounded as in the file."""
        if self._rounded is None:
            self._rounded = self.quant(self.tensor)
        return self._rounded


class Rewriter:
    """Builds the fake-quantised version of a folded model, layer by layer.

    Attributes:
        softmaxes: Layers that round probabilities, for which TFLite prescribes the range.
        pads: Padding layers, each with the layer that rounds its result.
        joined: Name of a layer that rounds several tensors -> their concatenation, which sets the
            range.
    """

    def __init__(self, folded: tf.keras.Model):
        self._folded = folded
        self._nodes = nodes_of(folded)
        self._readers: dict[int, list[Any]] = defaultdict(list)
        for node in self._nodes:
            for x in node.keras_inputs:
                self._readers[id(x)].append(node)
        for x in folded.outputs:
            self._readers[id(x)].append(None)
        self._left: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}
        self.softmaxes: list[FakeQuant] = []
        self.pads: list[tuple[ConstantPad2D, FakeQuant]] = []
        self.joined: dict[str, tf.Tensor] = {}

    def model(self) -> tf.keras.Model:
        """Builds the model, whose ranges are not set yet."""
        values: dict[int, _Value] = {}
        for node in self._nodes:
            rule = self._rule(node)
            value = rule(node, *(values[id(x)] for x in node.keras_inputs))
            if len(self._readers[id(node.outputs)]) != 1:
                value.fuses = ()  # LCE fuses only tensors with a single reader.
            values[id(node.outputs)] = value
        return tf.keras.Model(
            values[id(self._folded.input)].tensor,
            values[id(self._folded.output)].rounded(),
            name=self._folded.name,
        )

    def _rule(self, node: Any) -> Callable[..., _Value]:
        layer = node.layer
        rules: dict[type, Callable[..., _Value]] = {
            layers.InputLayer: self._input,
            layers.Activation: self._activation,
            layers.Add: self._add,
            layers.BatchNormalization: self._batch_norm,
            layers.Concatenate: self._concatenate,
            layers.Conv2D: self._real,
            layers.Dense: self._real,
            layers.GlobalAveragePooling2D: self._rounded_again,
            layers.MaxPooling2D: self._same_range,
            layers.ReLU: self._relu,
            layers.Rescaling: self._rounded_again,
            layers.UpSampling2D: self._same_range,
            Resize: self._same_range,
            ConstantPad2D: self._same_range,
            lq.layers.QuantConv2D: self._binary,
            OnePaddedConv2D: self._binary,
        }
        if type(layer) not in rules:
            kinds = ", ".join(kind.__name__ for kind in rules)
            raise _refused(layer, f"expected one of {kinds}")
        called = tf.nest.flatten(node.call_args)
        if not node.is_input and len(called) != len(node.keras_inputs):
            raise _refused(layer, "expected a layer that is called on tensors only")
        return rules[type(layer)]

    def _input(self, node: Any) -> _Value:
        return _Value(node.outputs, _quant(node.layer.name))

    def _activation(self, node: Any, x: _Value) -> _Value:
        layer = node.layer
        if layer.activation is tf.keras.activations.linear:
            return x
        if layer.activation is not tf.keras.activations.softmax:
            raise _refused(layer, "expected a softmax, or a ReLU as layers.ReLU")
        quant = _quant(layer.name)
        self.softmaxes.append(quant)
        return _Value(copied(layer)(x.rounded()), quant)

    def _add(self, node: Any, *inputs: _Value) -> _Value:
        """Adds two tensors at a time, because each sum is a tensor of the file with a range."""
        name = node.layer.name
        total = inputs[0]
        for k, x in enumerate(inputs[1:], 2):
            part = name if k == len(inputs) else f"{name}_first{k}"
            total = _Value(layers.Add(name=part)([total.rounded(), x.rounded()]), _quant(part))
        return total

    def _binary(self, node: Any, x: _Value) -> _Value:
        layer = node.layer
        if layer.input_quantizer is None or layer.kernel_quantizer is None:
            raise _refused(
                layer, "expected a binary convolution; build the network with binary=True"
            )
        return _Value(
            applied(layer, x.rounded()),
            _quant(layer.name),
            (layers.ReLU, layers.BatchNormalization),
        )

    def _real(self, node: Any, x: _Value) -> _Value:
        layer = node.layer
        if layer.activation is not tf.keras.activations.linear or getattr(layer, "groups", 1) > 1:
            raise _refused(layer, "expected no groups, and activations as separate layers")
        kernel, *bias = layer.get_weights()
        scale, offset = self._factors_behind(node, kernel.shape[-1])
        config = {**layer.get_config(), "use_bias": True}
        if isinstance(layer, layers.Dense):
            config["kernel_quantizer"] = Int8Kernel(per_channel=False)
            copy = lq.layers.QuantDense.from_config(config)
        else:
            config["kernel_quantizer"] = Int8Kernel()
            copy = lq.layers.QuantConv2D.from_config(config)
        tensor = copy(x.rounded())
        copy.set_weights([kernel * scale, sum(bias) * scale + offset])
        return _Value(tensor, _quant(layer.name), (layers.ReLU,))

    def _factors_behind(self, node: Any, width: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """The part of the next batch normalisation that this kernel and bias can absorb.

        A positive factor can also pass a max-pool, and so can the offset if the factors of all
        channels are positive.
        """
        ones, zeros = np.ones(width), np.zeros(width)
        after = self._only_reader(node)
        pooled = after is not None and isinstance(after.layer, layers.MaxPooling2D)
        if pooled:
            after = self._only_reader(after)
        if after is None or type(after.layer) is not layers.BatchNormalization:
            return ones, zeros
        scale, offset = _affine(after.layer)
        if not pooled or (scale > 0).all():
            self._left[after.layer.name] = ones, zeros
            return scale, offset
        size = np.where(scale == 0, 1, np.abs(scale))
        self._left[after.layer.name] = scale / size, offset
        return size, zeros

    def _only_reader(self, node: Any) -> Any:
        readers = self._readers[id(node.outputs)]
        return readers[0] if len(readers) == 1 else None

    def _batch_norm(self, node: Any, x: _Value) -> _Value:
        layer = node.layer
        if layers.BatchNormalization in x.fuses:
            return _Value(applied(layer, x.tensor), _quant(layer.name))
        scale, offset = self._left.get(layer.name) or _affine(layer)
        if (scale == 1).all() and not offset.any():
            return x
        if len(x.tensor.shape) != 4:
            raise _refused(layer, "expected a batch normalisation of maps, or after a dense layer")
        copy = lq.layers.QuantDepthwiseConv2D(
            1, depthwise_quantizer=Int8Kernel(per_channel=False), name=layer.name
        )
        tensor = copy(x.rounded())
        copy.set_weights([scale.reshape(1, 1, -1, 1), offset])
        return _Value(tensor, _quant(layer.name))

    def _relu(self, node: Any, x: _Value) -> _Value:
        layer = node.layer
        if layer.max_value not in (None, 6) or layer.threshold or layer.negative_slope:
            raise _refused(layer, "expected a plain ReLU or ReLU6")
        fused = layers.ReLU in x.fuses
        tensor = copied(layer)(x.tensor if fused else x.rounded())
        binary = layers.BatchNormalization in x.fuses
        return _Value(tensor, _quant(layer.name), (layers.BatchNormalization,) if binary else ())

    def _rounded_again(self, node: Any, x: _Value) -> _Value:
        return _Value(copied(node.layer)(x.rounded()), _quant(node.layer.name))

    def _concatenate(self, node: Any, *inputs: _Value) -> _Value:
        """Rounds inputs that only it reads to its own range.

        LCE does not rescale the outputs of its convolutions.
        """
        quant = _quant(node.layer.name)
        tensors = [
            quant(x.tensor)
            if len(self._readers[id(given)]) == 1 and not x.quant.inbound_nodes
            else x.rounded()
            for given, x in zip(node.keras_inputs, inputs, strict=True)
        ]
        self.joined[quant.name] = copied(node.layer)(tensors)
        return _Value(self.joined[quant.name], quant)

    def _same_range(self, node: Any, x: _Value) -> _Value:
        """Copies a layer that TFLite runs on integers without rescaling them."""
        copy = copied(node.layer)
        if isinstance(copy, ConstantPad2D):
            self.pads.append((copy, x.quant))
        return _Value(copy(x.rounded()), x.quant)


def _affine(layer: tf.keras.layers.Layer) -> tuple[NDArray[Any], NDArray[Any]]:
    """A batch normalisation as factors and offsets per channel."""
    mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    scale = 1 / np.sqrt(variance.astype(np.float64) + layer.epsilon)
    if layer.scale:
        scale *= layer.gamma.numpy()
    return scale, (layer.beta.numpy() if layer.center else 0.0) - mean * scale


def _quant(name: str) -> FakeQuant:
    return FakeQuant(name=f"{name}_int8")


def _refused(layer: tf.keras.layers.Layer, cause: str) -> ConversionError:
    return ConversionError(
        f"quantize: {layer.name} cannot be int8: {cause}. Received: {type(layer).__name__}"
    )
