"""What every named model must do, whatever the wiring of its bases, and so must its real twin.

A training step and the `.h5` file are of the deepest network at full depth: gradients fade with
depth, and HDF5 limits how many names one object can list. A network of few blocks stands in for the
rest, which depends on the kinds of layers alone: Keras needs 5 to 7 ms to build each of up
to 250 layers, in every check anew.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from conftest import CAPPED, NO_BFLOAT16
from numpy.typing import NDArray
from reference import random_images, randomise

from larq_groupnet import get_model, list_models

CLASSES = 3
SHORT = {
    "groupnet_resnet18": (1, 1, 1, 1),
    # Other numbers than those of ResNet-18, or it would be the same network.
    "groupnet_resnet34": (2, 1, 1, 1),
    # The first bottleneck of a stage never has the identity as its shortcut.
    "groupnet_resnet50": (2, 1, 1, 1),
    "groupnet_dsp": (1, 1),
}
# Of the models that score pixels, whose layout is an option.
DENSE = {
    "layout": "two_stages", "input_shape": (32, 32, 3), "num_bases": (1, 2), "output_stride": 4,
    "atrous_rates": (1, (2, 3)),
}  # fmt: skip
# With the other value of every option that a layer of our own keeps. (The mean of one base and that
# base are the same, so that a gate between them learns nothing.)
TWIN = {
    "layer": {"binary": False, "padding": "torch", "aggregation": "mean"},
    "group": {"binary": False, "padding": "torch", "aggregation": "mean"},
    "gated": {"binary": False, "padding": "torch", "gate": "base"},
}
HEADS = {"fcn16s": "groupnet_dsp", "deeplabv3": "groupnet_dsp"}
"""Other heads, which do not depend on the wiring, and their models."""

# ResNet-34 has ResNet-18's blocks; the wiring is the same with bottlenecks and under another head.
ROWS = list(itertools.product(("groupnet_resnet18",), TWIN, (True, False)))
ROWS += [("groupnet_resnet50", "gated", True), ("groupnet_resnet34", "gated", True)]
ROWS += [("groupnet_dsp", "gated", True)]
ROWS += [(head, "gated", True) for head in HEADS]
DEEP = "groupnet_resnet50"
# Each kind of layer, with each value of what it keeps: files and precisions see a network layer by
# layer.
KINDS = [("groupnet_resnet18", "gated", False), ("groupnet_resnet18", "layer", False)]
KINDS += [("groupnet_dsp", "gated", True), ("deeplabv3", "gated", True)]

Row = tuple[str, str, bool]


def test_no_model_is_left_out() -> None:
    assert set(SHORT) == set(list_models("groupnet_*"))


def build(row: Row, short: bool) -> tf.keras.Model:
    """A network of a row, without clearing what Keras knows of others."""
    name, decomposition, binary = row
    head = {"head": name} if name in HEADS else {}
    name = HEADS.get(name, name)
    options: dict[str, Any] = {
        "input_shape": (32, 32, 3),
        # One base makes lists of one tensor, and a second one has no predecessor at first.
        "num_bases": (1, 1, 2, 2) if short else (1, 1, 1, 2),
        **(DENSE if name == "groupnet_dsp" else {}),
        **({} if binary else TWIN[decomposition]),
    }
    return get_model(
        name,
        num_classes=CLASSES,
        width=0.125,
        decomposition=decomposition,
        stage_blocks=SHORT[name] if short else None,
        **head,
        **options,
    )


def images_for(model: tf.keras.Model) -> NDArray[np.float32]:
    return random_images(2, *model.input_shape[1:]).astype("float32")


def give_parameters(model: tf.keras.Model) -> tf.keras.Model:
    """Random ones; the logits are in [-1, 1], because a saturated softmax hides differences."""
    randomise(model.weights)
    logits = model.get_layer("logits")
    scores = tf.keras.Model(model.input, logits.output)(images_for(model)).numpy()
    assert np.isfinite(scores).all() and np.std(scores) > 0
    logits.set_weights([values / np.abs(scores).max() for values in logits.get_weights()])
    return model


def assert_same_outputs(first: tf.keras.Model, second: tf.keras.Model) -> None:
    """To rounding: the order of a real convolution's sums depends on how busy the machine is."""
    images = images_for(first)
    np.testing.assert_allclose(first(images), second(images), rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="class", params=ROWS, ids=lambda row: f"{row[0]}-{row[1]}-{row[2]}")
def row(request: pytest.FixtureRequest) -> Iterator[Row]:
    yield request.param
    tf.keras.backend.clear_session()


@pytest.fixture(scope="class")
def short(row: Row) -> tf.keras.Model:
    """A network of few blocks."""
    return give_parameters(build(row, short=True))


@pytest.fixture(scope="class")
def kind(row: Row) -> None:
    if row not in KINDS:
        pytest.skip("its layers are those of other rows")


@pytest.fixture(scope="class")
def model(row: Row, request: pytest.FixtureRequest) -> tf.keras.Model:
    """The network: of full depth if it is the deepest."""
    if row[0] != DEEP:
        return request.getfixturevalue("short")
    return give_parameters(build(row, short=False))


@pytest.fixture
def policy() -> Iterator[Callable[[str], None]]:
    yield tf.keras.mixed_precision.set_global_policy
    tf.keras.mixed_precision.set_global_policy("float32")


class TestFamily:
    def test_training_step_moves_every_weight(self, model: tf.keras.Model) -> None:
        weights = model.trainable_weights
        images = images_for(model)
        target = random_images(2, *model.output_shape[1:], seed=1).astype("float32")
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(images, training=True) - target))
        gradients = tape.gradient(loss, weights)
        named = {w.name: g for w, g in zip(weights, gradients, strict=True)}
        assert [name for name, gradient in named.items() if gradient is None] == []
        assert [name for name, g in named.items() if not np.isfinite(g).all()] == []
        assert [name for name, gradient in named.items() if not np.any(gradient)] == []
        before = model.get_weights()
        old = {weight.name: weight.numpy() for weight in weights}
        tf.keras.optimizers.Adam(0.01).apply_gradients(zip(gradients, weights, strict=True))
        new = {weight.name: weight.numpy() for weight in weights}
        model.set_weights(before)
        assert [name for name in new if not np.isfinite(new[name]).all()] == []
        assert [name for name in new if np.array_equal(new[name], old[name])] == []

    @pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning")
    def test_hdf5(self, model: tf.keras.Model, row: Row, tmp_path: Path) -> None:
        if row not in KINDS and row[0] != DEEP:
            pytest.skip("its layers are those of other rows")
        model.save(tmp_path / "model.h5")
        assert_same_outputs(model, tf.keras.models.load_model(tmp_path / "model.h5"))

    def test_summary(self, model: tf.keras.Model, row: Row, capsys: Any) -> None:
        lq.models.summary(model)
        printed = capsys.readouterr().out
        convolutions = [
            layer for layer in model.layers if isinstance(layer, tf.keras.layers.Conv2D)
        ]
        assert all(f"| {layer.name} " in printed for layer in convolutions)
        assert ("1-bit MACs" in printed) == row[2]

    @pytest.mark.usefixtures("kind")
    def test_keras_format(self, short: tf.keras.Model, tmp_path: Path) -> None:
        short.save(tmp_path / "model.keras")
        assert_same_outputs(short, tf.keras.models.load_model(tmp_path / "model.keras"))

    @pytest.mark.usefixtures("kind")
    def test_saved_model(self, short: tf.keras.Model, row: Row, tmp_path: Path) -> None:
        # The traces of each layer take ten times as long as the rest: once is enough.
        traced = row == ("groupnet_dsp", "gated", True)
        short.save(tmp_path / "model", save_traces=traced)
        assert_same_outputs(short, tf.keras.models.load_model(tmp_path / "model"))

    @pytest.mark.usefixtures("kind")
    def test_mixed_precision(self, row: Row, policy: Callable[[str], None]) -> None:
        kind = "float16" if row[2] else "bfloat16"
        if kind == "bfloat16" and CAPPED:
            pytest.skip(NO_BFLOAT16)
        policy(f"mixed_{kind}")
        model = build(row, short=True)
        assert model.get_layer("stage2_block1_base1_conv1").compute_dtype == kind
        values = model(images_for(model))
        assert values.dtype == "float32"
        assert np.isfinite(values).all()
