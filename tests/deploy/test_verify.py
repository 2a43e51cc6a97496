"""Verification: rounding passes, every error is found and placed."""

import functools
import hashlib
import json
import sys

import larq as lq
import numpy as np
import pytest
import tensorflow as tf

from larq_groupnet.deploy import ConversionError, VerificationError, load_interpreter, verify
from larq_groupnet.deploy.export import to_tflite
from larq_groupnet.deploy.flatbuffer import unpack
from larq_groupnet.network.layers import ConstantPad2D

layers = tf.keras.layers

SIZE = (8, 8, 32)
IMAGES = np.random.RandomState(0).randn(3, *SIZE).astype("f4")


def conv(name, filters=32, **options):
    defaults = {
        "padding": "same",
        "pad_values": 1.0,
        "input_quantizer": "ste_sign",
        "kernel_quantizer": "ste_sign",
        "kernel_constraint": "weight_clip",
        "use_bias": False,
    }
    return lq.layers.QuantConv2D(filters, 3, name=name, **{**defaults, **options})


def sequence(*parts, size=SIZE, batch=None):
    inputs = x = layers.Input(size, batch_size=batch)
    for part in parts:
        x = part(x)
    return tf.keras.Model(inputs, x)


def network(*between, first=None, batch=None):
    """Three binary convolutions, batch-normalised as after training, and a real layer."""
    tf.keras.utils.set_random_seed(0)
    model = sequence(
        first or conv("conv1"),
        layers.ReLU(),
        layers.BatchNormalization(name="norm1"),
        *between,
        conv("conv2", 40),
        layers.BatchNormalization(name="norm2"),
        conv("conv3"),
        layers.BatchNormalization(name="norm3"),
        layers.Conv2D(5, 1, name="head"),
        batch=batch,
    )
    rng = np.random.RandomState(1)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            width = layer.gamma.shape[0]
            # Negative factors as well: LCE flips the kernels of those channels.
            layer.set_weights(
                [
                    rng.normal(0, 1, width),
                    *rng.normal(0, 0.5, (2, width)),
                    rng.uniform(5, 20, width),
                ]
            )
    return model


@functools.cache
def healthy():
    """A model, which no test changes, and its file."""
    model = network()
    return model, to_tflite(model)


def copy_of(model, **changes):
    """The same model and weights, but layers of these names are replaced."""
    twin = tf.keras.models.clone_model(
        model, clone_function=lambda x: changes.get(x.name) or type(x).from_config(x.get_config())
    )
    twin.set_weights(model.get_weights())
    return twin


def test_right_file():
    model, content = healthy()
    result = verify(model, content, IMAGES)
    assert (result.verdict, result.first_flip, result.samples) == ("equal", None, 3)
    assert result.agreement == 1
    error = np.abs(load_interpreter(content).predict(IMAGES) - model(IMAGES).numpy())
    # The last bits of the model's outputs depend on how TensorFlow runs it.
    assert result.worst_error == pytest.approx(error.max(), abs=4e-6)
    assert result.mean_error == pytest.approx(error.mean(), abs=4e-6)
    assert str(result).startswith("equal: no sign flips. On 3 samples: same arg-max in 100.000%")


class Subclassed(tf.keras.Model):
    def __init__(self, parts):
        super().__init__()
        self.parts = parts

    def call(self, inputs):
        for part in self.parts:
            inputs = part(inputs)
        return inputs


def test_subclassed_model_is_compared_as_well():
    model, content = healthy()
    same = Subclassed(model.layers[1:])
    same(IMAGES)
    assert verify(same, content, IMAGES).verdict == "equal"


def test_file_is_compared_with_the_model_and_not_with_its_copy_alone(monkeypatch):
    inputs = layers.Input((4, 4, 3))
    model, other = (
        tf.keras.Model(inputs, layers.Dense(2, kernel_initializer=kind)(inputs))
        for kind in ("ones", "zeros")
    )
    module = sys.modules["larq_groupnet.deploy.verify"]
    monkeypatch.setattr(module, "unshared", lambda given: other)
    with pytest.raises(VerificationError, match="no flipped sign explains it"):
        verify(model, to_tflite(other), IMAGES[:, :4, :4, :3])


def test_model_comes_back_as_it_was():
    model, content = healthy()
    before = [dict(vars(layer)) for layer in model.layers]
    output = model(IMAGES).numpy()
    verify(model, content, IMAGES)
    after = [vars(layer) for layer in model.layers]
    quantizers = [
        (a.get("input_quantizer"), b.get("input_quantizer"))
        for a, b in zip(before, after, strict=True)
    ]
    assert all(a is b for a, b in quantizers)
    np.testing.assert_array_equal(model(IMAGES).numpy(), output)


def with_weight(model, layer, index, change):
    twin = copy_of(model)
    weights = twin.get_layer(layer).get_weights()
    weights[index] = change(weights[index])
    twin.get_layer(layer).set_weights(weights)
    return twin


def test_flips_at_zero_are_rounding_however_far_they_spread():
    """The value nearest to 0 is put just above it in the file and just below it in Keras."""
    model, _ = healthy()
    inner = tf.keras.Model(model.input, model.get_layer("conv2").input)
    values = inner(IMAGES).numpy()
    place = np.unravel_index(np.abs(values).argmin(), values.shape)
    channel = place[-1]

    def centre(beta, offset):
        beta = beta.copy()
        beta[channel] += -values[place] + offset
        return beta

    above, below = (
        with_weight(model, "norm1", 1, lambda beta, sign=sign: centre(beta, sign * 1e-5))
        for sign in (1, -1)
    )
    content = to_tflite(above)
    assert verify(above, content, IMAGES).verdict == "equal"
    result = verify(below, content, IMAGES)
    assert (result.verdict, result.first_flip) == ("rounding", "conv2")
    assert result.worst_error > 0.01  # Visible in the outputs, and yet no error of the file.
    assert "first at conv2" in result.explanation

    # And they do not excuse an error behind them.
    wrong = with_weight(below, "norm2", 1, lambda beta: beta + 0.1)
    with pytest.raises(VerificationError) as error:
        verify(wrong, content, IMAGES)
    assert error.value.verification.first_flip == "conv3"


@pytest.mark.parametrize(("size", "verdict"), [(1e-7, "rounding"), (1e-4, "wrong")])
def test_any_number_of_sums_that_cancel_may_flip_and_of_others_few(size, verdict):
    """A quarter of the channels before a sign are as small, above 0 in the file, below in Keras."""
    model = sequence(layers.BatchNormalization(name="norm"), conv("conv"), layers.Conv2D(5, 1))
    flat = with_weight(model, "norm", 0, lambda gamma: gamma * (np.arange(32) >= 8))
    above, below = (
        with_weight(flat, "norm", 1, lambda beta, near=near: np.r_[np.full(8, near), beta[8:]])
        for near in (size, -size)
    )
    try:
        result = verify(below, to_tflite(above), IMAGES)
    except VerificationError as error:
        result = error.verification
    assert (result.verdict, result.first_flip) == (verdict, "conv")


@pytest.mark.parametrize(
    ("layer", "index", "change", "first"),
    [
        ("norm1", 1, lambda beta: beta + 0.1, "conv2"),
        ("norm2", 1, lambda beta: beta + 0.1, "conv3"),
        ("head", 0, lambda kernel: kernel * 1.1, None),
    ],
)
def test_error_is_found_and_placed(layer, index, change, first):
    model, content = healthy()
    with pytest.raises(VerificationError) as error:
        verify(with_weight(model, layer, index, change), content, IMAGES)
    assert error.value.verification.verdict == "wrong"
    assert error.value.verification.first_flip == first
    assert "Do not deploy it" in str(error.value)


def test_error_of_the_logits_is_found_where_the_softmax_is_sure():
    dense = layers.Dense(3, kernel_initializer="zeros", bias_initializer="zeros", name="dense")
    pool = layers.GlobalAveragePooling2D()
    model = sequence(conv("conv1"), pool, dense, layers.Activation("softmax"))
    kernel, _ = dense.get_weights()
    dense.set_weights([kernel, np.array([9.0, 0.5, 0.0])])
    content = to_tflite(model)
    assert verify(model, content, IMAGES).verdict == "equal"
    before = model(IMAGES).numpy()
    dense.set_weights([kernel, np.array([9.0, 0.0, 0.0])])
    assert np.abs(model(IMAGES) - before).max() < 1e-3
    with pytest.raises(VerificationError, match="logarithms of probabilities, differ by 0"):
        verify(model, content, IMAGES)


def test_systematic_flip_of_exact_zeros_is_wrong():
    """Half of the values are 0 after a ReLU: a file that takes them for -1 is not rounding."""
    model = network(layers.ReLU())
    content = to_tflite(model)
    zero_is_minus = conv("conv2", 40, input_quantizer=lambda x: tf.where(x > 0, 1.0, -1.0))
    with pytest.raises(VerificationError, match="contradict the file's own numbers"):
        verify(copy_of(model, conv2=zero_is_minus), content, IMAGES)


TRAPS = {
    "sign, then pad": (
        [
            lq.quantizers.SteSign,
            lambda: ConstantPad2D(((1, 1), (1, 1)), 1.0),
            lambda: conv("strided", input_quantizer=None, strides=2, padding="valid"),
            layers.BatchNormalization,
        ],
        "conv2",
    ),
    "float pad": (
        [lambda: layers.ZeroPadding2D(1), lambda: layers.Conv2D(32, 3, 2)],
        "conv2",
    ),
    "ternary": ([lambda: conv("ternary", input_quantizer="ste_tern")], "ternary"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_verify_finds_conversion_errors_of_lce(trap):
    parts, first = TRAPS[trap]
    model = network(*(part() for part in parts))
    with pytest.raises(VerificationError) as error:
        verify(model, to_tflite(model), IMAGES)
    assert error.value.verification.first_flip == first


@pytest.mark.parametrize(
    "options",
    [
        {"pad_values": 0.0},
        {"kernel_quantizer": "ste_tern"},
        {"kernel_quantizer": "magnitude_aware_sign"},
        {"input_quantizer": "dorefa_quantizer"},
    ],
)
def test_quantizers_that_run_as_float_are_compared_as_well(options):
    model = network(first=conv("conv1", **options))
    content = to_tflite(model)
    result = verify(model, content, IMAGES)
    assert result.verdict in ("equal", "rounding") and "not compared" not in str(result)
    name = "conv1"
    shifted = copy_of(model, conv1=conv(name, **{**options, "input_quantizer": lambda x: -x}))
    with pytest.raises(VerificationError) as error:
        verify(shifted, content, IMAGES)
    assert error.value.verification.first_flip == name


def test_any_batch_size_of_the_file():
    model = network(batch=2)
    content = to_tflite(model)
    assert verify(model, content, IMAGES).samples == 3
    with pytest.raises(VerificationError):
        # Only the third sample, alone in the second batch, is wrong.
        verify(_third_is_wrong(model), content, np.concatenate([IMAGES[:2] * 0, IMAGES[2:]]))


def _third_is_wrong(model):
    twin = copy_of(model)
    return tf.keras.Model(
        twin.input, twin.output * (1 + tf.reduce_max(tf.abs(twin.input), (1, 2, 3), True))
    )


def test_verify_writes_the_files_for_a_device(tmp_path):
    model, content = healthy()
    verify(model, content, IMAGES, tmp_path / "check")
    description = json.loads((tmp_path / "check/verify.json").read_text())
    arrays = {
        name: np.fromfile(tmp_path / "check" / name, "<f4").reshape(entry["shape"])
        for name, entry in description["files"].items()
    }
    np.testing.assert_array_equal(arrays["input.bin"], IMAGES)
    np.testing.assert_array_equal(
        arrays["expected_output.bin"], load_interpreter(content).predict(IMAGES)
    )
    assert description["tflite_sha256"] == hashlib.sha256(content).hexdigest()
    assert description["verification"]["verdict"] == "equal"


def test_nothing_is_written_of_a_wrong_file(tmp_path):
    model, content = healthy()
    with pytest.raises(VerificationError):
        verify(
            with_weight(model, "head", 1, lambda bias: bias + 1),
            content,
            IMAGES,
            tmp_path / "check",
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("data", [IMAGES[:0], IMAGES[0], IMAGES[..., :3]])
def test_samples_that_do_not_fit(data):
    model = sequence(conv("conv"))
    with pytest.raises(ConversionError, match=r"expected samples of shape \(n, 8, 8, 32\)"):
        verify(model, to_tflite(model), data)


def test_file_of_another_output_is_named():
    with pytest.raises(ConversionError, match=r"output is \(8, 8, 32\). Received: .* \(8, 8, 64\)"):
        verify(sequence(conv("conv")), to_tflite(sequence(conv("conv", 64))), IMAGES)


def test_file_that_does_not_load():
    model = sequence(conv("conv", 64, groups=2), size=(8, 8, 64))
    with pytest.raises(ConversionError, match="does not load the file"):
        verify(model, to_tflite(model), np.zeros((1, 8, 8, 64)))


def test_unpacked_bits():
    words = np.array([[0b101, -(2**31)]], np.int32)
    expected = np.ones((1, 40), "f4")
    expected[0, [0, 2]] = -1
    np.testing.assert_array_equal(unpack(words, 40), expected)
    assert unpack(words, 64)[0, 63] == -1


def test_quantizer_called_twice_has_its_own_signs_each_time() -> None:
    sign = lq.quantizers.SteSign()
    binary = [conv(name, input_quantizer=None) for name in ("first", "second")]
    norms = layers.BatchNormalization(), layers.BatchNormalization()
    model = sequence(sign, binary[0], norms[0], sign, binary[1], norms[1])
    assert verify(model, to_tflite(model), IMAGES).verdict in ("equal", "rounding")
