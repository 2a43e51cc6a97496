"""Names of layers are a contract: weights, snapshots and runs find layers by them.

`graphs.json` was written by the code of version 1 of the network: class, name and inputs of every
layer, name and shape of every weight, in order. Weights and optimizer states of those days load
only if all of it stays.
"""

import hashlib
import json
from pathlib import Path

import pytest
import tensorflow as tf

from larq_groupnet import GroupNetConfig
from larq_groupnet.network import names
from larq_groupnet.network.build import build

RECORDED = json.loads((Path(__file__).parent / "graphs.json").read_text())


def digest(lines):
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def inputs_of(layer):
    if isinstance(layer, tf.keras.layers.InputLayer):
        return ""
    (node,) = layer._inbound_nodes
    return " ".join(x.node.layer.name for x in tf.nest.flatten(node.keras_inputs))


@pytest.mark.parametrize("recorded", RECORDED, ids=range(len(RECORDED)))
def test_layers_and_weights_are_those_of_earlier_versions(recorded):
    model = build(GroupNetConfig.from_dict(recorded["config"]))
    layers = [f"{type(x).__name__} {x.name} <- {inputs_of(x)}" for x in model.layers]
    weights = [f"{weight.name} {tuple(weight.shape)}" for weight in model.weights]
    assert [len(layers), len(weights)] == recorded["count"]
    assert digest(weights) == recorded["weights"]
    assert digest(layers) == recorded["layers"]


@pytest.mark.parametrize(
    ("layer", "part", "extra"),
    [
        ("stem_conv", "stem", False),
        ("stage2_block1_base3_conv1_bn", "stage2", True),
        ("stage2_block1_base1_conv1", "stage2", False),
        ("stage12_block1_base10_shortcut", "stage12", True),
        ("stage4_block2_aggregate", "stage4", False),
        ("head_aspp2_base2_conv", "head", True),
        ("logits", "head", False),
        ("probabilities", "head", False),
    ],
)
def test_name_says_where_its_layer_belongs(layer, part, extra):
    assert (names.part(layer), names.is_extra_base(layer)) == (part, extra)
    assert names.is_of_head(f"{layer}/kernel:0") == (part == "head" and layer != "probabilities")
