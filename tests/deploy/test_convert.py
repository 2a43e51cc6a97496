"""Conversion: every binary convolution stays binary, and the file computes the same."""

import larq as lq
import numpy as np
import pytest
import tensorflow as tf

import larq_groupnet
from larq_groupnet.deploy import ConversionError, convert, count_ops, load_interpreter


def randomise_batch_norm(model, seed=0):
    """Statistics as after training: activations that are neither all positive nor all negative."""
    rng = np.random.RandomState(seed)
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            width = layer.gamma.shape[0]
            layer.set_weights(
                [
                    rng.uniform(0.5, 1.5, width),
                    rng.normal(0, 0.5, width),
                    rng.normal(0, 0.5, width),
                    rng.uniform(0.5, 20, width),
                ]
            )


@pytest.mark.parametrize(
    ("options", "bases"),
    [
        ({"num_bases": 3, "atrous_rates": (1, 1, "1-3", "2-4")}, 3),
        pytest.param({"num_bases": 2, "padding": "torch"}, 2, marks=pytest.mark.slow),
    ],
)
def test_the_file_computes_what_the_model_computes(tmp_path, options, bases):
    tf.keras.utils.set_random_seed(0)
    model = larq_groupnet.GroupNetDSP(
        input_shape=(64, 64, 3), num_classes=5, width=0.125, **options
    )
    randomise_batch_norm(model)
    path = convert(model, tmp_path / "model.tflite")

    # 16 convolutions and 3 shortcuts in a ResNet-18; stem and head are real.
    ops = count_ops(path)
    assert ops["LceBconv2d"] == 19 * bases
    assert ops["CONV_2D"] == 3
    assert ops["LceDequantize"] == 0

    images = np.random.RandomState(0).uniform(-1, 1, (4, 64, 64, 3)).astype(np.float32)
    expected = model.predict(images, verbose=0)
    converted = load_interpreter(path).predict(images)
    # Values within rounding of 0 may flip a sign and move their neighbourhood.
    assert np.mean(np.abs(converted - expected) < 1e-3 * np.abs(expected).max()) > 0.98
    assert np.mean(converted.argmax(-1) == expected.argmax(-1)) > 0.99
    assert len(np.unique(expected.argmax(-1))) > 1


def test_an_unknown_size_is_refused(tmp_path):
    model = larq_groupnet.GroupNetDSP(input_shape=(None, None, 3), num_bases=1, width=0.0625)
    with pytest.raises(ConversionError, match="fixed input size"):
        convert(model, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


def test_a_convolution_that_is_not_binary_for_lce_is_refused(tmp_path):
    model = tf.keras.Sequential(
        [
            lq.layers.QuantConv2D(
                32, 3, input_quantizer="ste_sign", kernel_quantizer="ste_tern", use_bias=False
            )
        ]
    )
    model.build((1, 8, 8, 32))
    with pytest.raises(ConversionError, match="at most 0 float convolutions.*Received: 1"):
        convert(model, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())
