"""What the released segmentation network has and ours has not by default, folded and converted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from reference import random_images, randomise

from larq_groupnet import GroupNetConfig
from larq_groupnet.deploy import audit, convert, count_ops, quantize
from larq_groupnet.deploy.fold import fold
from larq_groupnet.deploy.runtime import load_file
from larq_groupnet.deploy.unshared import unshared
from larq_groupnet.network.build import build

RELEASED: dict[str, Any] = {
    "head": "fcn32s",
    "layout": "two_stages",
    "width": 0.0625,
    "num_classes": 5,
    "num_bases": 2,
    "output_stride": 4,
    "atrous_rates": (1, 4),
    "first_rates": "half",
    "align_corners": True,
    "spatial_dropout": True,
    "shared_shortcut": True,
    "padding": "torch",
    "input_shape": (35, 50, 3),
}


def network(**changes: Any) -> tf.keras.Model:
    model = build(GroupNetConfig(**{**RELEASED, **changes}))
    randomise(model.weights)
    return model


@pytest.fixture(scope="module")
def released() -> tf.keras.Model:
    """For tests that leave it as it is."""
    return network()


def images(height: int, width: int, count: int = 2) -> np.ndarray:
    return random_images(count, height, width, 3).astype("float32")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "head": "fcn16s",
            "decomposition": "group",
            "projection": "real",
            "output_stride": 8,
            "atrous_rates": None,
            "first_rates": None,
            "input_shape": (45, 70, 3),
        },
    ],
    ids=["as released", "FCN-16s of groups"],
)
def test_converted_it_computes_the_same(
    tmp_path: Any, released: tf.keras.Model, changes: dict[str, Any]
) -> None:
    model = network(**changes) if changes else released
    path = convert(model, tmp_path / "model.tflite")  # Verifies, and would warn of a float layer.
    assert audit(model, path.read_bytes()) == []
    given = images(*model.input_shape[1:3])
    expected, received = model(given).numpy(), load_file(path).predict(given)
    assert expected.shape == received.shape == (2, *model.input_shape[1:3], 5)
    assert np.mean(expected.argmax(-1) == received.argmax(-1)) > 0.98
    ops = count_ops(path)
    counted = ops["LceBconv2d"], ops["CONV_2D"], ops["RESIZE_BILINEAR"]
    # Two bases of 4 convolutions, with a binary shortcut or a real one; the stem and the head.
    assert counted == ((2 * 4, 5, 2) if changes else (2 * 5, 3, 1))


def test_any_size_is_read_and_converted(tmp_path: Any) -> None:
    options = {"padding": "same", "num_bases": 1}
    model = network(input_shape=(None, None, 3), **options)
    fixed = network(input_shape=(37, 29, 3), **options)
    fixed.set_weights(model.get_weights())
    given = images(37, 29)
    np.testing.assert_allclose(model(given), fixed(given), rtol=1e-5, atol=1e-5)
    path = convert(model, tmp_path / "model.tflite", input_shape=(37, 29, 3))
    assert load_file(path).predict(given).shape == (2, 37, 29, 5)


def test_folded_it_computes_the_same_and_calls_each_layer_once() -> None:
    model = network(num_bases=3)
    folded = fold(model)
    given = images(35, 50)
    np.testing.assert_allclose(folded(given), model(given), rtol=1e-3, atol=1e-3)
    names = [layer.name for layer in folded.layers]
    assert {f"stage2_block1_shortcut{end}" for end in ("", "_2", "_3", "_bn", "_bn_3")} <= {*names}
    assert not any(isinstance(layer, tf.keras.layers.Dropout) for layer in folded.layers)


def test_unshared_model_is_a_copy_and_one_without_shared_layers_itself(
    released: tf.keras.Model,
) -> None:
    copy = unshared(released)
    given = images(35, 50)
    np.testing.assert_array_equal(copy(given), released(given))
    assert all(len(layer.inbound_nodes) == 1 for layer in copy.layers)
    assert unshared(copy) is copy


def test_shared_layer_of_integers(tmp_path: Any, released: tf.keras.Model) -> None:
    given = images(35, 50, 4)
    path = convert(quantize(released, given), tmp_path / "model.tflite", data=given)
    found, expected = load_file(path).predict(given), released(given).numpy()
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.9
