"""Whole models saved by Keras are loaded, or refused with a reason."""

import numpy as np
import pytest
import tensorflow as tf

from larq_groupnet import load_model
from larq_groupnet.errors import MissingFileError, RecipeError, UserError
from larq_groupnet.runs.saved import is_whole_model


class Unregistered(tf.keras.layers.Layer):
    """A layer that is not registered with Keras."""


def network(*layers):
    model = tf.keras.Sequential([tf.keras.layers.Input((2,)), *layers, tf.keras.layers.Dense(1)])
    model.compile("adam", "mse")
    return model


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("name", ["whole.keras", "whole.h5", "whole.hdf5"])
def test_model_in_the_home_folder_is_loaded_and_compiled_on_request(tmp_path, monkeypatch, name):
    monkeypatch.setenv("HOME", str(tmp_path))
    model, images = network(), np.ones((1, 2), "f4")
    model.save(tmp_path / name, save_format=None if name.endswith("keras") else "h5")
    assert is_whole_model(f"~/{name}")
    loaded = load_model(f"~/{name}")
    np.testing.assert_array_equal(loaded(images), model(images))
    assert loaded.optimizer is None
    assert load_model(f"~/{name}", compile=True).evaluate(images, images[:, :1], verbose=0) >= 0


def test_what_is_no_whole_model_is_refused_with_the_way_to_load_it(tmp_path):
    network().save_weights(tmp_path / "alone.weights.h5")
    network(Unregistered()).save(tmp_path / "mine.keras")
    (tmp_path / "damaged.keras").write_bytes(b"PK")
    for name, error, said in (
        ("absent.keras", MissingFileError, "no such file.*load_run"),
        ("cifar10", MissingFileError, "no such file.*registered names, use .*load_run"),
        (".", RecipeError, "one without an architecture.*load_run"),
        ("alone.weights.h5", RecipeError, "one without an architecture.*load_run"),
        ("mine.keras", RecipeError, "or registered ones. Received: .*Unregistered"),
        ("damaged.keras", RecipeError, "a whole model saved by Keras.* Received: "),
    ):
        with pytest.raises(error, match=said) as found:
            load_model(tmp_path / name)
        assert "\n" not in str(found.value)
    said = "expected the path of a whole model.* Received: .* Sequential"
    with pytest.raises(UserError, match=said):
        load_model(network())
