"""The custom Keras layers of Group-Net, all without convolutions: gates, aggregates, padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from larq_groupnet.autograph import as_written


@tf.keras.utils.register_keras_serializable("larq_groupnet")
class Aggregate(tf.keras.layers.Layer):
    """`sum_k lambda_k x_k` with learned scalars, or the mean over the K bases.

    Input: list of K tensors `(batch, height, width, channels)`. Output: one such tensor.
    The scales start at `1/K`, so that a new network averages.

    Args:
        learned: True to learn the scales (conference paper), False for the mean (journal).
    """

    def __init__(self, learned: bool = True, **kwargs: Any):
        super().__init__(**kwargs)
        self.learned = learned

    def build(self, input_shape: Sequence[tf.TensorShape]) -> None:
        if self.learned:
            count = len(_as_list(input_shape))
            self.scales = self.add_weight(
                "scales", shape=(count,), initializer=tf.keras.initializers.Constant(1 / count)
            )
        super().build(input_shape)

    @as_written
    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        inputs = _as_list(inputs)
        if self.learned:
            scales = tf.unstack(self.scales)
            return _sum([scale * x for scale, x in zip(scales, inputs, strict=True)])
        return _sum(inputs) * (1 / len(inputs))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "learned": self.learned}


@tf.keras.utils.register_keras_serializable("larq_groupnet")
class SoftGate(tf.keras.layers.Layer):
    """`x_k = sigmoid(theta) * own_k + (1 - sigmoid(theta)) * aggregate` for each base k.

    Input: list of the aggregate and the K previous outputs of the bases, all of shape
    `(batch, height, width, channels)`. Output: list of the K inputs of the next block.
    `theta` starts uniform in [0, 1) (as in the released code): a sigmoid of 0.5 to 0.73.

    Args:
        per_base: One theta per base (paper, as recalled) instead of one per block (released code).
    """

    def __init__(self, per_base: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.per_base = per_base

    def build(self, input_shape: Sequence[tf.TensorShape]) -> None:
        self.theta = self.add_weight(
            "theta",
            shape=(len(input_shape) - 1 if self.per_base else 1,),
            initializer=tf.keras.initializers.RandomUniform(0.0, 1.0),
        )
        super().build(input_shape)

    @as_written
    def call(self, inputs: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        aggregate, *own = inputs
        theta = self.theta if self.per_base else tf.broadcast_to(self.theta, [len(own)])
        sigma = tf.sigmoid(theta)
        shares = zip(tf.unstack(sigma), tf.unstack(1 - sigma), own, strict=True)
        return [of_own * x + of_all * aggregate for of_own, of_all, x in shares]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "per_base": self.per_base}


@tf.keras.utils.register_keras_serializable("larq_groupnet")
class ConstantPad2D(tf.keras.layers.Layer):
    """Pads height and width with a constant.

    Args:
        padding: `((top, bottom), (left, right))` in pixels.
        value: The constant.
    """

    def __init__(self, padding: Sequence[Sequence[int]], value: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.padding = tuple(tuple(p) for p in padding)
        self.value = value

    @as_written
    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.pad(inputs, [(0, 0), *self.padding, (0, 0)], constant_values=self.value)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "padding": self.padding, "value": self.value}


@tf.keras.utils.register_keras_serializable("larq_groupnet")
class Broadcast(tf.keras.layers.Layer):
    """Repeats one pixel over a map.

    Input: list of `(batch, 1, 1, channels)` and a map `(batch, height, width, channels)`, read only
    for its shape. Output: a map of this shape.
    """

    @as_written
    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        pixel, like = inputs
        return tf.ensure_shape(tf.broadcast_to(pixel, tf.shape(like)), like.shape)


@tf.keras.utils.register_keras_serializable("larq_groupnet")
class Resize(tf.keras.layers.Layer):
    """Resizes a map by bilinear interpolation.

    Input: a map `(batch, height, width, channels)`; without `size`, a list of this map and another
    one of the wanted size. Output: `(batch, *size, channels)`.

    Args:
        size: Height and width of the output, in pixels.
        align_corners: True to align the centres of the corner pixels, False to align the corners of
            the maps ("half-pixel centres").
    """

    def __init__(
        self, size: Sequence[int] | None = None, align_corners: bool = False, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.size = None if size is None else tuple(size)
        self.align_corners = align_corners

    @as_written
    def call(self, inputs: Any) -> tf.Tensor:
        x, *like = _as_list(inputs)
        known = tuple(like[0].shape[1:3]) if self.size is None else self.size
        size = known if None not in known else tf.shape(like[0])[1:3]
        if x.dtype == tf.float64:  # TensorFlow's operation does not support it.
            rows, columns = (
                _interpolation(tf.shape(x)[axis + 1], size[axis], self.align_corners)
                for axis in (0, 1)
            )
            y = tf.einsum("ih,jw,bhwc->bijc", rows, columns, x)
        else:
            y = tf.raw_ops.ResizeBilinear(
                images=x,
                size=size,
                align_corners=self.align_corners,
                half_pixel_centers=not self.align_corners,
            )
        return tf.ensure_shape(tf.cast(y, x.dtype), (x.shape[0], *known, x.shape[-1]))

    def get_config(self) -> dict[str, Any]:
        own = {"size": self.size, "align_corners": self.align_corners}
        return {**super().get_config(), **own}


def _interpolation(length: tf.Tensor, wanted: Any, align_corners: bool) -> tf.Tensor:
    """The weight of each input pixel in each output pixel, `(wanted, length) float64`."""
    length, wanted = tf.cast(length, tf.float64), tf.cast(wanted, tf.float64)
    places = tf.range(wanted)
    if align_corners:
        places *= (length - 1) / tf.maximum(wanted - 1, 1)
    else:
        places = tf.clip_by_value((places + 0.5) * length / wanted - 0.5, 0, length - 1)
    return tf.maximum(1 - tf.abs(places[:, None] - tf.range(length)), 0)


def _as_list(values: Any) -> list[Any]:
    """Keras unwraps a list of one when it rebuilds a model from its config."""
    return list(values) if isinstance(values, list | tuple) else [values]


def _sum(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """A chain of ADDs: on ARM, TFLite's ADD_N of five maps takes 1.3 times the instructions."""
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total
