"""int8: everything but the binary kernels is integers, and the network still computes the same."""

import importlib

import larq as lq
import numpy as np
import pytest
import tensorflow as tf

from larq_groupnet import GroupNetConfig, GroupNetDSP, build
from larq_groupnet.deploy import ConversionError, count_ops
from larq_groupnet.deploy.export import to_tflite
from larq_groupnet.deploy.fake_quant import FakeQuant, Int8Kernel
from larq_groupnet.deploy.fold import fold
from larq_groupnet.deploy.int8 import (
    MOST_LEVELS,
    convert_int8,
    float_operations,
    predict_int8,
    quantize,
)
from larq_groupnet.network.layers import ConstantPad2D

layers = tf.keras.layers


def images(shape, count=4, seed=0):
    return np.random.RandomState(seed).uniform(-1, 1, (count, *shape)).astype(np.float32)


def randomise_batch_norm(model, data):
    """As after training, with factors of both signs. Wants a momentum of 0."""
    rng = np.random.RandomState(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            width = layer.gamma.shape[0]
            layer.gamma.assign(rng.choice([-1, 1], width) * rng.uniform(0.5, 1.5, width))
            layer.beta.assign(rng.normal(0, 0.5, width))
    model(data, training=True)
    return model


def conv(**options):
    defaults = {
        "padding": "same",
        "pad_values": 1.0,
        "input_quantizer": "ste_sign",
        "kernel_quantizer": "ste_sign",
        "kernel_constraint": "weight_clip",
        "use_bias": False,
        "name": "conv",
    }
    return lq.layers.QuantConv2D(32, 3, **{**defaults, **options})


def model_of(*parts, shape=(8, 8, 3)):
    tf.keras.utils.set_random_seed(0)
    inputs = x = tf.keras.Input(shape)
    for part in parts:
        x = part(x)
    return tf.keras.Model(inputs, x)


def batch_norm():
    return layers.BatchNormalization(momentum=0.0)


def classifier(pool_pad=None):
    """Batch normalisation in every place: behind a pool, a real and a binary layer, and a sum."""
    tf.keras.utils.set_random_seed(0)
    inputs = tf.keras.Input((16, 16, 3))
    x = layers.Conv2D(32, 3, padding="same", bias_initializer="ones", name="stem")(inputs)
    if pool_pad is not None:
        x = ConstantPad2D(((1, 0), (1, 0)), pool_pad)(x)
    x = batch_norm()(layers.MaxPool2D(2)(x))
    y = batch_norm()(layers.ReLU()(conv()(x)))
    y = batch_norm()(layers.Add()([x, y, y]))
    y = ConstantPad2D(((1, 0), (1, 0)), 1.0)(y)
    y = batch_norm()(conv(strides=2, padding="valid", name="strided")(y))
    y = layers.ReLU()(batch_norm()(layers.Conv2D(16, 1)(y)))
    y = layers.Dense(5)(layers.GlobalAveragePooling2D()(y))
    model = tf.keras.Model(inputs, layers.Activation("softmax")(y))
    return randomise_batch_norm(model, images((16, 16, 3), 16))


def network(head, bases):
    """A Group-Net: a stem with a max-pool, 2 blocks, a head for segmentation."""
    tf.keras.utils.set_random_seed(0)
    model = GroupNetDSP(
        input_shape=(32, 32, 3),
        num_classes=5,
        width=0.25,
        layout="two_stages",
        num_bases=bases,
        output_stride=4,
        atrous_rates=(1, 2),
        head=head,
        batch_norm_momentum=0.0,
    )
    return randomise_batch_norm(model, images((32, 32, 3)))


@pytest.fixture(scope="module")
def quantized():
    model = network("fcn16s", 2)
    return model, quantize(model, images((32, 32, 3)))


@pytest.fixture(scope="module")
def quantized_classifier():
    return quantize(classifier(), images((16, 16, 3)))


def without_rounding(model):
    """The model with real kernels and activations as they are before they are rounded."""
    for layer in model.submodules:
        if isinstance(layer, FakeQuant):
            layer.active = False
        elif isinstance(layer, Int8Kernel):
            layer.call = tf.identity
    return model


def test_kernels_are_rounded_to_127_levels_of_the_largest_of_their_channel():
    kernel = np.random.RandomState(0).normal(0, [1e-3, 1, 50], (3, 3, 4, 3)).astype(np.float32)
    for per_channel, axes in ((True, (0, 1, 2)), (False, None)):
        step = np.abs(kernel.astype(np.float64)).max(axes) / 127
        expected = np.rint(kernel / step) * step
        rounded = Int8Kernel(per_channel)(kernel).numpy()
        off = np.abs(rounded - expected) / step
        assert (off < 1e-3).mean() > 0.98  # Values halfway between two levels may go either way.
        assert off.max() < 1.001
    assert not Int8Kernel()(tf.zeros((1, 1, 2, 2))).numpy().any()


@pytest.mark.parametrize("pool_pad", [-65504.0, None])
def test_quantized_model_is_the_network_up_to_rounding(pool_pad):
    model = classifier(pool_pad)
    data = images((16, 16, 3))
    expected = model(data, training=False).numpy()
    received = without_rounding(quantize(model, data))(data, training=False).numpy()
    np.testing.assert_allclose(received, expected, atol=1e-4)
    assert np.ptp(expected, 0).max() > 0.01


def test_ranges_hold_the_values_of_the_calibration_images(quantized):
    model, int8 = quantized
    data = images((32, 32, 3))
    stem = int8.get_layer("stem_conv")
    real = model.get_layer("stem_conv").kernel.numpy()
    assert stem.kernel.shape == real.shape
    lower, upper = int8.get_layer("image_int8").get_weights()[0]
    assert (lower, upper) == pytest.approx((data.min(), data.max()))
    ranges = [x.get_weights()[0] for x in int8.layers if isinstance(x, FakeQuant)]
    assert len(ranges) > 20
    assert all(lower <= 0 <= upper and lower < upper for lower, upper in ranges)


def test_int8_range_includes_the_padding():
    int8 = quantize(classifier(-65504.0), images((16, 16, 3)))
    lower = int8.get_layer("stem_int8").get_weights()[0][0]
    pads = [layer for layer in int8.layers if isinstance(layer, ConstantPad2D)]
    assert [pad.value for pad in pads] == pytest.approx([lower, 1.0])


def test_tensor_with_two_readers_is_rounded_before_both():
    inputs = tf.keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 1, name="real")(inputs)
    outputs = layers.Add()([x, layers.ReLU(name="relu")(x)])
    int8 = quantize(tf.keras.Model(inputs, outputs), images((8, 8, 3)))
    assert int8.get_layer("relu").inbound_nodes[0].inbound_layers.name == "real_int8"


@pytest.mark.slow
def test_file_has_integers_between_its_binary_kernels(quantized, tmp_path):
    _, int8 = quantized
    data = images((32, 32, 3), 6)
    path = convert_int8(int8, tmp_path / "int8.tflite", data=data[:2])
    ops = count_ops(path)
    assert ops["LceBconv2d"] == 10  # 4 convolutions and a shortcut of 2 bases.
    assert ops["CONV_2D"] == 4
    assert not ops["QUANTIZE"] and not ops["DEQUANTIZE"] and not ops["LceDequantize"]
    assert not float_operations(path)
    assert [p.name for p in tmp_path.iterdir()] == ["int8.tflite"]

    expected = int8(data).numpy()
    received = predict_int8(path, data)
    assert received.shape == expected.shape and received.dtype == np.float32
    # convert_int8 compares layer by layer; the untrained network doubles what a flipped sign does.
    assert np.mean(received.argmax(-1) == expected.argmax(-1)) > 0.75
    assert len(np.unique(expected.argmax(-1))) > 1


@pytest.mark.slow
def test_binary_head_is_integers(tmp_path, monkeypatch):
    """With one base, the head joins outputs of convolutions that LCE does not rescale."""
    data = images((32, 32, 3))
    int8 = quantize(network("deeplabv3", bases=1), data)
    (joined,) = (layer for layer in int8.layers if isinstance(layer, layers.Concatenate))
    inside = tf.keras.Model(int8.input, joined.output)
    with monkeypatch.context() as patch:
        for layer in int8.layers:
            if isinstance(layer, FakeQuant):
                patch.setattr(layer, "active", False)
        values = inside(data).numpy()
    range_of_all = int8.get_layer(f"{joined.name}_int8").get_weights()[0]
    np.testing.assert_allclose(range_of_all, [values.min(), values.max()], rtol=1e-6)
    path = convert_int8(int8, tmp_path / "int8.tflite", data=data[:2])
    ops = count_ops(path)
    assert (ops["LceBconv2d"], ops["CONV_2D"]) == (5 + 6, 2)
    assert not ops["DEQUANTIZE"] and not ops["LceDequantize"]
    assert not float_operations(path)
    expected, received = int8(data).numpy(), predict_int8(path, data)
    # An untrained head may prefer one class everywhere.
    classes, wanted = ((x - expected.mean((0, 1, 2))).argmax(-1) for x in (received, expected))
    assert np.mean(classes == wanted) > 0.75
    assert len(np.unique(wanted)) > 1


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
def test_classifier_is_trained_further_saved_and_converted(tmp_path):
    model = classifier()
    data = images((16, 16, 3), 16)
    int8 = quantize(model, data)
    before = {weight.name: weight.numpy() for weight in int8.weights}
    int8.compile("sgd", "sparse_categorical_crossentropy")
    int8.fit(data, np.arange(16) % 5, batch_size=8, verbose=0)
    after = {weight.name: weight.numpy() for weight in int8.weights}
    assert len(before) == len(int8.weights)
    for name, value in after.items():
        assert np.array_equal(value, before[name]) == ("/range" in name), name

    int8.save(tmp_path / "int8.keras")
    loaded = tf.keras.models.load_model(tmp_path / "int8.keras")
    expected = int8(data).numpy()
    np.testing.assert_array_equal(loaded(data).numpy(), expected)

    path = convert_int8(loaded, tmp_path / "int8.tflite", data=data[:4])
    assert not float_operations(path)
    received = predict_int8(path, data)
    # A value halfway between two levels may go either way, and flip a sign.
    assert np.abs(received - expected).mean() < 0.02
    assert np.mean(received.argmax(-1) == expected.argmax(-1)) > 0.9


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([layers.Conv2D(4, 3, activation="relu", name="a")], "a cannot be int8: .*activations as"),
        ([layers.Conv2DTranspose(4, 3, name="a")], "a cannot be int8: expected one of .*Conv2DTr"),
        ([layers.Activation("tanh", name="a")], "a cannot be int8: expected a softmax"),
        ([layers.ReLU(negative_slope=0.1, name="a")], "a cannot be int8: expected a plain ReLU"),
        ([lq.layers.QuantConv2D(4, 3, name="a")], "a cannot be int8: .*binary=True"),
        ([layers.Conv2D(32, 1), conv(pad_values=0)], "conv .*an int8 file does not load"),
        ([layers.Conv2D(32, 1), conv(kernel_quantizer="ste_tern")], "quantizer LCE does not know"),
    ],
)
def test_int8_refuses_unsupported_layers_with_the_reason(parts, message):
    with pytest.raises(ConversionError, match=message):
        quantize(model_of(*parts), images((8, 8, 3)))


def test_layer_that_is_called_twice_is_rounded_at_each_call():
    conv = layers.Conv2D(3, 1, name="shared")
    model, data = model_of(conv, conv), images((8, 8, 3))
    rounded = quantize(model, data)
    assert sum(isinstance(layer, layers.Conv2D) for layer in rounded.layers) == 2
    expected = model(data).numpy()
    assert np.abs(rounded(data).numpy() - expected).max() < 0.05 * np.ptp(expected)


@pytest.mark.parametrize("data", [images((9, 8, 3)), images((8, 8, 3))[:0], images((8, 8))])
def test_images_that_do_not_fit_are_refused(data):
    with pytest.raises(ConversionError, match=r"calibration: expected samples .*Received: shape="):
        quantize(model_of(layers.Conv2D(4, 1)), data)
    with pytest.raises(ConversionError, match="Received: values that are not finite"):
        quantize(model_of(layers.Conv2D(4, 1)), np.full((4, 8, 8, 3), np.nan))


def test_model_that_is_not_functional_is_refused():
    with pytest.raises(ValueError, match="expected a functional Keras model"):
        quantize(tf.keras.Model(), images((8, 8, 3)))


def test_floats_in_the_file_are_named(tmp_path):
    model = model_of(layers.Conv2D(4, 1, name="left_float"))
    with pytest.raises(ConversionError, match=r"operations on floats: CONV_2D\("):
        convert_int8(model, tmp_path / "model.tflite", data=images((8, 8, 3)))
    assert not list(tmp_path.iterdir())


def refuses(monkeypatch, tmp_path, int8, layer, change, data, message):
    """Whether the file of a network with another kernel is refused as one of this."""
    module = importlib.import_module("larq_groupnet.deploy.int8")
    kernel, *rest = int8.get_layer(layer).get_weights()
    int8.get_layer(layer).set_weights([change(kernel), *rest])
    content = module.to_tflite(int8)
    int8.get_layer(layer).set_weights([kernel, *rest])
    monkeypatch.setattr(module, "to_tflite", lambda _: content)
    with pytest.raises(ConversionError, match=message):
        convert_int8(int8, tmp_path / "model.tflite", data=data)
    assert not list(tmp_path.iterdir())


def test_file_that_computes_something_else_is_refused(tmp_path, monkeypatch):
    data = images((8, 8, 3))
    int8 = quantize(model_of(layers.Conv2D(4, 1, name="real")), data)
    refuses(monkeypatch, tmp_path, int8, "real", np.negative, data, "on the same signs")


FAULTS = {
    "one channel of the stem is another": ("stem", lambda w: w * np.r_[-1, np.ones(31)], "conv"),
    "a binary kernel is mirrored": ("conv", lambda w: w[::-1], "strided"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_other_numbers_before_a_sign_are_refused(
    tmp_path, monkeypatch, quantized_classifier, fault
):
    layer, change, named = FAULTS[fault]
    data, message = images((16, 16, 3)), f"wrong values before .*{named}"
    refuses(monkeypatch, tmp_path, quantized_classifier, layer, change, data, message)


def test_fresh_network_whose_values_lie_near_zero_is_right(tmp_path, monkeypatch):
    tf.keras.utils.set_random_seed(1)
    model = build(
        GroupNetConfig(
            input_shape=(16, 16, 3), num_classes=4, width=0.0625, num_bases=2,
            layout="two_stages", stem_stride=1, output_stride=2,
        )
    )  # fmt: skip
    int8 = quantize(model, data := images((16, 16, 3), 2))
    module = importlib.import_module("larq_groupnet.deploy.int8")
    monkeypatch.setattr(module, "MOST_FLIPS", 0.0)
    assert convert_int8(int8, tmp_path / "model.tflite", data=data).is_file()


def implied_bytes(model, int8):
    """What the parameters of a Group-Net imply, after batch normalisation has gone.

    A file has 150 to 200 bytes more per tensor: its name, shape, buffer, and its range if int8.
    """
    total = 0.0
    for layer in model.layers:
        if isinstance(layer, lq.layers.QuantConv2D):
            # LCE keeps a float32 factor and offset per channel, in int8 files as well.
            total += np.prod(layer.kernel.shape) / 8 + 2 * 4 * layer.filters
        elif isinstance(layer, layers.Conv2D | layers.Dense):
            total += np.prod(layer.kernel.shape) * (1 if int8 else 4) + 4 * layer.kernel.shape[-1]
    return total


@pytest.mark.slow
def test_probabilities_may_differ_by_what_a_level_of_wide_logits_moves_them(tmp_path):
    # A level of such logits is 0.6: rounding alone moves a probability by 30 of its 256 levels.
    dense = layers.Dense(10, kernel_initializer="zeros", name="dense")
    pool = layers.GlobalAveragePooling2D()
    model = model_of(layers.Conv2D(64, 3), pool, dense, layers.Activation("softmax"))
    kernel, bias = dense.get_weights()
    kernel[:] = np.random.RandomState(0).normal(0, 30, kernel.shape)
    dense.set_weights([kernel, bias])
    data = images((8, 8, 3), 32)
    whole = quantize(model, data)
    convert_int8(whole, tmp_path / "a.tflite", data=data)
    content = (tmp_path / "a.tflite").read_bytes()
    worst = np.abs(predict_int8(content, data) - whole(data).numpy()).max()
    assert worst > MOST_LEVELS / 256


def test_files_are_as_large_as_their_parameters_imply():
    tf.keras.utils.set_random_seed(0)
    model = build(
        GroupNetConfig(
            input_shape=(32, 32, 3), num_bases=1, width=3.0, layout="two_stages", output_stride=8,
            batch_norm_momentum=0.0,
        )
    )  # fmt: skip
    data = images((32, 32, 3), 2)
    # The converter would share the factors of layers that are normalised alike.
    randomise_batch_norm(model, data)
    for made, int8 in ((fold(model), False), (quantize(model, data), True)):
        size = len(to_tflite(made))
        assert size / implied_bytes(model, int8) == pytest.approx(1, abs=0.03)
