"""Conversion: every binary convolution stays binary, and the file computes the same."""

import importlib
import warnings

import larq as lq
import larq_compute_engine as lce
import numpy as np
import pytest
import tensorflow as tf
from near_ties import assert_same_classes

from larq_groupnet import GroupNetConfig, GroupNetDSP, build
from larq_groupnet.deploy import (
    ConversionError,
    ConversionWarning,
    VerificationError,
    audit,
    convert,
    count_ops,
    load_interpreter,
    verify,
)
from larq_groupnet.deploy.description import read_description
from larq_groupnet.deploy.export import to_tflite
from larq_groupnet.errors import OutputError, UserError


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


@pytest.mark.slow
def test_file_with_a_binary_head_computes_what_the_model_computes(tmp_path):
    """Several bases of one rate read the same tensor, also in the branches of the pyramid."""
    model = GroupNetDSP(
        num_classes=5, width=0.125, layout="two_stages", output_stride=4, input_shape=(48, 48, 3),
        num_bases=2, atrous_rates=(1, 4), decomposition="group", head="deeplabv3",
    )  # fmt: skip
    randomise_batch_norm(model)
    images = np.random.RandomState(0).uniform(-1, 1, (4, 48, 48, 3)).astype(np.float32)
    path = convert(model, tmp_path / "model.tflite", data=images)

    # Each base has 4 convolutions, a shortcut and the pyramid's 6; stem and last layer are real.
    ops = count_ops(path)
    assert (ops["LceBconv2d"], ops["CONV_2D"], ops["LceDequantize"]) == ((5 + 6) * 2, 2, 0)

    expected = model(images).numpy()
    converted = load_interpreter(path).predict(images)
    # Values within rounding of 0 may flip a sign and move their neighbourhood.
    assert np.mean(np.abs(converted - expected) < 1e-3 * np.abs(expected).max()) > 0.98
    # An untrained head may prefer one class everywhere.
    classes, wanted = ((x - expected.mean((0, 1, 2))).argmax(-1) for x in (converted, expected))
    assert np.mean(classes == wanted) > 0.99
    assert len(np.unique(wanted)) > 1


def binary(*parts, shape=(8, 8, 32), batch=None, **options):
    """`parts`, then a binary convolution, as a model."""
    tf.keras.utils.set_random_seed(0)
    defaults = {
        "padding": "same",
        "pad_values": 1.0,
        "input_quantizer": "ste_sign",
        "kernel_quantizer": "ste_sign",
        "kernel_constraint": "weight_clip",
        "use_bias": False,
        "name": "conv",
    }
    inputs = x = tf.keras.Input(shape, batch_size=batch)
    for part in parts:
        x = part(x)
    outputs = lq.layers.QuantConv2D(32, 3, **{**defaults, **options})(x)
    return tf.keras.Model(inputs, outputs)


@pytest.mark.parametrize(
    ("shape", "batch", "options"),
    [
        ((8, 8, 32), None, {}),
        ((None, None, 32), None, {"input_shape": (6, 10, 32)}),
        ((8, None, 32), None, {"input_shape": [8, 8, 32], "batch_size": 3}),
        ((8, 8, 32), 2, {"batch_size": 2}),
    ],
)
def test_size_and_batch_are_fixed_at_conversion(tmp_path, shape, batch, options):
    model = binary(shape=shape, batch=batch)
    path = convert(model, tmp_path / "new" / "model.tflite", **options)
    interpreter = load_interpreter(path)
    wanted = tuple(options.get("input_shape", (8, 8, 32)))
    assert tuple(interpreter.input_shapes[0]) == (options.get("batch_size", 1), *wanted)
    assert verify(model, path, np.random.RandomState(0).randn(5, *wanted)).samples == 5
    size = options.get("batch_size", 1)
    images = np.random.RandomState(1).randn(2 * size, *wanted).astype("f4")
    expected = np.concatenate([model(images[:size]), model(images[size:])])
    np.testing.assert_allclose(interpreter.predict(images), expected, rtol=1e-5, atol=1e-5)
    for wrong in (images[:0], images[0], images[:, 1:], images[: 2 * size - 1]):
        if size > 1 or len(wrong) != 1:
            with pytest.raises(ConversionError, match=r"predict: expected .* images .* Received"):
                interpreter.predict(wrong)
    assert model.input_shape == (batch, *shape)
    assert [p.name for p in path.parent.iterdir()] == ["model.tflite"]


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((None, None, 32), {}, r"fixed input size.*Received: input_shape=\(None, None, None, 32\)"),
        ((8, 8, 32), {"input_shape": (9, 8, 32)}, r"Received: input_shape=\(9, 8, 32\)"),
        ((None, None, 32), {"input_shape": (8, 8)}, r"fit the model's.*input_shape=\(8, 8\)"),
        ((None, None, 32), {"input_shape": (0, 8, 32)}, r"input_shape=\(0, 8, 32\)"),
        ((8, 8, 32), {"batch_size": 0}, "batch_size=0"),
        ((8, 8, 32), {"batch_size": "2"}, "batch_size='2'"),
        ((8, 8, 32), {"input_shape": 8}, "input_shape=8"),
        ((8, 8, 32), {"input_shape": ("8", 8, 32)}, "expected .*input_shape=.'8', 8, 32"),
        ((8, 8, 32), {"batch_size": None}, "expected .*batch_size=None"),
    ],
)
def test_size_that_is_unknown_or_does_not_fit_is_refused(tmp_path, shape, options, message):
    with pytest.raises(ConversionError, match=message):
        convert(binary(shape=shape), tmp_path / "model.tflite", **options)
    assert not list(tmp_path.iterdir())


def test_what_is_no_model_and_a_path_that_is_a_folder_are_refused_before_the_work(tmp_path):
    unbuilt = tf.keras.Sequential([tf.keras.layers.Dense(2)])
    for model, received in ((None, "NoneType"), ("mine.keras", "str"), (unbuilt, "Sequential")):
        with pytest.raises(ConversionError, match=f"expected a functional .*Received: {received}"):
            convert(model, tmp_path / "model.tflite")
    with pytest.raises(UserError, match="expected a file that can be written"):
        convert(binary(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_several_outputs_are_refused(tmp_path):
    model = binary()
    two = tf.keras.Model(model.input, [model.output, model.input])
    with pytest.raises(ConversionError, match="one input and one output"):
        convert(two, tmp_path / "model.tflite")


def test_convert_refuses_silent_errors(tmp_path):
    model = binary(tf.keras.layers.ZeroPadding2D(1), tf.keras.layers.Conv2D(32, 3, 2, name="stem"))
    path = tmp_path / "model.tflite"
    path.write_bytes(b"of an earlier run")
    with pytest.raises(ConversionError, match=r"stem \(wrong\): float symmetric pad at stride 2"):
        convert(model, path)
    assert path.read_bytes() == b"of an earlier run"
    assert list(tmp_path.iterdir()) == [path]


def test_convert_warns_of_slow_layers(tmp_path):
    model = binary(kernel_quantizer="ste_tern")
    with pytest.warns(ConversionWarning, match=r"conv \(slow\): quantizer LCE does not know"):
        path = convert(model, tmp_path / "model.tflite")
    assert count_ops(path)["CONV_2D"] == 1


def test_verify_finds_errors_that_audit_misses(tmp_path, monkeypatch):
    model = binary(tf.keras.layers.ZeroPadding2D(1), tf.keras.layers.Conv2D(32, 3, 2))
    # The package's attribute of that name is the function.
    module = importlib.import_module("larq_groupnet.deploy.convert")
    monkeypatch.setattr(module, "audit", lambda *_: [])
    with pytest.raises(VerificationError, match="signs that conv reads flip"):
        convert(model, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


def test_folded_network_is_converted_and_compared_with_the_one_given(tmp_path, monkeypatch):
    def spoil(model):
        twin = tf.keras.models.clone_model(model)
        twin.set_weights([-weight for weight in model.get_weights()])
        return twin

    module = importlib.import_module("larq_groupnet.deploy.convert")
    monkeypatch.setattr(module, "fold", spoil)
    with pytest.raises(VerificationError, match="no flipped sign explains it"):
        convert(binary(), tmp_path / "model.tflite")


def test_operation_that_lce_lacks_is_named(tmp_path):
    with pytest.raises(ConversionError, match="Received: Erfc, which only TensorFlow has"):
        convert(binary(tf.keras.layers.Activation("gelu")), tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("policy", ["mixed_float16", "float64"])
def test_convert_names_the_cause_of_a_failure_in_lce(tmp_path, policy):
    tf.keras.mixed_precision.set_global_policy(policy)
    try:
        model = binary()
        with pytest.raises(ConversionError, match="mixed precision: .* half precision"):
            convert(model, tmp_path / "model.tflite")
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")


def test_full_temporary_folder_is_not_blamed_on_the_network(tmp_path, monkeypatch):
    def full(*_, **__):
        said = "{{function_node x}} /tmp/y/part-0; No space left on device [Op:SaveV2]"
        raise tf.errors.ResourceExhaustedError(None, None, said)

    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(OSError, match="No space left on device: '/tmp/y/part-0'"):
        convert(binary(), tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


def test_samples_given_are_the_ones_that_are_run(tmp_path):
    with pytest.raises(ConversionError, match=r"data: expected .*\(n, 8, 8, 32\)"):
        convert(binary(), tmp_path / "model.tflite", data=np.zeros((1, 9, 9, 32)))


def test_progress_names_its_steps(tmp_path, capsys):
    convert(binary(), tmp_path / "model.tflite")
    shown = capsys.readouterr().err
    assert all(step in shown for step in ("Folding", "Converting", "Auditing", "Verifying"))
    assert "4/4" in shown


def test_short_way_into_the_converter_gives_what_the_long_one_does():
    model = binary()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # Keras' SavedModel export warns of its own deprecated calls.
        expected = lce.convert_keras_model(model)
    content = to_tflite(model)
    assert len(content) == len(expected)
    assert count_ops(content) == count_ops(expected)
    images = np.random.RandomState(0).randn(3, *model.input_shape[1:]).astype("float32")
    received, wanted = (load_interpreter(file).predict(images) for file in (content, expected))
    np.testing.assert_array_equal(received, wanted)


def test_model_of_a_camera_reads_uint8(tmp_path):
    body = binary(tf.keras.layers.Conv2D(32, 3), shape=(8, 8, 3))
    inputs = tf.keras.Input((8, 8, 3), dtype="uint8")
    model = tf.keras.Model(inputs, body(tf.keras.layers.Rescaling(1 / 127.5, -1)(inputs)))
    images = np.random.RandomState(0).randint(0, 256, (4, 8, 8, 3)).astype("uint8")
    path = convert(model, tmp_path / "camera.tflite", data=images)
    assert count_ops(path)["LceBconv2d"] == 1
    interpreter = load_interpreter(path)
    assert_same_classes(interpreter.predict(images), model(images).numpy())
    with pytest.raises(ConversionError, match="expected images of type uint8"):
        interpreter.predict(images.astype("f4"))
    with pytest.raises(ConversionError, match="an array of finite uint8, .*of float32"):
        verify(model, path, images.astype("f4"))


def test_floats_of_any_precision_are_floats_and_bytes_are_not():
    model = binary()
    floats = load_interpreter(to_tflite(model))
    images = np.random.RandomState(0).randn(2, 8, 8, 32)
    np.testing.assert_array_equal(floats.predict(images), floats.predict(images.astype("f4")))
    with pytest.raises(ConversionError, match="after the normalisation"):
        floats.predict(images.astype("u1"))


@pytest.fixture
def unconverted(monkeypatch):
    """A model that nobody may begin to convert."""
    module = importlib.import_module("larq_groupnet.deploy.convert")
    monkeypatch.setattr(module, "fold", lambda _: pytest.fail("the conversion began"))
    return binary()


IMAGES = np.zeros((2, 8, 8, 32), "f4")


@pytest.mark.parametrize(
    ("data", "received"),
    [
        ("x", "str of <U1"),
        (tf.data.Dataset.from_tensors(IMAGES), "_TensorDataset of object"),
        (IMAGES.astype("c8"), "ndarray of complex64"),
        (IMAGES > 0, "ndarray of bool"),
        (IMAGES.astype("u1"), "ndarray of uint8. Normalise them"),
        (IMAGES * np.nan, "values that are not finite"),
        (IMAGES[0], r"shape=\(8, 8, 32\)"),
        ([[1], [2, 3]], "list: "),
    ],
    ids=["text", "dataset", "complex", "bool", "pixels", "nan", "one", "ragged"],
)
def test_samples_of_another_kind_are_refused_before_the_work(unconverted, data, received):
    said = rf"data: expected samples of shape \(n, 8, 8, 32\).*finite float32.*Received: {received}"
    with pytest.raises(ConversionError, match=said):
        convert(unconverted, "absent/model.tflite", data=data)


@pytest.mark.parametrize(
    ("description", "received"),
    [
        ("x", "'x'"),
        ({"classes": "a" * 32}, "classes that are not a list"),
        ({"classes": ["a"]}, "1$"),
        ({"classes": [*"ab" * 15, 1, 2]}, "printed: 1"),
        ({"preprocessing": {"normalisation": "symetric"}}, "Did you mean 'symmetric'"),
        ({"preprocessing": ["symmetric"]}, "preprocessing that is not an object"),
        ({"temperature": float("nan")}, "temperature that is not a number"),
        ({"mine": object()}, "type object is not JSON serializable"),
    ],
)
def test_description_that_no_reader_takes_is_refused_before_the_work(
    unconverted, description, received
):
    with pytest.raises(ConversionError, match=f"description: expected .* Received: .*{received}"):
        convert(unconverted, "absent/model.tflite", description=description)


def test_home_folder_takes_a_file_that_says_numpy_values_of_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    model, names = binary(), np.array([f"class {number}" for number in range(32)])
    any_size = {"size": [None, None]}
    about = {"classes": names, "temperature": np.float32(0.5), "preprocessing": any_size}
    path = convert(model, "~/model.tflite", description=about)
    assert path == tmp_path / "model.tflite" and list(tmp_path.iterdir()) == [path]
    found = read_description("~/model.tflite")
    assert found == {**about, "classes": names.tolist(), "temperature": 0.5}
    assert audit(model, "~/model.tflite") == audit("~/model.tflite") == []
    assert load_interpreter("~/model.tflite").predict(IMAGES).shape == (2, 8, 8, 32)
    verify(model, "~/model.tflite", IMAGES, "~/device")
    assert (tmp_path / "device" / "verify.json").is_file()
    with pytest.raises(OutputError, match="expected a folder"):
        verify(model, "~/model.tflite", IMAGES, "~/model.tflite")


def test_fresh_network_converts(tmp_path):
    """Its streams are sums of a few integers, and many values are exactly 0."""
    config = GroupNetConfig(
        layout="two_stages", output_stride=8, num_bases=2, width=0.0625,
        input_shape=(32, 32, 3), num_classes=10,
    )  # fmt: skip
    convert(build(config), tmp_path / "fresh.tflite")
