"""What makes a first binary network learn badly is named, and a right one is not blamed."""

import larq as lq
import numpy as np
import pytest
import tensorflow as tf

from larq_groupnet import GroupNetConfig, build
from larq_groupnet.deploy import advise, audit

layers = tf.keras.layers

BINARY = {
    "kernel_quantizer": "ste_sign",
    "input_quantizer": "ste_sign",
    "kernel_constraint": "weight_clip",
    "use_bias": False,
    "padding": "same",
    "pad_values": 1.0,
}


def conv(**options):
    return lq.layers.QuantConv2D(8, 3, name="conv", **{**BINARY, **options})


def network(*parts):
    first, last = layers.Conv2D(8, 3, name="first"), layers.Dense(3, name="last")
    return tf.keras.Sequential([layers.Input((8, 8, 3)), first, *parts, last])


def normalisation(name="bn", **values):
    return layers.BatchNormalization(name=name, **values)


WEAK = {
    "is never negative": (
        "conv",
        lambda: network(normalisation(), layers.ReLU(), layers.MaxPooling2D(), conv()),
    ),
    "the first layer is binary": (
        "conv",
        lambda: tf.keras.Sequential(
            [layers.Input((8, 8, 3)), normalisation(), conv(), layers.Dense(3, name="last")]
        ),
    ),
    "which is not normalised": ("conv", lambda: network(conv())),
    "the last layer is binary": (
        "conv",
        lambda: tf.keras.Sequential(
            [layers.Input((8, 8, 3)), layers.Conv2D(8, 3), normalisation(), conv()]
        ),
    ),
    "3 of its 8 channels never change sign": (
        "bn",
        lambda: network(
            normalisation(
                gamma_initializer=lambda shape, dtype=None: np.array([0, 0, 0, 1, 1, 1, 1, 1], "f4")
            ),
            conv(),
        ),
    ),
    "8 of its 8 channels never change sign before second": (
        "conv",
        lambda: network(
            normalisation(),
            conv(use_bias=True, bias_initializer=tf.keras.initializers.Constant(73.0)),
            lq.layers.QuantConv2D(8, 3, name="second", **BINARY),
        ),
    ),
}


@pytest.mark.parametrize("cause", WEAK)
def test_weak_network_is_named_with_a_remedy(cause):
    layer, make = WEAK[cause]
    found = [finding for finding in advise(make()) if cause in finding.cause]
    assert [(finding.layer, finding.severity) for finding in found] == [(layer, "weak")]
    assert found[0].remedy


@pytest.mark.parametrize("decomposition", ["gated", "layer"])
def test_networks_of_this_package_get_no_advice(decomposition):
    config = GroupNetConfig(
        input_shape=(32, 32, 3), num_classes=3, num_bases=2, width=0.0625, output_stride=8,
        decomposition=decomposition, layout="two_stages",
    )  # fmt: skip
    model = build(config)
    assert audit(model) == advise(model) == []


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("name", ["net.keras", "net.h5", "net"])
def test_whole_keras_models_are_audited_and_converted(name, tmp_path, capsys):
    from larq_groupnet import cli

    model = network(normalisation(), conv(), normalisation("after"), layers.Flatten())
    model.save(tmp_path / name)
    assert cli.main(["audit", str(tmp_path / name)]) == 0
    assert "nothing found" in capsys.readouterr().out
    file = tmp_path / "net.tflite"
    assert cli.main(["convert", str(tmp_path / name), f"--output={file}"]) == 0
    from larq_groupnet.deploy import count_ops

    assert count_ops(file)["LceBconv2d"] == 1


def test_file_that_keras_cannot_load_is_one_line(tmp_path, capsys):
    from larq_groupnet import cli

    (tmp_path / "bad.keras").write_bytes(b"nothing")
    assert cli.main(["audit", str(tmp_path / "bad.keras")]) == 2
    assert "a whole model saved by Keras" in capsys.readouterr().err
