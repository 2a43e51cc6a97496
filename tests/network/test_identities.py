"""What must hold between Group-Nets, whatever the parameters are.

Networks run in float64 on random parameters. Two that are the same in exact arithmetic are held to
TOLERANCE: rounding differs in the last bits where sums are taken in another order.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from reference import assign, random_images, randomise

from larq_groupnet import GroupNetConfig
from larq_groupnet.network.build import build

Array = NDArray[np.float64]

TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}
IMAGES = random_images(2, 16, 16, 3, seed=3)
# The sigmoid of 40 is 1 in float64, that of -40 is 4e-18.
SATURATED = 40.0
TORCH = {"padding": "torch"}

pytestmark = pytest.mark.usefixtures("float64")


@functools.cache
def built(config: GroupNetConfig) -> tf.keras.Model:
    """One network for all tests, each of which sets every weight before it runs it."""
    return build(config)


def tiny(**changes: Any) -> tf.keras.Model:
    """3 blocks of 2 bases, 4 and 8 channels, 16 x 16 images, the last aggregate as output."""
    values = {
        "input_shape": (16, 16, 3),
        "layout": "two_stages",
        "stage_blocks": (2, 1),
        "num_bases": 2,
        "width": 0.0625,
        "stem_stride": 1,
        "output_stride": 2,
        "head": None,
    }
    return built(GroupNetConfig(**{**values, **changes}))


def run(model: tf.keras.Model, params: dict[str, Array] | None = None) -> Array:
    """The model's output on IMAGES, with `params` copied by name."""
    if params is not None:
        assign(model.weights, params)
    return model(IMAGES).numpy()


def set_all(params: dict[str, Array], suffix: str, value: float) -> dict[str, Array]:
    """A copy in which each parameter whose name ends in `suffix` is constant."""
    chosen = {k for k in params if k.endswith(suffix)}
    assert chosen
    return {k: np.full_like(v, value) if k in chosen else v for k, v in params.items()}


def shapes(model: tf.keras.Model) -> list[tuple[str, tuple[int, ...]]]:
    """Name and shape of every weight, in the order of `set_weights`."""
    return [(weight.name, tuple(weight.shape)) for weight in model.weights]


def assert_same(first: Array, second: Array) -> None:
    assert np.std(first) > 0.01
    np.testing.assert_allclose(first, second, **TOLERANCE)


def assert_differ(first: Array, second: Array) -> None:
    assert not np.allclose(first, second, rtol=0.01, atol=0.01)


def test_open_gates_give_networks_that_never_mix() -> None:
    gated, separate = tiny(), tiny(decomposition="group", blocks_per_group=3)
    params = randomise(gated.weights)
    separate_output = run(separate, params)
    assert_differ(run(gated), separate_output)
    assert_same(run(gated, set_all(params, "theta:0", SATURATED)), separate_output)


def test_closed_gates_give_one_group_per_block() -> None:
    gated = tiny(gate="base", num_bases=(2, 3))
    grouped = tiny(decomposition="group", num_bases=(2, 3))
    params = randomise(gated.weights)
    grouped_output = run(grouped, params)
    assert_differ(run(gated), grouped_output)
    assert_same(run(gated, set_all(params, "theta:0", -SATURATED)), grouped_output)


def test_scales_of_one_over_k_are_the_mean() -> None:
    scaled, mean = tiny(), tiny(aggregation="mean")
    params = randomise(scaled.weights)
    mean_output = run(mean, params)
    assert_differ(run(scaled), mean_output)
    assert_same(run(scaled, set_all(params, "scales:0", 0.5)), mean_output)


def test_gate_does_nothing_to_a_single_base() -> None:
    gated, grouped = tiny(num_bases=1), tiny(num_bases=1, decomposition="group")
    params = set_all(randomise(gated.weights), "scales:0", 1.0)
    assert_same(run(gated, params), run(grouped, params))


def test_layer_wise_is_group_wise_for_a_single_base() -> None:
    layer_wise = tiny(num_bases=1, decomposition="layer")
    group_wise = tiny(num_bases=1, decomposition="group")
    params = set_all(randomise(layer_wise.weights), "scales:0", 1.0)
    # A layer-wise batch normalisation belongs to all bases of its block.
    params |= {re.sub(r"(block\d)_(.*_bn/)", r"\1_base1_\2", k): v for k, v in params.items()}
    for name, shape in shapes(group_wise):
        if name.endswith("scales:0"):
            params[name] = np.ones(shape)
    assert_same(run(layer_wise, params), run(group_wise, params))


SWAPPED = {
    "gated": (
        {
            "num_bases": 3,
            "gate": "base",
            "atrous_rates": ((2, 3, 4), (5, 6, 7)),
        },
        ((4, 3, 2), (7, 6, 5)),
    ),
    "group": ({"decomposition": "group", "blocks_per_group": 3}, None),
    "layer": ({"decomposition": "layer"}, None),
}


@pytest.mark.parametrize(("changes", "rates"), SWAPPED.values(), ids=SWAPPED.keys())
def test_order_of_the_bases_is_free(changes: dict[str, Any], rates: Any) -> None:
    model = tiny(**changes)
    params = randomise(model.weights)
    before = run(model)
    exchanged = swap_bases(params, changes.get("num_bases", 2))
    kernels = {k: v for k, v in exchanged.items() if k.endswith("kernel:0")}
    assert_differ(run(model, {**params, **kernels}), before)
    swapped = tiny(**{**changes, "atrous_rates": rates})
    assert_same(run(swapped, exchanged), before)


def swap_bases(params: dict[str, Array], last: int) -> dict[str, Array]:
    """The first and the last base exchanged with all that belongs to them."""
    other = {"_base1_": f"_base{last}_", f"_base{last}_": "_base1_"}
    swapped = {re.sub(f"_base[1{last}]_", lambda m: other[m[0]], k): v for k, v in params.items()}
    return {k: v[::-1] if k.endswith(("scales:0", "theta:0")) else v for k, v in swapped.items()}


@pytest.mark.parametrize(
    "changes",
    [{"decomposition": "layer", "output_stride": 1, "atrous_rates": (1, "2-6")}, TORCH],
    ids=["same", "torch"],
)
def test_binary_convolutions_count_whole_signs(changes: dict[str, Any]) -> None:
    """A sum of n signs is an integer from -n to n, as even as n is: padding adds signs too."""
    # 5 channels in the first stage: with an even number, zeros in the padding change no parity.
    model = tiny(width=5 / 64, **changes)
    randomise(model.weights)
    convs = [layer for layer in model.layers if isinstance(layer, lq.layers.QuantConv2D)]
    assert len(convs) == sum("_base" in name and "kernel" in name for name, _ in shapes(model))
    outputs = tf.keras.Model(model.input, [conv.output for conv in convs])(IMAGES)
    for conv, output in zip(convs, outputs, strict=True):
        fan_in = int(np.prod(conv.kernel.shape[:3]))
        values = output.numpy()
        assert np.std(values) > 0, conv.name
        assert np.all(np.abs(values) <= fan_in), conv.name
        assert np.all((values + fan_in) % 2 == 0), conv.name


def test_real_twin_has_the_same_weights() -> None:
    binary, real = (tiny(width=5 / 64, binary=kind, **TORCH) for kind in (True, False))
    assert shapes(binary) == shapes(real)
    params = randomise(binary.weights)
    assert_differ(run(binary), run(real, params))
