"""A faster version of Larq's `ste_sign` for training."""

from __future__ import annotations

from typing import Any

import larq as lq
import tensorflow as tf

from larq_groupnet.autograph import as_written
from larq_groupnet.network.devices import only_cpus
from larq_groupnet.network.precision import QUANTIZERS


@lq.utils.register_keras_custom_object  # HDF5 files hold only the name.
@tf.keras.utils.register_keras_serializable("larq_groupnet")
class FastSteSign(lq.quantizers.SteSign):
    """Larq's `SteSign` with a faster gradient: a product with a mask instead of `tf.where`.

    On a CPU, `tf.where` takes six times longer in bfloat16 (`benchmarks/README.md`). On an
    accelerator this is plain `SteSign`. The values are the same, unless a gradient is infinite: it
    is then not a number where `SteSign` gives 0.
    """

    @as_written
    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns -1 where `inputs < 0`, else +1, in the same shape."""
        if self.clip_value is None or not only_cpus():
            return super().call(inputs)

        @tf.custom_gradient
        def sign(x: tf.Tensor) -> Any:
            def gradient(dy: tf.Tensor) -> tf.Tensor:
                return dy * tf.cast(tf.abs(x) <= self.clip_value, dy.dtype)

            return lq.math.sign(x), gradient

        return super(lq.quantizers.SteSign, self).call(sign(inputs))


CLASSES = {type(lq.quantizers.get(name)): facts for name, facts in QUANTIZERS.items()}
"""Class of a quantizer -> its facts."""

CLASSES[FastSteSign] = QUANTIZERS["ste_sign"]


def has_latent_kernel(layer: tf.keras.layers.Layer) -> bool:
    """True if the layer quantises its kernel to a few levels. int8 layers do not."""
    quantizer = getattr(layer, "kernel_quantizer", None)
    return quantizer is not None and getattr(quantizer, "precision", 1) != 8


def of_inputs(quantizer: Any) -> Any:
    """The quantizer for inputs: `FastSteSign` for `"ste_sign"`, else the one given."""
    return FastSteSign() if quantizer == "ste_sign" else quantizer


def of_clipped_kernels(quantizer: Any) -> Any:
    """The quantizer for kernels that a constraint keeps within [-1, 1].

    There, `ste_sign` passes the gradient unchanged. Checking the range of every weight would take
    5 % of a training step (`benchmarks/README.md`).
    """
    return lq.quantizers.SteSign(clip_value=None) if quantizer == "ste_sign" else quantizer
