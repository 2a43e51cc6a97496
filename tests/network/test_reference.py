"""The Keras models against the NumPy float64 network of `tests/reference`, which shares no code.

The Keras side runs in float64 too. Both then agree to about 1e-14, so that a value within
rounding of 0, whose sign could flip and move everything after it, is practically absent: deep
sign chains can be held to TOLERANCE. Only softmax and upsampling, which are always float32, get
FLOAT32_TOLERANCE; what goes into them is held to TOLERANCE.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from reference import random_images, randomise
from reference.network import Network, Options

from larq_groupnet import GroupNetConfig
from larq_groupnet.network.build import build
from larq_groupnet.network.keras_ops import KerasOps

TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}
FLOAT32_TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}

# Written out, not read from the configuration: its derived values are under test as well.
LAYOUTS = {
    "two_stages": ("basic", (1, 1)),
    "resnet18": ("basic", (2, 2, 2, 2)),
    "resnet50": ("bottleneck", (3, 4, 6, 3)),
}
# Of the first stages where there are fewer.
STRIDES = {
    (1, 1): (1, 1, 1, 1),
    (1, 8): (1, 2, 2, 2),
    (1, 2): (1, 2, 1, 1),
    (1, 4): (1, 2, 2, 1),
    (2, 4): (1, 2, 1, 1),
    (4, 8): (1, 2, 1, 1),
    (4, 16): (1, 2, 2, 1),
}
RATES = {
    ("bpac", (1, 2, 2, 1)): (1, 1, 1, "2-6"),
    ("equal", (1, 2, 2, 1)): (1, 1, 1, 4),
    ("released", (1, 2, 1, 1)): (1, 1, 2, 4),
    ("released_bpac", (1, 2, 1, 1)): (1, 1, 6, 10),
}
FIRST_RATES = {"released": (1, 1, 1, 2)}
PYRAMIDS = {8: (12, 24, 36), 16: (6, 12, 18), 4: (24, 48, 72)}
INTERVALS = {("6-10", 2): (6, 10), ("2-6", 3): (2, 4, 6)}


class Parameters(dict):
    """Notes which parameters are read, to find the ones that neither side should have."""

    def __init__(self, values: dict[str, Any]):
        super().__init__(values)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)


pytestmark = pytest.mark.usefixtures("float64")


def tiny(**changes: Any) -> GroupNetConfig:
    """4 and 8 channels, 2 bases, 16 x 16 images."""
    values = {
        "input_shape": (16, 16, 3),
        "num_classes": 5,
        "num_bases": 2,
        "width": 0.0625,
        "layout": "two_stages",
        "stem_stride": 1,
        "output_stride": 2,
    }
    return GroupNetConfig(**{**values, **changes})


def per_base(entries: Any, bases: Any) -> list[Any]:
    """Rates of each stage, one per base."""
    rates = []
    for entry, count in zip(entries, bases if entries else (), strict=True):
        entry = INTERVALS[entry, count] if isinstance(entry, str) else entry
        rates.append((entry,) * count if isinstance(entry, int) else entry)
    return rates


def options_of(config: GroupNetConfig) -> Options:
    """The same network in the words of the reference."""
    kind, blocks = LAYOUTS[config.layout]
    blocks = config.stage_blocks or blocks
    strides = STRIDES[config.stem_stride, config.output_stride][: len(blocks)]
    several = isinstance(config.num_bases, tuple)
    bases = config.num_bases if several else (config.num_bases,) * len(blocks)
    entries = config.atrous_rates or (1,) * len(blocks)
    if isinstance(entries, str):
        entries = RATES[entries, strides]
    first = FIRST_RATES.get(config.atrous_rates, config.first_rates) or ()
    return Options(
        first_rates=per_base(first, bases),
        shared_shortcut=config.shared_shortcut,
        align_corners=config.align_corners,
        kind=kind,
        blocks=blocks,
        bases=bases,
        strides=strides,
        rates=per_base(entries, bases),
        decomposition=config.decomposition,
        blocks_per_group=config.blocks_per_group,
        gate=config.gate,
        aggregation=config.aggregation,
        first_base_sums=config.first_base_sums,
        shortcut=config.shortcut,
        projection=config.projection,
        relu=config.relu,
        padding=config.padding,
        stem_stride=config.stem_stride,
        stem_bias=config.stem_bias,
        stem_pool=config.stem_pool,
        head=config.head,
        pyramid=PYRAMIDS.get(config.output_stride, ()),
        binary=config.binary,
        eps=config.batch_norm_epsilon,
    )


def check_network(config: GroupNetConfig) -> None:
    """Compares a whole network, and that both sides have the same parameters."""
    model = build(config)
    params = Parameters(randomise(model.weights, seed=1))
    network = Network(params, options_of(config))
    images = random_images(2, *config.input_shape, seed=2)
    last = {
        "classifier": "logits",
        "fcn32s": "head_conv2",
        "fcn16s": "head_sum",
        "deeplabv3": "head_scores",
        None: model.layers[-1].name,
    }
    both = tf.keras.Model(model.input, [model.get_layer(last[config.head]).output, model.output])
    scores, outputs = (y.numpy() for y in both(images))
    expected = network.scores(images)
    assert np.std(expected) > 0.01
    enlarged = config.head == "fcn16s" and network.options.strides[-1] > 1
    np.testing.assert_allclose(scores, expected, **(FLOAT32_TOLERANCE if enlarged else TOLERANCE))
    np.testing.assert_allclose(outputs, network(images), **FLOAT32_TOLERANCE)
    assert params.read == set(params)


# A second block where nothing strides, and one in the stage that dilates.
SHORT = {"stage_blocks": (2, 1)}
LAST = {"stage_blocks": (1, 2)}
BASIC = {"layout": "resnet18", "stage_blocks": (1, 1, 1, 1), "output_stride": 8}
BOTTLENECK = {**BASIC, "layout": "resnet50"}
NETWORKS = {
    "gate_per_base, epsilon": {"gate": "base", "num_bases": 3, "batch_norm_epsilon": 0.1, **SHORT},
    "gated_mean_block_shortcut, stem_2_same": {
        "stem_stride": 2,
        "output_stride": 4,
        "aggregation": "mean",
        "shortcut": "block",
        "head": None,
        **SHORT,
    },
    "first_base_sums, stem_4_same": {
        "first_base_sums": True,
        "aggregation": "mean",
        "num_bases": 3,
        "stem_stride": 4,
        "output_stride": 8,
        "input_shape": (32, 64, 3),
        **SHORT,
    },
    "bases_per_stage": {
        **BASIC,
        "num_bases": (2, 1, 3, 1),
        "gate": "base",
        "padding": "torch",
        "stage_blocks": (1, 1, 2, 1),
    },
    "group_2_ragged, stem_4_torch": {
        "decomposition": "group",
        "blocks_per_group": 2,
        "padding": "torch",
        "stem_stride": 4,
        "output_stride": 8,
        "input_shape": (64, 32, 3),
        **LAST,
    },
    "layer_mean_block_shortcut": {
        "decomposition": "layer",
        "aggregation": "mean",
        "shortcut": "block",
        "num_bases": (2, 3),
        **SHORT,
    },
    "stem_2_torch": {
        "stem_stride": 2,
        "output_stride": 4,
        "padding": "torch",
        "stem_bias": True,
        **SHORT,
    },
    "real_projection_no_relu_zeros": {
        "projection": "real",
        "relu": False,
        "padding": "zero",
        "stem_stride": 4,
        "stem_pool": "after_norm",
        "output_stride": 8,
        "input_shape": (32, 64, 3),
        **SHORT,
    },
    "real_twin_torch_layer": {
        "binary": False,
        "decomposition": "layer",
        "padding": "torch",
        **SHORT,
    },
    "resnet50_group_block_shortcut": {
        **BOTTLENECK,
        "decomposition": "group",
        "blocks_per_group": 5,
        "shortcut": "block",
        "padding": "torch",
        "num_bases": 1,
        "stage_blocks": (2, 1, 1, 1),
    },
    "fcn32s_bpac": {
        "head": "fcn32s",
        "num_bases": (3, 2),
        "output_stride": 1,
        "atrous_rates": ("2-6", "6-10"),
        "dropout": 0.9,
        "input_shape": (16, 24, 3),
        **LAST,
    },
    "fcn16s_of_a_larger_map": {
        **BASIC,
        "head": "fcn16s",
        "decomposition": "group",
        "blocks_per_group": 3,
        "aggregation": "mean",
        "input_shape": (32, 24, 3),
    },
    "fcn16s_layer": {
        **BOTTLENECK,
        "head": "fcn16s",
        "num_bases": (1, 1, 2, 2),
        "decomposition": "layer",
        "projection": "real",
        "output_stride": 4,
        "atrous_rates": "equal",
    },
    "deeplabv3": {
        **BASIC,
        "head": "deeplabv3",
        "num_bases": (1, 1, 2, 3),
        "stem_stride": 4,
        "output_stride": 16,
        "atrous_rates": "bpac",
        "input_shape": (32, 304, 3),  # A map as wide as the largest rate of the pyramid reaches.
    },
    "deeplabv3_real_mean": {
        "head": "deeplabv3",
        "num_bases": (3, 2),
        "binary": False,
        "aggregation": "mean",
        "decomposition": "group",
        "stem_stride": 4,
        "output_stride": 8,
        "input_shape": (32, 32, 3),
    },
    "as_released": {
        **BASIC,
        "head": "fcn32s",
        "num_bases": (1, 2, 1, 2),
        "stem_stride": 4,
        "atrous_rates": "released",
        "align_corners": True,
        "shared_shortcut": True,
        "spatial_dropout": True,
        "padding": "torch",
        "input_shape": (35, 50, 3),
        "stage_blocks": (1, 1, 1, 2),
    },
    "as_released_bpac_at_another_size": {
        **BASIC,
        "head": "fcn32s",
        "num_bases": (1, 2, 1, 2),
        "stem_stride": 4,
        "atrous_rates": "released_bpac",
        "align_corners": True,
        "decomposition": "group",
        "shared_shortcut": True,
        "projection": "real",
        "input_shape": (32, 41, 3),
    },
    "fcn16s_of_an_odd_map": {
        **BOTTLENECK,
        "head": "fcn16s",
        "num_bases": (1, 1, 1, 2),
        "input_shape": (13, 22, 3),
        "padding": "torch",
        "shared_shortcut": True,
    },
    "first_rates_of_bottlenecks": {
        **BOTTLENECK,
        "head": "deeplabv3",
        "num_bases": (1, 1, 2, 2),
        "stem_stride": 2,
        "output_stride": 4,
        "input_shape": (27, 18, 3),
        "atrous_rates": (1, 1, 3, (4, 2)),
        "first_rates": (2, 1, (1, 2), 3),
        "stage_blocks": (2, 1, 1, 1),
    },
    "fcn32s_rates_where_it_strides": {
        "head": "fcn32s",
        "stem_stride": 4,
        "output_stride": 8,
        "input_shape": (64, 32, 3),
        "decomposition": "layer",
        "atrous_rates": ((3, 2), (2, 3)),
        "first_rates": ((3, 1), 2),
        **LAST,
    },
}


@pytest.mark.parametrize("changes", NETWORKS.values(), ids=NETWORKS.keys())
def test_network(changes: dict[str, Any]) -> None:
    check_network(tiny(**changes))


@pytest.mark.parametrize(
    ("padding", "size", "stride", "rate", "kernel"),
    [
        ("same", (8, 6), 1, 1, 3),
        ("torch", (7, 8), 2, 1, 3),
        ("zero", (8, 6), 2, 1, 3),
        ("same", (7, 6), 1, 4, 3),
        ("torch", (7, 8), 2, 1, 1),
    ],
)
def test_binary_conv_of_zeros(
    padding: str, size: tuple[int, int], stride: int, rate: int, kernel: int
) -> None:
    config = tiny(padding=padding)
    inputs = tf.keras.Input((*size, 3))
    outputs = KerasOps(config).binary_conv(inputs, 5, kernel, "conv", stride=stride, rate=rate)
    model = tf.keras.Model(inputs, outputs)
    network = Network(randomise(model.weights), options_of(config))
    # Whole numbers, to meet sign(0).
    x = np.round(random_images(2, *size, 3))
    assert (x == 0).any()
    expected = network.binary_conv(x, "conv", stride, rate)
    np.testing.assert_allclose(model(x).numpy(), expected, **TOLERANCE)


def test_first_block_in_float32() -> None:
    """As shipped, with fused batch normalisation; deeper, single signs may flip."""
    tf.keras.backend.set_floatx("float32")
    config = tiny(stem_stride=4, output_stride=8, input_shape=(32, 32, 3), **SHORT)
    model = build(config)
    params = randomise(model.weights)
    first = tf.keras.Model(model.input, model.get_layer("stage1_block1_aggregate").output)
    options = dataclasses.replace(options_of(config), blocks=(1, 0), head=None)
    images = random_images(2, 32, 32, 3)
    outputs = first(images.astype("float32")).numpy()
    np.testing.assert_allclose(outputs, Network(params, options)(images), rtol=1e-3, atol=1e-4)
