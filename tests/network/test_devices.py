"""Operations that were tuned on a CPU are used there alone."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from larq_groupnet.network.convolution import OnePaddedConv2D
from larq_groupnet.network.devices import only_cpus
from larq_groupnet.network.quantizers import FastSteSign, of_clipped_kernels

Device = collections.namedtuple("Device", "device_type")


def step():
    """Operations and values of a training step of a binary convolution on a small map."""
    layer = OnePaddedConv2D(
        4,
        3,
        input_quantizer=FastSteSign(),
        kernel_quantizer=of_clipped_kernels("ste_sign"),
        kernel_constraint="weight_clip",
        padding="same",
        pad_values=1.0,
        use_bias=False,
        kernel_initializer=tf.keras.initializers.RandomUniform(-1, 1, seed=0),
    )
    layer.build((None, 4, 4, 3))

    @tf.function
    def gradients(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(y * y)
        return y, *tape.gradient(loss, [x, layer.trainable_weights[0]])

    x = tf.constant(np.random.default_rng(0).normal(size=(2, 4, 4, 3)), "float32")
    operations = gradients.get_concrete_function(x).graph.get_operations()
    return {op.type for op in operations}, [value.numpy() for value in gradients(x)]


@pytest.mark.parametrize("accelerator", ["GPU", "TPU"])
def test_accelerator_gets_plain_operations_of_the_same_values(monkeypatch, accelerator):
    tuned, expected = step()
    devices = [Device("CPU"), Device(accelerator)]
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda: devices)
    plain, received = step()
    assert "GatherV2" in tuned and "SelectV2" not in tuned
    assert "GatherV2" not in plain and "SelectV2" in plain
    for one, other in zip(received, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_gpu_that_is_hidden_does_not_count(monkeypatch):
    assert only_cpus()
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda: [Device("CPU"), Device("GPU")])
    assert not only_cpus()
