"""Builds the network from plain layers such as `QuantConv2D`, which Larq and LCE understand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import larq as lq
import tensorflow as tf

from larq_groupnet.network import names
from larq_groupnet.network.config import GroupNetConfig
from larq_groupnet.network.convolution import OnePaddedConv2D
from larq_groupnet.network.layers import Aggregate, Broadcast, ConstantPad2D, Resize, SoftGate
from larq_groupnet.network.ops import Ops
from larq_groupnet.network.quantizers import of_clipped_kernels, of_inputs
from larq_groupnet.network.synchronized import SynchronizedNorm

layers = tf.keras.layers

_VERY_SMALL = -65504.0  # The lowest float16, so that max-pooling never picks it at any precision.


class KerasOps(Ops):
    """Makes a Keras layer for each operation. `Ops` says what the operations do."""

    def __init__(self, config: GroupNetConfig):
        super().__init__(config)
        self._layers: dict[str, tf.keras.layers.Layer] = {}

    def _called(self, kind: type, x: tf.Tensor, name: str, *arguments: Any, **options: Any) -> Any:
        """Applies a layer to `x`: a new one, or the one of this name if bases share layers."""
        layer = self._layers.get(name) if self.config.shared_shortcut else None
        if layer is None:
            layer = self._layers[name] = kind(*arguments, name=name, **options)
        return layer(x)

    def channels(self, x: tf.Tensor) -> int:
        channels: int = x.shape[-1]
        return channels

    def conv(
        self,
        x: tf.Tensor,
        filters: int,
        kernel: int,
        name: str,
        *,
        stride: int = 1,
        rate: int = 1,
        bias: bool = False,
        padding: str = "same",
        initializer: str = "glorot_uniform",
    ) -> tf.Tensor:
        if padding == "torch":
            x = symmetric_pad(x, kernel, stride, 0.0, f"{name}_pad")
        return self._called(
            layers.Conv2D,
            x,
            name,
            filters,
            kernel,
            strides=stride,
            dilation_rate=rate,
            padding="valid" if padding == "torch" else padding,
            use_bias=bias,
            kernel_initializer=initializer,
        )

    def binary_conv(
        self, x: tf.Tensor, filters: int, kernel: int, name: str, *, stride: int = 1, rate: int = 1
    ) -> tf.Tensor:
        config = self.config
        quantizers: dict[str, Any] = {}
        if config.binary:
            kernels = of_clipped_kernels(config.kernel_quantizer)
            quantizers = {
                "input_quantizer": of_inputs(config.input_quantizer),
                "kernel_quantizer": kernels if config.binary is True else None,
                "kernel_constraint": "weight_clip",
            }
        else:
            x = self._called(layers.Activation, x, f"{name}_tanh", "tanh")
        # At stride 1 "same" is symmetric already.
        torch = config.padding == "torch" and stride > 1
        if torch:
            x = symmetric_pad(x, kernel, stride, 1.0, f"{name}_pad")
        ones = config.padding != "zero"
        # For padded convolutions without dilation: trains faster.
        faster = ones and not torch and kernel > 1 and rate == 1
        return self._called(
            OnePaddedConv2D if faster else lq.layers.QuantConv2D,
            x,
            name,
            filters,
            kernel,
            strides=stride,
            dilation_rate=rate,
            padding="valid" if torch else "same",
            pad_values=1.0 if ones else 0.0,
            use_bias=False,
            **quantizers,
        )

    def norm(self, x: tf.Tensor, name: str) -> tf.Tensor:
        """With several replicas, its moments are taken over the whole batch."""
        several = tf.distribute.get_strategy().num_replicas_in_sync > 1
        # TensorFlow merges convolution, fused normalisation and tanh into an operation that it does
        # not implement ("Fusion is not implemented: [FusedBatchNorm,Tanh]").
        meets_tanh = (
            name == names.STEM_NORM and self.config.binary is False and self.config.stem_stride < 4
        )
        options: dict[str, Any] = {
            "epsilon": self.config.batch_norm_epsilon,
            "momentum": self.config.batch_norm_momentum,
        }
        if several and not meets_tanh:
            return self._called(SynchronizedNorm, x, name, **options)
        if several:
            options["synchronized"] = True
        elif meets_tanh:
            options["fused"] = False
        return self._called(layers.BatchNormalization, x, name, **options)

    def relu(self, x: tf.Tensor, name: str) -> tf.Tensor:
        return layers.ReLU(name=name)(x)

    def add(self, tensors: Sequence[tf.Tensor], name: str) -> tf.Tensor:
        return layers.Add(name=name)(list(tensors))

    def concatenate(self, tensors: Sequence[tf.Tensor], name: str) -> tf.Tensor:
        return layers.Concatenate(name=name)(list(tensors))

    def gate(self, x: tf.Tensor, own: Sequence[tf.Tensor], name: str) -> list[tf.Tensor]:
        outputs: list[tf.Tensor] = SoftGate(self.config.gate == "base", name=name)([x, *own])
        return outputs

    def aggregate(self, tensors: Sequence[tf.Tensor], name: str) -> tf.Tensor:
        return Aggregate(self.config.aggregation == "scales", name=name)(list(tensors))

    def max_pool(
        self, x: tf.Tensor, size: int, stride: int, name: str, *, padding: str = "same"
    ) -> tf.Tensor:
        if padding == "torch":
            x = symmetric_pad(x, size, stride, _VERY_SMALL, f"{name}_pad")
        padding = "valid" if padding == "torch" else padding
        return layers.MaxPool2D(size, stride, padding, name=name)(x)

    def average_pool(self, x: tf.Tensor, size: int, name: str) -> tf.Tensor:
        return layers.AveragePooling2D(size, padding="same", name=name)(x)

    def global_pool(self, x: tf.Tensor, name: str, *, keepdims: bool = False) -> tf.Tensor:
        return layers.GlobalAveragePooling2D(keepdims=keepdims, name=name)(x)

    def broadcast(self, pixel: tf.Tensor, like: tf.Tensor, name: str) -> tf.Tensor:
        return Broadcast(name=name)([pixel, like])

    def resize(
        self, x: tf.Tensor, to: tf.Tensor | int, name: str, *, final: bool = False
    ) -> tf.Tensor:
        options: dict[str, Any] = {"dtype": self._final(final), "name": name}
        size = list(x.shape[1:3])
        if isinstance(to, int):
            factor, wanted = to, [side and side * to for side in size]
        else:
            wanted = list(to.shape[1:3])
            factor = 0 if None in wanted else wanted[0] // size[0]
        corners, whole = self.config.align_corners, wanted == [s and s * factor for s in size]
        if factor and whole and not corners:
            # Keras' own layer, which files and graphs of earlier versions have.
            return layers.UpSampling2D(factor, interpolation="bilinear", **options)(x)
        if None not in wanted:
            return Resize(wanted, corners, **options)(x)
        like = layers.UpSampling2D(to, name=f"{name}_size")(x) if isinstance(to, int) else to
        return Resize(None, corners, **options)([x, like])

    def dense(self, x: tf.Tensor, units: int, name: str, *, final: bool = False) -> tf.Tensor:
        return layers.Dense(units, dtype=self._final(final), name=name)(x)

    def dropout(self, x: tf.Tensor, name: str) -> tf.Tensor:
        kind = layers.SpatialDropout2D if self.config.spatial_dropout else layers.Dropout
        return kind(self.config.dropout, name=name)(x)

    def softmax(self, x: tf.Tensor, name: str) -> tf.Tensor:
        return layers.Activation("softmax", dtype=self._final(True), name=name)(x)

    @staticmethod
    def _final(final: bool) -> str | None:
        """The dtype of a layer: under a mixed policy the last layers compute in float32."""
        policy = tf.keras.mixed_precision.global_policy()
        return "float32" if final and policy.compute_dtype != "float64" else None


def symmetric_pad(x: tf.Tensor, kernel: int, stride: int, value: float, name: str) -> tf.Tensor:
    """Pads like PyTorch's `padding=kernel // 2`, without the rows that a stride never reads.

    Unread rows must go because the converter mistakes a symmetric pad before a strided convolution
    for TensorFlow's "same", which pads the other side. On an even size, a 7x7/2 convolution gets
    ((3, 2), (3, 2)), a 3x3/2 one ((1, 0), (1, 0)), and a 1x1 one nothing.
    """
    before = kernel // 2
    padding = []
    for size in x.shape[1:3]:
        outputs = (size + 2 * before - kernel) // stride + 1
        padding.append((before, max((outputs - 1) * stride + kernel - size - before, 0)))
    if not any(map(any, padding)):
        return x
    return ConstantPad2D(padding, value, name=name)(x)
