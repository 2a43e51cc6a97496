"""Every trap built on purpose: named by the audit, and seen to be one in the converted file."""

import os

import larq as lq
import larq_zoo
import numpy as np
import pytest
import tensorflow as tf

from larq_groupnet.deploy import (
    ConversionError,
    advise,
    audit,
    convert,
    count_ops,
    load_interpreter,
    quantize,
    verify,
    with_input_shape,
)
from larq_groupnet.deploy.export import to_tflite
from larq_groupnet.deploy.padding import shifted_paddings
from larq_groupnet.network.layers import ConstantPad2D

layers = tf.keras.layers

ONE = ((1, 1), (1, 1))


def sign():
    return lq.quantizers.SteSign(name="sign")


def conv(**options):
    defaults = {
        "filters": 32,
        "kernel_size": 3,
        "padding": "same",
        "pad_values": 1.0,
        "input_quantizer": "ste_sign",
        "kernel_quantizer": "ste_sign",
        "kernel_constraint": "weight_clip",
        "use_bias": False,
        "name": "conv",
    }
    return lq.layers.QuantConv2D(**{**defaults, **options})


def network(*parts, size=8, channels=32):
    tf.keras.utils.set_random_seed(0)
    inputs = x = layers.Input((size, size, channels))
    for part in parts:
        x = part(x)
    return tf.keras.Model(inputs, x, name="net")


def error_of(model, content):
    """Largest difference between Keras and the file, relative to the largest output."""
    images = np.random.RandomState(0).randn(2, *model.input_shape[1:]).astype("f4")
    expected = model(images).numpy()
    return np.abs(load_interpreter(content).predict(images) - expected).max() / expected.max()


def brief(findings):
    return [(finding.layer, finding.severity, finding.cause.split(":")[0]) for finding in findings]


def halved(x, kernel):
    return tf.nn.conv2d(tf.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)]), kernel, 2, "VALID")


class Halved(layers.Layer):
    """A convolution that Keras does not know of."""

    def build(self, shape):
        self.kernel = self.add_weight("kernel", (3, 3, shape[-1], 8))

    def call(self, x):
        return halved(x, self.kernel)


def with_call(function):
    layer = layers.Activation("linear", name="conv")
    layer.call = function
    return layer


WRONG = {
    "float symmetric pad": (
        lambda: network(ConstantPad2D(ONE), layers.Conv2D(8, 3, 2, name="conv")),
        "float symmetric pad at stride 2",
    ),
    "float symmetric pad of one axis": (
        lambda: network(layers.ZeroPadding2D(1), layers.Conv2D(8, 3, (2, 1), name="conv")),
        "float symmetric pad at stride 2",
    ),
    "float symmetric tf.pad": (
        lambda: network(
            lambda x: tf.pad(x, [(0, 0), (3, 3), (3, 3), (0, 0)]),
            layers.Conv2D(8, 7, 2, name="conv"),
        ),
        "float symmetric pad at stride 2",
    ),
    "depthwise": (
        lambda: network(layers.ZeroPadding2D(1), layers.DepthwiseConv2D(3, 2, name="conv")),
        "float symmetric pad at stride 2",
    ),
    "stride 3": (
        lambda: network(
            layers.ZeroPadding2D(((1, 2), (1, 2))), layers.Conv2D(8, 3, 3, name="conv")
        ),
        "float symmetric pad at stride 3",
    ),
    "float symmetric pad of a layer of one's own": (
        lambda: network(Halved(name="conv")),
        "float symmetric pad at stride 2",
    ),
    "float symmetric pad of a Lambda": (
        lambda: network(layers.Lambda(lambda x: halved(x, tf.ones((3, 3, 32, 8))), name="conv")),
        "float symmetric pad at stride 2",
    ),
    "float symmetric pad of an activation": (
        lambda: network(
            layers.Activation(lambda x: halved(x, tf.ones((3, 3, 32, 8))), name="conv")
        ),
        "float symmetric pad at stride 2",
    ),
    "float symmetric pad of another call": (
        lambda: network(with_call(lambda x: halved(x, tf.ones((3, 3, 32, 8))))),
        "float symmetric pad at stride 2",
    ),
    "sign, then pad": (
        lambda: network(
            sign(),
            ConstantPad2D(ONE, 1.0),
            conv(strides=2, padding="valid", input_quantizer=None),
        ),
        "sign then symmetric pad at stride 2",
    ),
    "ternary input": (
        lambda: network(conv(input_quantizer="ste_tern")),
        "quantizer LCE does not know",
    ),
    "zeros on a small map": (
        lambda: network(conv(pad_values=0.0), size=2),
        "zero padding of a map of 2 x 2, which is smaller than the kernel of 3 x 3",
    ),
    "zeros and a large dilation": (
        lambda: network(conv(pad_values=0.0, dilation_rate=4)),
        "zero padding of a map of 8 x 8, which is smaller than the kernel of 9 x 9",
    ),
}


@pytest.mark.parametrize("trap", WRONG)
def test_audit_finds_silent_errors(trap):
    build, cause = WRONG[trap]
    model = build()
    content = to_tflite(model)
    assert error_of(model, content) > 0.1
    assert brief(audit(model)) == [("conv", "wrong", cause)]
    assert brief(audit(model, content)) == [("conv", "wrong", cause)]


RIGHT = {
    "same": lambda: network(conv(strides=2)),
    "function as quantizer": lambda: network(conv(input_quantizer=lq.math.sign)),
    "pad before the quantizer": lambda: network(
        ConstantPad2D(ONE, 1.0), conv(strides=2, padding="valid")
    ),
    "sign, then pad at stride 1": lambda: network(
        sign(), ConstantPad2D(ONE, 1.0), conv(padding="valid", input_quantizer=None)
    ),
    "what the remedy says": lambda: network(
        layers.ZeroPadding2D(((1, 0), (1, 0))), layers.Conv2D(8, 3, 2)
    ),
    "float symmetric pad of an odd size": lambda: network(
        layers.ZeroPadding2D(1), layers.Conv2D(8, 3, 2), size=9
    ),
    "pad whose last row no output reads": lambda: network(
        layers.ZeroPadding2D(((1, 2), (1, 2))), layers.Conv2D(8, 3, 2), size=9
    ),
    "pad with another value": lambda: network(ConstantPad2D(ONE, 1.0), layers.Conv2D(8, 3, 2)),
    "pad that two read": lambda: network(
        layers.ZeroPadding2D(1), lambda x: layers.Conv2D(8, 3, 2)(x) + layers.Conv2D(8, 3, 2)(x)
    ),
    "equal pads": lambda: network(
        lambda x: (
            layers.Conv2D(8, 3, 2)(layers.ZeroPadding2D(1)(x))
            + layers.Conv2D(8, 3, 2)(layers.ZeroPadding2D(1)(x))
        )
    ),
    "real input": lambda: network(conv(input_quantizer=None)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_audit_finds_nothing_in_right_networks(name):
    model = RIGHT[name]()
    content = to_tflite(model)
    assert error_of(model, content) < 1e-5
    assert audit(model) == []
    assert audit(model, content) == []


def test_padding_in_the_call_of_the_model_itself_is_found():
    class Ours(tf.keras.Model):
        def call(self, inputs, training=None):
            return halved(super().call(inputs), tf.ones((3, 3, 4, 8)))

    image = layers.Input((8, 8, 4))
    assert len(shifted_paddings(Ours(image, layers.ReLU()(image)))) == 1


def test_file_overrules_what_the_model_suggests():
    """The converter merges the two activations, then their paddings, and so keeps the padding."""
    model = network(
        lambda x: (
            layers.Conv2D(8, 3, 2)(layers.ZeroPadding2D(1)(layers.ReLU()(x)))
            + layers.Conv2D(8, 3, 2)(layers.ZeroPadding2D(1)(layers.ReLU()(x)))
        )
    )
    content = to_tflite(model)
    assert error_of(model, content) < 1e-5
    assert [finding.severity for finding in audit(model)] == ["wrong", "wrong"]
    assert audit(model, content) == []


def test_equal_convolutions_that_lce_merges_are_no_finding():
    kernel = np.random.RandomState(0).randn(3, 3, 32, 32)
    twins = [conv(name=name, kernel_initializer=tf.constant_initializer(kernel)) for name in "ab"]
    model = network(lambda x: twins[0](x) + twins[1](x))
    content = to_tflite(model)
    assert count_ops(content)["LceBconv2d"] == 1
    assert audit(model, content) == []


DENSE = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign", "name": "conv"}
SLOW = {
    "padding with -1": (lambda: network(conv(pad_values=-1.0)), "padding with -1.0"),
    "group of 16": (
        lambda: network(conv(groups=2)),
        "group not a multiple of 32",
    ),
    "ternary kernel": (
        lambda: network(conv(kernel_quantizer="ste_tern")),
        "quantizer LCE does not know",
    ),
    "heaviside": (
        lambda: network(conv(input_quantizer="ste_heaviside")),
        "quantizer LCE does not know",
    ),
    "dorefa": (
        lambda: network(conv(input_quantizer="dorefa_quantizer")),
        "quantizer LCE does not know",
    ),
    "dense": (
        lambda: network(layers.Flatten(), lq.layers.QuantDense(8, **DENSE)),
        "QuantDense",
    ),
    "transpose": (
        lambda: network(lq.layers.QuantConv2DTranspose(8, 3, **DENSE)),
        "QuantConv2DTranspose",
    ),
}


@pytest.mark.parametrize("trap", SLOW)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_audit_finds_slow_layers(trap):
    build, cause = SLOW[trap]
    model = build()
    content = to_tflite(model)
    assert count_ops(content)["LceBconv2d"] == 0
    assert error_of(model, content) < 1e-5
    assert brief(audit(model)) == [("conv", "slow", cause)]
    assert brief(audit(model, content)) == [("conv", "slow", cause)]
    # The file alone shows unpacked signs, if the input was a sign.
    unpacked = count_ops(content)["LceDequantize"]
    assert brief(audit(content)) == [("conv", "slow", "LceDequantize")] * unpacked


def test_zero_padding_is_not_fused():
    """A map as large as the kernel is large enough to be right."""
    model = network(conv(pad_values=0.0), layers.ReLU(), size=3)
    content = to_tflite(model)
    assert error_of(model, content) < 1e-5
    assert count_ops(content)["RELU"] == 1
    for findings in (audit(model), audit(model, content), audit(content)):
        assert brief(findings) == [("conv", "slow", "zero padding")]


def test_small_map_is_seen_in_the_file_alone():
    (finding,) = audit(to_tflite(network(conv(pad_values=0.0), layers.ReLU(), size=2)))
    assert finding.severity == "wrong" and "2 x 2" in finding.cause


def test_grouped_convolution_does_not_load():
    model = network(conv(filters=64, groups=2), layers.ReLU(), channels=64)
    content = to_tflite(model)
    with pytest.raises(RuntimeError):
        load_interpreter(content)
    for findings in (audit(model), audit(model, content)):
        assert brief(findings) == [("conv", "wrong", "grouped convolution")]
    (finding,) = audit(content)
    assert finding.severity == "wrong" and "32 of 64 channels" in finding.cause


@pytest.mark.parametrize(
    ("parts", "layer", "readers"),
    [
        ([conv(input_quantizer=lambda x: tf.sign(x))], "conv", None),
        ([sign(), layers.MaxPool2D(2), conv(input_quantizer=None)], "conv", None),
        ([sign(), layers.Add(name="add")], "sign", "ADD"),
    ],
    ids=["raw sign", "sign, then pool", "sign that an addition reads"],
)
def test_audit_of_a_file_finds_facts(parts, layer, readers):
    model = network(lambda x: parts[1]([x, parts[0](x)])) if readers else network(*parts)
    content = to_tflite(model)
    assert audit(model) == []
    (finding,) = audit(model, content)
    assert (finding.layer, finding.severity) == (layer, "slow")
    assert (readers or "CONV_2D") in finding.cause


def test_dynamic_size():
    (finding,) = audit(network(conv(), size=None))
    assert (finding.layer, finding.severity) == ("net", "wrong")
    assert finding.cause.startswith("dynamic size") and "input_shape=" in finding.remedy


def test_mixed_precision():
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = network(conv(), layers.Activation("linear", dtype="float32"))
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    (finding,) = audit(model)
    assert finding.severity == "wrong" and finding.cause.startswith("mixed precision")


def test_finding_reads_as_a_sentence():
    (finding,) = audit(network(conv(pad_values=-1.0)))
    assert str(finding) == (
        "conv (slow): padding with -1.0: a binary kernel pads with +1. Use pad_values=1.0."
    )


def test_model_of_larq_zoo():
    quick = larq_zoo.sota.QuickNetSmall(weights=None, input_shape=(64, 64, 3), num_classes=10)
    assert audit(quick) == []


def test_wrong_layers_are_named_before_slow_ones():
    small = conv(pad_values=0.0, name="small")
    found = audit(network(conv(pad_values=0.0, strides=4), layers.ReLU(), small))
    assert [(each.layer, each.severity) for each in found] == [("small", "wrong"), ("conv", "slow")]


def test_file_that_is_none(tmp_path):
    path = tmp_path / "weights.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(ValueError, match="expected a .tflite file.*weights.h5"):
        audit(path)
    [entry] = os.scandir(tmp_path)  # A path that is no Path.
    with pytest.raises(ValueError, match="expected a .tflite file.*weights.h5"):
        audit(entry)


class Subclassed(tf.keras.Model):
    def call(self, inputs):
        return inputs


@pytest.mark.parametrize(
    "call",
    [
        audit,
        advise,
        with_input_shape,
        lambda model: convert(model, "absent/model.tflite"),
        lambda model: verify(model, b"", np.zeros(1)),
        lambda model: quantize(model, np.zeros(1)),
    ],
    ids=["audit", "advise", "with_input_shape", "convert", "verify", "quantize"],
)
@pytest.mark.parametrize(
    ("model", "received"),
    [
        (None, "NoneType"),
        (Subclassed(), "Subclassed"),
        (tf.keras.Sequential([conv()]), "Sequential"),
    ],
    ids=["none", "subclassed", "unbuilt"],
)
def test_model_of_unknown_structure_is_refused_by_all_alike(call, model, received):
    with pytest.raises(ConversionError, match=f"expected a functional .*Received: {received}"):
        call(model)
