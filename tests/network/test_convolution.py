"""The convolution of a training step against Larq's own `QuantConv2D`."""

import larq as lq
import numpy as np
import pytest
import tensorflow as tf

from larq_groupnet import GroupNetConfig, build
from larq_groupnet.network.convolution import OnePaddedConv2D

BINARY = {
    "input_quantizer": "ste_sign",
    "kernel_quantizer": "ste_sign",
    "kernel_constraint": "weight_clip",
}
SHAPES = {  # (height, width), stride, dilation; up to 16 pixels are a product of matrices.
    "small": ((2, 2), 1, 1),
    "small, stride": ((8, 7), 2, 1),
    "large": ((6, 5), 1, 1),
    "large, stride": ((10, 9), 2, 1),
    "dilated": ((9, 12), 1, 3),
}


def pair(size, stride, rate, **quantizers):
    """Larq's layer and ours, with the same weights."""
    options = {"padding": "same", "pad_values": 1.0, "use_bias": False}
    options |= {"strides": stride, "dilation_rate": rate, **quantizers}
    kinds = lq.layers.QuantConv2D, OnePaddedConv2D
    theirs, ours = (kind(4, 3, **options) for kind in kinds)
    for layer in (theirs, ours):
        layer.build((None, *size, 5))
    kernel = np.random.default_rng(0).uniform(-1.2, 1.2, (3, 3, 5, 4))
    theirs.set_weights([kernel])
    ours.set_weights([kernel])
    return theirs, ours


def outcome(layer, x, **options):
    """Output, gradient of the input, gradient of the kernel."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, **options)
        loss = tf.reduce_sum(tf.sin(y) * y)
    return [value.numpy() for value in (y, *tape.gradient(loss, [x, layer.trainable_weights[0]]))]


@pytest.mark.parametrize("quantizers", [BINARY, {}], ids=["binary", "real"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_training_gives_what_larq_gives(float64, shape, quantizers):
    theirs, ours = pair(*shape, **quantizers)
    x = tf.constant(np.random.default_rng(1).normal(size=(3, *shape[0], 5)))
    for received, expected in zip(outcome(ours, x, training=True), outcome(theirs, x), strict=True):
        np.testing.assert_allclose(received, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": (3, 5)},
        {"strides": (1, 2)},
        {"groups": 2},
        {"activation": "relu"},
        {"use_bias": True, "bias_initializer": "ones"},
        {"padding": "valid"},
        {"pad_values": 0.0},
    ],
    ids=str,
)
def test_options_that_the_networks_do_not_use_give_what_larq_gives(options):
    options = {"kernel_size": 3, "padding": "same", "pad_values": 1.0, **BINARY, **options}
    ours, theirs = OnePaddedConv2D(4, **options), lq.layers.QuantConv2D(4, **options)
    x = tf.random.stateless_normal((2, 4, 4, 6), (0, 1))
    ours(x), theirs(x)
    ours.set_weights(theirs.get_weights())
    np.testing.assert_array_equal(ours(x, training=True), theirs(x))


def test_binary_values_are_the_same_bits_in_training_and_at_inference():
    theirs, ours = pair((4, 4), 1, 1, **BINARY)
    x = tf.random.stateless_normal((8, 4, 4, 5), (0, 1))
    np.testing.assert_array_equal(ours(x, training=True), theirs(x))


@pytest.mark.parametrize("size", [(4, 4), (None, None)])
def test_convolution_is_larqs_at_inference_and_at_unknown_sizes(size):
    spec = tf.TensorSpec((2, *size, 5))
    theirs, ours = pair((4, 4), 1, 1, **BINARY)

    def operations(layer, **options):
        function = tf.function(lambda x: layer(x, **options)).get_concrete_function(spec)
        return [operation.type for operation in function.graph.get_operations()]

    training = {"training": True} if None in size else {}
    assert operations(ours, **training) == operations(theirs)


def test_network_keeps_every_convolution_plain_to_larq():
    options = {"input_shape": (32, 32, 1), "num_bases": 2, "output_stride": 8, "width": 0.0625}
    model = build(GroupNetConfig(layout="two_stages", **options))
    found = [layer for layer in model.layers if isinstance(layer, lq.layers.QuantConv2D)]
    assert len(found) == 2 * (4 + 1)
    assert lq.models.ModelProfile(model).op_count("mac", 1) > 0
    again = tf.keras.Model.from_config(model.get_config())
    assert [type(layer) for layer in again.layers] == [type(layer) for layer in model.layers]


def test_latent_kernels_are_read_behind_an_error_in_a_layer():
    layer = OnePaddedConv2D(4, 3, padding="same", pad_values=1.0, **BINARY)
    layer.build((None, 8, 8, 3))
    latent = layer.get_weights()[0]
    assert (np.abs(latent) < 1).all()
    with pytest.raises(Exception, match="channels|depth"):
        layer.call(tf.ones((1, 8, 8, 5)))
    np.testing.assert_array_equal(layer.get_weights()[0], latent)
