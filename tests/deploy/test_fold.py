"""Folding: the same function, the same signs, fewer multiplications."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from near_ties import assert_same_classes
from reference import random_images, randomise

from larq_groupnet import GroupNetConfig
from larq_groupnet.deploy import convert, count_ops, load_interpreter
from larq_groupnet.deploy.export import to_tflite
from larq_groupnet.deploy.fold import fold
from larq_groupnet.deploy.signs import SignsOfFile
from larq_groupnet.deploy.unshared import unshared
from larq_groupnet.deploy.verify import verify
from larq_groupnet.network.build import build
from larq_groupnet.network.layers import Aggregate, ConstantPad2D, SoftGate
from larq_groupnet.network.quantizers import FastSteSign

layers = tf.keras.layers

IMAGES = random_images(2, 16, 16, 3, seed=3)


def tiny(**changes: Any) -> tf.keras.Model:
    """3 blocks of 2 bases, 4 and 8 channels, 16 x 16 images; the last stage has an inner gate."""
    values = {
        "input_shape": (16, 16, 3),
        "layout": "two_stages",
        "stage_blocks": (1, 2),
        "num_bases": 2,
        "num_classes": 5,
        "width": 0.0625,
        "stem_stride": 1,
        "output_stride": 2,
        "head": None,
    }
    model = build(GroupNetConfig(**{**values, **changes}))
    randomise(model.weights)
    if changes.get("head") == "classifier":
        # Else the softmax is 0 or 1, whatever the scores are.
        kernel = model.get_layer("logits").kernel
        kernel.assign(kernel / 30)
    return model


def set_all(model: tf.keras.Model, suffix: str, value: Any) -> None:
    chosen = [weight for weight in model.weights if weight.name.endswith(suffix)]
    assert chosen
    for weight in chosen:
        weight.assign(np.resize(value, weight.shape))


def multiplications(model: tf.keras.Model) -> list[Any]:
    return [layer for layer in model.layers if isinstance(layer, layers.Rescaling)]


def names(model: tf.keras.Model) -> list[set[str]]:
    """What must keep its name: real and binary layers, normalisations, inputs, outputs."""
    kinds = (layers.Conv2D, layers.Dense), layers.BatchNormalization, layers.InputLayer
    by_kind = [{x.name for x in model.layers if isinstance(x, kind)} for kind in kinds]
    return [*by_kind, set(model.output_names)]


def run(model: tf.keras.Model, images: Any = IMAGES) -> tuple[Any, dict[str, Any]]:
    """The output, and what each binary convolution reads, by its name."""
    inputs = {x.name: x.input for x in model.layers if isinstance(x, lq.layers.QuantConv2D)}
    output, values = tf.keras.Model(model.input, [model.output, inputs])(images)
    return output.numpy(), {name: value.numpy() for name, value in values.items()}


def assert_same(model: tf.keras.Model, folded: tf.keras.Model, tolerance: float = 1e-9) -> None:
    """Equal outputs, and equal signs of all values that are above `tolerance` of the largest."""
    (expected, signed), (received, folded_signed) = run(model), run(folded)
    for name, value in folded_signed.items():
        clear = np.abs(signed[name]) >= tolerance * np.abs(signed[name]).max()
        assert clear.mean() > 0.9, name
        np.testing.assert_array_equal(value[clear] > 0, signed[name][clear] > 0, err_msg=name)
        assert np.isfinite(value).all(), name
    assert expected.std() > 0
    # A softmax is computed in float32.
    tolerance = max(tolerance, 8 * np.finfo(expected.dtype).eps)
    np.testing.assert_allclose(received, expected, rtol=0, atol=tolerance * np.abs(expected).max())


ONE = {"num_bases": 1, "head": "classifier"}

FEW = {"stage_blocks": (1, 1)}
"""Where an inner gate changes nothing."""

# Options, and the most multiplications that may remain: of the gates + of the last aggregate.
CASES: dict[str, tuple[dict[str, Any], int]] = {
    "mean": (
        {
            "aggregation": "mean",
            "first_base_sums": True,
            "stem_bias": True,
            "head": "fcn32s",
            "output_stride": 1,
            "atrous_rates": (1, "2-6"),
        },
        2 * 1 + 0,
    ),
    # The first base takes a shared map, each other one a multiple of it.
    "gate_base": ({"gate": "base", "padding": "torch"}, 2 * (2 + 1) + 2),
    # Behind the inner gate the bases differ in scale: the sum, and the mean, weigh them.
    "gate_base_mean": (
        {"gate": "base", "aggregation": "mean", "first_base_sums": True, "head": "classifier"},
        2 * (1 + 1) + 3,
    ),
    "more_bases": ({"num_bases": (1, 3), "shortcut": "block"}, 1 + 3 + 3),
    # Where there is one base, gate and aggregate are factors of its own stream.
    "one_base": ({**ONE, "gate": "base", "aggregation": "mean"}, 0),
    # Its random scales are negative, which no sign ignores.
    "one_base_scaled": (ONE, 3),
    # The first stage's aggregate, which a real layer reads as well.
    "fcn16s": ({"num_bases": (2, 1), "head": "fcn16s"}, 2),
    # Conversion folds factors that follow a convolution.
    "layer": (
        {"decomposition": "layer", "aggregation": "mean", "shortcut": "block", **FEW},
        0,
    ),
    # The branches stay side by side at one scale, so that nothing in the head is multiplied.
    "deeplabv3": ({"head": "deeplabv3", "aggregation": "mean"}, 2 + 1),
    "pairs": ({"decomposition": "group", "blocks_per_group": 2, "aggregation": "mean"}, 1),
}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("changes", "most"), CASES.values(), ids=CASES.keys())
def test_every_network_keeps_its_function(changes: dict[str, Any], most: int) -> None:
    model = tiny(**changes)
    before = model.get_weights()
    folded = fold(model)
    assert_same(model, folded)
    assert names(folded) == names(model)
    assert len(multiplications(folded)) <= most
    for ours, theirs in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.usefixtures("float64")
def test_real_twin_keeps_its_function() -> None:
    model = tiny(binary=False)
    assert_same(model, fold(model))


# In float64 the sigmoid of 40 is 1 and that of -800 is 0.
@pytest.mark.usefixtures("float64")
def test_gates_near_0_and_1() -> None:
    model = tiny(gate="base")
    gates = [x for x in model.layers if isinstance(x, SoftGate)]
    for thetas in ((-20, 20), (-800, 40, -20)):
        for k, layer in enumerate(gates):
            layer.set_weights([np.roll(thetas, k)[: layer.theta.shape[0]]])
        assert_same(model, fold(model))


@pytest.mark.usefixtures("float64")
def test_gates_that_are_open_or_shut_leave_nothing_to_multiply() -> None:
    model = tiny(stage_blocks=(1, 1), aggregation="mean", head="classifier")
    for theta in (-800, 40):
        set_all(model, "theta:0", theta)
        folded = fold(model)
        assert_same(model, folded)
        assert not multiplications(folded)


@pytest.mark.usefixtures("float64")
def test_one_base_of_positive_scales_leaves_nothing_to_multiply() -> None:
    model = tiny(**ONE)
    set_all(model, "scales:0", 0.4)
    folded = fold(model)
    assert_same(model, folded)
    assert not multiplications(folded)
    assert sum(isinstance(layer, layers.Add) for layer in folded.layers) == 2 * 3


def test_scale_that_float32_cannot_hold_starts_again() -> None:
    """Two gates of 4e-18 in one stage would make it 6e34."""
    model = tiny(stage_blocks=(3, 1))
    set_all(model, "theta:0", -40)
    folded = fold(model)
    assert_same(model, folded, tolerance=1e-5)
    branches = [x.name for x in multiplications(folded) if "aggregate" not in x.name]
    assert len(branches) == 2


@pytest.mark.usefixtures("float64")
def test_scales_of_any_sign_and_size() -> None:
    model = tiny(stage_blocks=(1, 5))
    aggregates = [x for x in model.layers if isinstance(x, Aggregate)]
    scales = ([-0.5, -0.5], [0, -2], [1e-30, -1], [1e-200, 0], [0, 0], [1e100, -1e100])
    for layer, values in zip(aggregates, scales, strict=True):
        layer.set_weights([np.array(values)])
    folded = fold(model)
    assert_same(model, folded)
    # Equal scales need one factor, those of 0 none, 1e-200 more than the sums before it can take.
    assert len(multiplications(folded)) == 1 + 1 + 2 + 1 + 1 + 2


def test_tiny_variances_in_float32() -> None:
    """Keras' fused normalisation has a least epsilon of its own."""
    model = tiny(batch_norm_epsilon=1e-7, **FEW)
    set_all(model, "moving_variance:0", [0.0, 1e-12])
    assert_same(model, fold(model), tolerance=1e-5)


@pytest.mark.usefixtures("float64")
def test_fold_leaves_few_multiplications_and_none_on_a_branch() -> None:
    model = tiny()
    folded = fold(model)
    assert_same(model, folded)
    counts: Counter[str] = Counter()
    for layer in multiplications(folded):
        block, aggregate, _ = layer.name.partition("_aggregate")
        assert aggregate, f"{layer.name} is on a branch"
        assert layer.output.shape == model.get_layer(block + aggregate).output.shape
        counts[block] += 1
    # One aggregate per block.
    assert len(counts) == 3
    assert max(counts.values()) == 2


@pytest.mark.slow
def test_converted_file(tmp_path) -> None:
    """All binary, one quantisation per tensor, no product but those of the aggregates."""
    bases = 2
    blocks = {"stage_blocks": (1, 1), "num_bases": bases, "padding": "torch"}
    model = tiny(input_shape=(32, 32, 3), head="classifier", **blocks)
    set_all(model, "scales:0", [0.4, 0.7])
    path = convert(model, tmp_path / "model.tflite")
    ops = count_ops(path)
    assert ops["LceBconv2d"] == bases * (2 * 2 + 1)
    # The first block's bases share their input; padded inputs differ from those of shortcuts.
    assert ops["LceQuantize"] == 1 + bases * (1 + 3)
    assert ops["MUL"] == bases + (bases - 1)
    assert not ops["ADD_N"]
    images = random_images(2, 32, 32, 3).astype(np.float32)
    expected = model(images).numpy()
    received = load_interpreter(path).predict(images)
    np.testing.assert_allclose(received, expected, atol=1e-3)


def test_every_layer_may_be_an_output() -> None:
    """Also those whose tensors the folded network holds at another scale."""
    tested = tiny(gate="base", head="classifier")
    # A normalisation that is an output stays at scale 1, and with it what it is added to.
    chosen = [x for x in tested.layers[1:] if not re.search("base1.*_bn", x.name)]
    model = tf.keras.Model(tested.input, [layer.output for layer in chosen])
    folded = fold(model)
    assert folded.output_names == model.output_names
    for name, x, y in zip(
        model.output_names,
        tf.nest.flatten(model(IMAGES)),
        tf.nest.flatten(folded(IMAGES)),
        strict=True,
    ):
        atol = 1e-5 * np.abs(x).max()
        np.testing.assert_allclose(y, x, rtol=0, atol=atol, err_msg=name)


def test_folded_network_saves_and_folds() -> None:
    folded = fold(tiny(num_bases=1, head="fcn32s"))
    twin = tf.keras.Model.from_config(folded.get_config())
    twin.set_weights(folded.get_weights())
    np.testing.assert_array_equal(twin(IMAGES), folded(IMAGES))
    np.testing.assert_array_equal(fold(folded)(IMAGES), folded(IMAGES))
    assert not any(isinstance(layer, layers.Dropout) for layer in folded.layers)


QUANTIZERS = {
    "ste_sign": 0,
    "approx_sign": 0,
    "swish_sign": 0,
    "ste_heaviside": 0,
    "ste_tern": 1,
    "dorefa_quantizer": 1,
    "magnitude_aware_sign": 1,
}


@pytest.mark.parametrize(
    ("quantizer", "count"),
    [*QUANTIZERS.items(), (FastSteSign(), 0)],
    ids=[*QUANTIZERS, "fast_ste_sign"],
)
def test_only_signs_ignore_a_factor(quantizer: Any, count: int) -> None:
    inputs = [layers.Input((8, 8, 4)) for _ in range(3)]
    mean = Aggregate(learned=False)(inputs)
    outputs = lq.layers.QuantConv2D(4, 3, input_quantizer=quantizer)(mean)
    model = tf.keras.Model(inputs, outputs)
    folded = fold(model)
    images = list(random_images(3, 2, 8, 8, 4).astype(np.float32))
    np.testing.assert_allclose(folded(images), model(images), rtol=1e-5, atol=1e-6)
    assert len(multiplications(folded)) == count


def foreign() -> tf.keras.Model:
    """What `build` never makes: shared layers, operators, limits, options, two inputs."""
    x, other = layers.Input((8, 8, 4), name="x"), layers.Input((8, 8, 4), name="other")

    def mean() -> Any:
        """What `fold` holds at another scale."""
        return Aggregate(learned=False)([x, other])

    shared = layers.Conv2D(4, 3, padding="same", name="shared")
    h = layers.ReLU(max_value=0.5, name="limited")(mean()) + 2 * shared(mean()) + shared(x)
    h = layers.Add(name="twice")([h, h, layers.ReLU(threshold=0.1, name="threshold")(mean())])
    h = layers.Add(name="weighed")([layers.ReLU(negative_slope=0.1, name="leaky")(mean()), h])
    h = layers.Activation("linear", name="nothing")(h)
    batch = layers.BatchNormalization(name="batch_statistics")(mean(), training=True)
    batch += layers.BatchNormalization(scale=False, name="unscaled")(mean())
    padded = ConstantPad2D(((1, 0), (1, 0)), 2.0, name="padded")(mean())
    inner = tf.keras.Sequential([layers.Conv2D(4, 2, name="inner_conv")], name="inner")(padded)
    return tf.keras.Model(
        {"x": x, "other": other}, {"h": layers.Dropout(0.5, name="drop")(h), "b": [batch, inner]}
    )


def test_other_models_come_back_equal() -> None:
    model = foreign()
    kernels = [weight for weight in model.weights if "moving" not in weight.name]
    randomise(kernels)
    folded = fold(model)
    x, other = random_images(2, 3, 8, 8, 4).astype(np.float32)
    expected, received = (m({"x": x, "other": other}) for m in (model, folded))
    tf.nest.assert_same_structure(expected, received)
    for a, b in zip(tf.nest.flatten(expected), tf.nest.flatten(received), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)
    assert folded.input_names == model.input_names
    assert folded.output_names == model.output_names


def test_model_without_a_graph_is_refused() -> None:
    class Subclassed(tf.keras.Model):
        pass

    for model in (Subclassed(name="mine"), tf.keras.Sequential([layers.ReLU()], name="mine")):
        with pytest.raises(ValueError, match="functional Keras model.*Received: .* 'mine'"):
            fold(model)


def wrapped(body: tf.keras.Model, **call: Any) -> tf.keras.Model:
    """A network inside another that normalises the bytes of a camera."""
    inputs = tf.keras.Input(body.input_shape[1:], dtype="uint8")
    return tf.keras.Model(inputs, body(layers.Rescaling(1 / 127.5, -1)(inputs), **call))


def test_nested_model_is_folded_as_if_it_stood_outside() -> None:
    body = tiny(head="classifier", **FEW)
    model = wrapped(body)
    folded, alone = fold(model), fold(body)
    images = np.random.RandomState(0).randint(0, 256, (2, 16, 16, 3)).astype("uint8")
    expected = model(images).numpy()
    # Folding rounds otherwise, and a sign near zero may flip: on the folded body's own terms.
    np.testing.assert_allclose(folded(images).numpy(), alone(images / 127.5 - 1).numpy(), 1e-3)
    assert_same_classes(folded(images), expected)
    assert not any(isinstance(layer, tf.keras.Model) for layer in folded.layers)
    assert len(multiplications(folded)) == len(multiplications(alone)) + 1


def test_nested_model_that_cannot_be_folded_says_why() -> None:
    body = tiny(head="classifier", num_bases=1, stage_blocks=(1, 1))
    with pytest.warns(UserWarning, match="is not folded.*training=True"):
        folded = fold(wrapped(body, training=True))
    assert sum(isinstance(layer, tf.keras.Model) for layer in folded.layers) == 1


class NameLess(layers.Layer):
    """A layer as people write them: its `__init__` takes no name."""

    def __init__(self) -> None:
        super().__init__()

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return 2.0 * inputs


def test_nested_model_is_given_its_inputs_by_name_or_beside_a_layer_without_one() -> None:
    first, second = (tf.keras.Input((4, 4, 3), name=name) for name in ("z", "a"))
    body = tf.keras.Model([first, second], layers.Add()([layers.Rescaling(5.0)(first), second]))
    inputs = tf.keras.Input((4, 4, 3))
    output = NameLess()(body({"z": layers.Rescaling(0.1)(inputs), "a": inputs}))
    model = tf.keras.Model(inputs, output)
    images = IMAGES[:, :4, :4]
    np.testing.assert_allclose(model(images), 3 * images, rtol=1e-5)
    for copy in (unshared(model), fold(model)):
        np.testing.assert_allclose(copy(images), model(images), rtol=1e-5)


def test_networks_of_equal_names_are_folded_and_each_of_their_signs_compared() -> None:
    """An ensemble, one member of which is called twice."""
    first, second = (tiny(head="classifier", num_bases=1, stage_blocks=(1, 1)) for _ in range(2))
    randomise(second.weights, seed=7)
    second._name = "second"
    inputs = tf.keras.Input((16, 16, 3), name="input")
    twice = first(inputs), first(layers.Rescaling(-1.0, name="logits_2")(inputs))
    model = tf.keras.Model(inputs, layers.Average(name="mean")([*twice, second(inputs)]))
    folded = fold(model)
    assert not any(isinstance(layer, tf.keras.Model) for layer in folded.layers)
    assert {"logits", "logits_2", "logits_3", "logits_4"} <= {x.name for x in folded.layers}
    np.testing.assert_allclose(folded(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-6)
    content, images = to_tflite(folded), IMAGES.astype("f4")
    signs = SignsOfFile(unshared(model), content)
    signs(images[:1])
    assert not signs.not_compared
    binary = [x for x in first.layers if isinstance(x, lq.layers.QuantConv2D)]
    of_one = sum(np.prod(x.input_shape[1:]) for x in binary)
    assert sum(x.values for x in signs.flips.values()) == 3 * of_one
    assert verify(model, content, images).verdict in ("equal", "rounding")
