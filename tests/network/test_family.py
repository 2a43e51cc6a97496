"""What every wiring of the bases and every head must do, and so must the real twin.

A training step and an `.h5` file are of the deepest network at full depth: gradients fade with
depth, and HDF5 limits how many names one object can list. Networks of few blocks stand in for the
rest, which depends on the kinds of layers alone: files and precisions see a network layer by layer.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from conftest import CAPPED, NO_BFLOAT16
from numpy.typing import NDArray
from reference import random_images, randomise

from larq_groupnet import GroupNetConfig
from larq_groupnet.network.build import build

# One base makes lists of one tensor, and a second one has no predecessor at first.
SHORT = {"layout": "two_stages", "stage_blocks": (1, 2), "num_bases": (1, 2), "output_stride": 2}
DENSE = {**SHORT, "stage_blocks": (1, 1), "stem_stride": 4, "output_stride": 4}
DENSE["atrous_rates"] = (1, (2, 3))
TWIN = {"binary": False, "padding": "torch"}
# Every wiring and its twin, and every head. (The mean of one base and that base are the same, so
# that a gate between them learns nothing.)
NETWORKS: dict[str, dict[str, Any]] = {
    "deep": {"layout": "resnet50", "num_bases": (1, 1, 1, 2), "output_stride": 8},
    "layer": {**DENSE, "decomposition": "layer", "head": "fcn16s"},
    "group": {**SHORT, "decomposition": "group"},
    "gated": {**DENSE, "head": "deeplabv3"},
    "scores": {**DENSE, "head": "fcn32s"},
    "real layer": {**DENSE, **TWIN, "decomposition": "layer", "head": "fcn16s"},
    "real group": {**SHORT, **TWIN, "decomposition": "group", "aggregation": "mean"},
    "real gated": {**SHORT, **TWIN, "gate": "base"},
}
NETWORKS["real layer"] |= {"aggregation": "mean", "align_corners": True}
# Each kind of layer, with each value of what it keeps.
KINDS = ("gated", "real layer", "real gated")


def make(name: str) -> tf.keras.Model:
    options = {"input_shape": (32, 32, 3), "num_classes": 3, "width": 0.125, "stem_stride": 1}
    return build(GroupNetConfig(**{**options, **NETWORKS[name]}))


@functools.cache
def network(name: str) -> tf.keras.Model:
    """A network with random parameters, shared by the tests. Each leaves it as it was.

    The logits are in [-1, 1], because a saturated softmax hides differences.
    """
    model = make(name)
    randomise(model.weights)
    logits = model.get_layer("logits")
    scores = tf.keras.Model(model.input, logits.output)(images_for(model)).numpy()
    assert np.isfinite(scores).all() and np.std(scores) > 0
    logits.set_weights([values / np.abs(scores).max() for values in logits.get_weights()])
    return model


def images_for(model: tf.keras.Model) -> NDArray[np.float32]:
    return random_images(2, *model.input_shape[1:]).astype("float32")


def assert_same_outputs(first: tf.keras.Model, second: tf.keras.Model) -> None:
    """To rounding: the order of a real convolution's sums depends on how busy the machine is."""
    images = images_for(first)
    np.testing.assert_allclose(first(images), second(images), rtol=1e-5, atol=1e-5)


@pytest.fixture
def policy() -> Iterator[Callable[[str], None]]:
    yield tf.keras.mixed_precision.set_global_policy
    tf.keras.mixed_precision.set_global_policy("float32")


@pytest.mark.parametrize("name", NETWORKS)
def test_training_step_moves_every_weight(name: str) -> None:
    model = network(name)
    weights = model.trainable_weights
    target = random_images(2, *model.output_shape[1:], seed=1).astype("float32")
    before = model.get_weights()
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(images_for(model), training=True) - target))
    gradients = tape.gradient(loss, weights)
    named = {w.name: g for w, g in zip(weights, gradients, strict=True)}
    assert [name for name, gradient in named.items() if gradient is None] == []
    assert [name for name, g in named.items() if not np.isfinite(g).all()] == []
    assert [name for name, gradient in named.items() if not np.any(gradient)] == []
    old = {weight.name: weight.numpy() for weight in weights}
    tf.keras.optimizers.Adam(0.01).apply_gradients(zip(gradients, weights, strict=True))
    new = {weight.name: weight.numpy() for weight in weights}
    model.set_weights(before)
    assert [name for name in new if not np.isfinite(new[name]).all()] == []
    assert [name for name in new if np.array_equal(new[name], old[name])] == []


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning")
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("deep", "model.h5"),
        *itertools.product(KINDS, ("model.h5", "model.keras")),
    ],
)
def test_saved_network_is_loaded(name: str, file: str, tmp_path: Path) -> None:
    network(name).save(tmp_path / file)
    assert_same_outputs(network(name), tf.keras.models.load_model(tmp_path / file))


def test_saved_model(tmp_path: Path) -> None:
    """A SavedModel has the layers of an `.h5` file, and their traces."""
    network("scores").save(tmp_path / "model")
    assert_same_outputs(network("scores"), tf.keras.models.load_model(tmp_path / "model"))


@pytest.mark.parametrize("name", KINDS)
def test_mixed_precision(name: str, policy: Callable[[str], None]) -> None:
    kind = "bfloat16" if name.startswith("real") else "float16"
    if kind == "bfloat16" and CAPPED:
        pytest.skip(NO_BFLOAT16)
    policy(f"mixed_{kind}")
    model = make(name)
    assert model.get_layer("stage2_block1_base1_conv1").compute_dtype == kind
    values = model(images_for(model))
    assert values.dtype == "float32"
    assert np.isfinite(values).all()
