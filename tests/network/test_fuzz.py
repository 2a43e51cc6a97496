"""Random configurations: what is counted is what is built, and no name is there twice.

`LARQ_GROUPNET_FUZZ=200` tries 200 of them, `LARQ_GROUPNET_FUZZ_SEED` others.
"""

import os
import random
import subprocess
import sys

import larq as lq
import pytest
import tensorflow as tf

from larq_groupnet import ConfigError, GroupNetConfig
from larq_groupnet.network import names
from larq_groupnet.network.build import build
from larq_groupnet.network.complexity import complexity
from larq_groupnet.network.kinds import DECOMPOSITIONS, HEADS, LAYOUTS

COUNT = int(os.environ.get("LARQ_GROUPNET_FUZZ", "8"))
SEED = int(os.environ.get("LARQ_GROUPNET_FUZZ_SEED", "0"))

MOST_CALLS = 7500

SPACE = {
    "layout": ["resnet18", "resnet34", "resnet50"],
    "stage_blocks": [(1, 1, 1, 1), (1, 1, 1, 1), (2, 1, 1, 1), (1, 1, 2, 1)],
    "input_shape": [(32, 32, 3), (32, 64, 1), (33, 42, 3)],
    "num_classes": [2, 7],
    "head": [*HEADS, None],
    "output": [None, None, "logits", "probabilities"],
    "num_bases": [1, 1, 2, 3, (1, 2, 3, 2), (3, 1, 2, 2)],
    "width": [0.0625, 0.03125],
    "decomposition": [*DECOMPOSITIONS, "gated"],
    "blocks_per_group": [1, 1, 2, 4],
    "gate": ["block", "base"],
    "aggregation": ["scales", "mean"],
    "first_base_sums": [False, True],
    "shortcut": ["conv", "block"],
    "projection": ["binary", "binary", "real"],
    "relu": [True, True, False],
    "stem_stride": [1, 2, 4],
    "stem_bias": [False, True],
    "stem_pool": ["before_norm", "after_norm"],
    "output_stride": [4, 8, 16, 32],
    "atrous_rates": [None, None, "bpac", "equal", (1, 1, "1-3", 2)],
    "first_rates": [None, None, "half"],
    "padding": ["same", "torch", "zero"],
    "binary": [True, True, False, "activations"],
    "input_quantizer": ["ste_sign", "approx_sign", "dorefa_quantizer"],
    "kernel_quantizer": ["ste_sign", "ste_tern", "magnitude_aware_sign"],
    "dropout": [0.1, 0.3],
    "spatial_dropout": [False, True],
    "align_corners": [False, True],
}


def draw(generator):
    """A random configuration; most draws describe no network."""
    while True:
        options = {name: generator.choice(values) for name, values in SPACE.items()}
        if options["decomposition"] == "none":
            options |= {"num_bases": 1, "binary": False, "padding": "same"}
        try:
            # As a run's JSON is read: without options that the network has no use for.
            return GroupNetConfig.from_dict(options)
        except ConfigError:
            continue


@pytest.mark.parametrize("number", range(COUNT))
def test_counts_of_a_random_network_are_those_of_larq(number):
    config = draw(random.Random(f"{SEED}/{number}"))
    model = build(config)
    counted = complexity(config)
    assert counted == complexity(model), config
    total, profile = counted.total, lq.models.ModelProfile(model)
    bits = profile.unique_param_bidtwidths
    assert total.params == {b: profile.weight_count(b) for b in bits}, config
    assert total.macs == {b: profile.op_count("mac", b) for b in profile.unique_op_precisions}
    assert total.memory == {b: b * profile.weight_count(b) / 8 for b in bits}
    assert total.total_memory == profile.memory / 8
    weights = [weight.name for weight in model.weights]
    assert len(weights) == len(set(weights))
    parts = {names.part(name) for name in weights}
    assert parts <= {"stem", "stage1", "stage2", "stage3", "stage4", "head"}
    in_head = {name for name in weights if names.is_of_head(name)}
    assert {name for name in weights if names.part(name) == "head"} == in_head
    if config.head is not None:
        assert model.output_names == [config.gives]
    tf.keras.backend.clear_session()


def calls_to_count(config):
    """Calls of Python functions while a network is counted: its time, on any machine."""
    calls = 0

    def note(frame, event, argument):
        nonlocal calls
        calls += event == "call"

    sys.setprofile(note)
    try:
        complexity(config)
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "two_stages"])
@pytest.mark.parametrize("head", HEADS)
def test_counting_takes_few_calls(layout, head):
    """7,200 calls took 2.0 ms on a machine of load 20 (ResNet-50, K=8, DeepLabv3)."""
    dilated = {} if head == "classifier" else {"output_stride": 8, "atrous_rates": "bpac"}
    config = GroupNetConfig(layout=layout, num_bases=8, head=head, **dilated)
    assert calls_to_count(config) <= MOST_CALLS


def test_bases_of_one_rate_are_counted_once():
    two, eight = (GroupNetConfig(layout="resnet50", num_bases=bases) for bases in (2, 8))
    assert calls_to_count(eight) < 1.5 * calls_to_count(two)


def test_field_is_that_of_the_base_that_reaches_farthest():
    def field(*rates):
        config = GroupNetConfig(num_bases=3, output_stride=8, atrous_rates=(1, 1, 1, rates))
        return complexity(config).stages["stage4"].receptive_field

    assert field(1, 2, 5) == field(1, 5, 2) == field(5, 1, 2) == field(5, 5, 5) > field(1, 2, 2)


def test_counting_and_named_configurations_load_no_tensorflow():
    code = (
        "import sys, larq_groupnet\n"
        "from larq_groupnet.network.complexity import format_json, report\n"
        "for name in larq_groupnet.list_models():\n"
        "    report(larq_groupnet.get_config(name)), format_json(larq_groupnet.get_config(name))\n"
        "loaded = {'tensorflow', 'larq', 'keras', 'tf_keras'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(loaded)) or None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
