"""Converted files run by larq-groupnet-runtime, and by LCE without it."""

import numpy as np
import pytest
import tensorflow as tf

from larq_groupnet import GroupNetConfig, build
from larq_groupnet.deploy import (
    ConversionError,
    convert,
    convert_int8,
    load_interpreter,
    predict_int8,
    quantize,
    runtime,
    verify,
)
from larq_groupnet.deploy.verify import VerificationError

installed = pytest.mark.skipif(
    runtime.Interpreter is None, reason="larq-groupnet-runtime is not installed"
)
ENGINES = [pytest.param("larq-groupnet-runtime", marks=installed), "LCE"]


@pytest.fixture(params=ENGINES)
def engine(request, monkeypatch):
    if request.param == "LCE":
        monkeypatch.setattr(runtime, "Interpreter", None)
    return request.param


@pytest.fixture(scope="module")
def data():
    return np.random.default_rng(0).standard_normal((6, 32, 32, 3)).astype("float32")


@pytest.fixture(scope="module")
def model():
    tf.keras.utils.set_random_seed(0)
    return build(
        GroupNetConfig(
            input_shape=(32, 32, 3), num_classes=4, num_bases=1, width=0.125,
            layout="two_stages", output_stride=8,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def file(model, data, tmp_path_factory):
    return convert(model, tmp_path_factory.mktemp("file") / "model.tflite", data=data)


@pytest.fixture(scope="module")
def int8_file(model, data, tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "model.tflite"
    return convert_int8(quantize(model, data), path, data=data)


def test_load_file_computes_what_lce_computes(engine, file, data):
    loaded = runtime.load_file(file)
    assert loaded.engine == engine
    assert loaded.input_shapes == [(1, 32, 32, 3)] and loaded.output_shape == (1, 4)
    found = loaded.predict(data)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, load_interpreter(file).predict(data), atol=1e-4)


def test_load_file_translates_integers(engine, int8_file, data):
    expected = predict_int8(int8_file, data)
    found = runtime.load_file(int8_file).predict(data)
    # A level of the output or two, where the stem's sums are rounded otherwise.
    np.testing.assert_allclose(found, expected, atol=2.1 / 256)


def test_load_file_names_a_damaged_file(engine, file, tmp_path):
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(ConversionError) as caught:
        runtime.load_file(damaged)
    assert "\n" not in str(caught.value)


@installed
def test_verify_takes_the_runtime_as_a_second_engine(model, file, data, monkeypatch):
    assert verify(model, file, data).runtime == 1.0
    right = runtime.Interpreter.predict
    monkeypatch.setattr(runtime.Interpreter, "predict", lambda *args: right(*args)[:, ::-1])
    with pytest.raises(VerificationError, match="half of the outputs of larq-groupnet-runtime"):
        verify(model, file, data)


def test_verify_without_the_runtime_says_so(model, file, data, monkeypatch):
    monkeypatch.setattr(runtime, "Interpreter", None)
    assert verify(model, file, data).runtime is None
