"""What a network costs: from its configuration, from its layers, by Larq's profile, by hand."""

import functools
import json
import math

import larq as lq
import numpy as np
import pytest
import tensorflow as tf

from larq_groupnet import BPAC_RATES, GroupNetConfig
from larq_groupnet.network.build import build
from larq_groupnet.network.complexity import Complexity, Counts, complexity, format_json, report

KS = (1, 4, 5, 8)
# the paper's table: FP MACs in G, then OPs in M at K = 1, 4, 5, 8.
PUBLISHED = {
    "resnet18": (1.814, 145.0, 224.5, 251.0, 330.5),
    "resnet34": (3.664, 173.9, 340.1, 395.5, 561.7),
    "resnet50": (4.089, 182.1, 368.1, 430.1, 616.2),
}
TINY = {
    "layout": "two_stages",
    "input_shape": (32, 64, 3),
    "width": 0.0625,
    "num_bases": (2, 1),
    "stage_blocks": (2, 1),
    "output_stride": 8,
    "num_classes": 7,
}
CIFAR = {"stem_stride": 1, "output_stride": 8}
SMALL = {"num_bases": 1, "stage_blocks": (1, 1)}
BOTTLENECK = {"layout": "resnet50", "stage_blocks": (1, 1, 1, 1), "num_bases": (1, 2, 1, 1)}
DILATED = {"output_stride": 4, "atrous_rates": (1, "2-6")}
# Each changes some count; together every option of the configuration that any count depends on.
VARIANTS = {
    "default": {},
    "K per stage, gate per base": {"num_bases": (2, 3), "gate": "base"},
    "mean, sums": {"first_base_sums": True, "aggregation": "mean", "num_bases": (2, 3)},
    "layer, mean, block, K per stage": {
        "decomposition": "layer",
        "aggregation": "mean",
        "shortcut": "block",
        "num_bases": (3, 2),
    },
    "group of 2, mean": {
        "decomposition": "group",
        "blocks_per_group": 2,
        "aggregation": "mean",
        "num_bases": 2,
    },
    "bottleneck": {
        **BOTTLENECK,
        "stage_blocks": (2, 1, 1, 1),
        "output_stride": 32,
        "padding": "torch",
    },
    "bottleneck, layer, dilated": {
        **BOTTLENECK,
        "decomposition": "layer",
        "atrous_rates": BPAC_RATES,
    },
    "cifar, torch, bias": {
        "stem_stride": 1,
        "output_stride": 2,
        "padding": "torch",
        "stem_bias": True,
    },
    "stem stride 2, no head": {"stem_stride": 2, "output_stride": 4, "head": None},
    "fcn16s": {"head": "fcn16s", **DILATED},
    "fcn16s, odd size": {
        "head": "fcn16s",
        "input_shape": (45, 70, 3),
        "align_corners": True,
        "spatial_dropout": True,
        **SMALL,
    },
    "first rates": {"output_stride": 4, "atrous_rates": (3, 4), "first_rates": "half"},
    "deeplabv3": {"head": "deeplabv3", "num_bases": (1, 3)},
    "plain": {
        **BOTTLENECK,
        "head": "deeplabv3",
        "decomposition": "none",
        "binary": False,
        "num_bases": 1,
    },
    "group of all, rates": {
        "head": "fcn32s",
        "output_stride": 4,
        "decomposition": "group",
        "blocks_per_group": 3,
        "num_bases": 2,
        "atrous_rates": ((5, 2), (2, 3)),
    },
    "real": {**SMALL, "binary": False},
    "real kernels": {**SMALL, "binary": "activations"},
    "ternary": {**SMALL, "kernel_quantizer": "ste_tern", "input_quantizer": "approx_sign"},
    "object, mapping": {
        **SMALL,
        "kernel_quantizer": lq.quantizers.SteTern(),
        "input_quantizer": {"class_name": "DoReFa", "config": {"k_bit": 4}},
    },
    "no precision": {**SMALL, "input_quantizer": tf.sign},
}
# Gates, scales or means, sums; per base, layer-wise or in groups.
WIRINGS = (
    "default",
    "K per stage, gate per base",
    "mean, sums",
    "layer, mean, block, K per stage",
    "group of 2, mean",
    "fcn16s",
)
CHAIN = {"decomposition": "group", "blocks_per_group": 4}


def tiny(**changes):
    return GroupNetConfig(**{**TINY, **changes})


@functools.cache
def built(name):
    """Configuration and model of a variant."""
    config = tiny(**VARIANTS[name])
    return config, build(config)


@pytest.mark.parametrize("name", VARIANTS)
def test_configuration_and_its_layers_cost_the_same(name):
    config, model = built(name)
    expected, counted = complexity(config), complexity(model)
    stages = [f"stage{number + 1}" for number in range(len(config.stage_blocks))]
    assert list(expected.stages) == ["stem", *stages, "head"]
    for stage, counts in expected.stages.items():
        assert counts == counted.stages[stage], stage


@pytest.mark.parametrize("projection", ["binary", "real"])
def test_shared_shortcut_costs_as_much_work_and_fewer_parameters(projection):
    """Three bases; the second stage widens from 4 to 8 channels."""
    one, each = (
        tiny(**{**SMALL, "num_bases": 3}, shared_shortcut=shared, projection=projection)
        for shared in (True, False)
    )
    shared, own = complexity(one), complexity(each)
    assert shared.stages == complexity(build(one)).stages
    assert (shared.total.macs, shared.total.twin_macs) == (own.total.macs, own.total.twin_macs)
    assert shared.total.twin_params == own.total.twin_params
    fewer = own.stages["stage2"].params[32] - shared.stages["stage2"].params[32]
    assert fewer == 2 * (2 * 8 + (4 * 8 if projection == "real" else 0))
    if projection == "binary":
        assert own.stages["stage2"].params[1] - shared.stages["stage2"].params[1] == 2 * 4 * 8


@pytest.mark.parametrize("name", WIRINGS)
def test_element_wise_work_is_what_the_graph_does(name):
    """Element-wise operations on maps. A sign adds a number to a map, and nothing else does."""
    config, model = built(name)
    function = tf.function(lambda x: model(x, training=False), autograph=False)
    graph = function.get_concrete_function(tf.TensorSpec((1, *config.input_shape))).graph
    least_maps = {"Mul": 1, "AddV2": 2}
    done = dict.fromkeys(least_maps, 0)
    for op in graph.get_operations():
        maps = sum(len(x.shape) == 4 for x in op.inputs)
        if op.type in done and maps >= least_maps[op.type]:
            done[op.type] += math.prod(op.outputs[0].shape)
    total = complexity(config).total
    assert (total.multiplications, total.additions) == (done["Mul"], done["AddV2"])
    assert total.additions > 0


@pytest.mark.parametrize("layout", PUBLISHED)
def test_table_of_the_specification(layout):
    real, *published = PUBLISHED[layout]
    totals = [complexity(GroupNetConfig(layout=layout, num_bases=k)).total for k in KS]
    assert [t.ops / 1e6 for t in totals] == pytest.approx(published, rel=0.0005)
    assert {t.twin_macs for t in totals} == {totals[0].twin_macs}
    assert totals[0].twin_macs / 1e9 == pytest.approx(real, rel=0.0005)


@pytest.mark.parametrize("bases", KS)
def test_resnet18_exactly(bases):
    counted = complexity(GroupNetConfig(num_bases=bases))
    binary = 1_676_279_808 + 19_267_584
    assert counted.stages["stem"].macs == {32: 118_013_952}
    assert counted.stages["head"].macs == {32: 512_000}
    assert counted.total.macs == {1: bases * binary, 32: 118_525_952}
    assert counted.total.ops == 118_525_952 + bases * binary / 64


def test_twin_is_the_plain_resnet():
    """Torchvision's ResNet-18 has 11,689,512 parameters, 9,600 of them of normalisation."""
    config = GroupNetConfig()
    total = complexity(config).total
    assert total.twin_params == 11_689_512
    assert total.ops_compression == pytest.approx(7.2, abs=0.05)
    assert total.memory_compression == pytest.approx(5.1, abs=0.05)
    changes = {"num_bases": 1, "binary": False, "decomposition": "group", "aggregation": "mean"}
    twin = complexity(config.replace(**changes)).total
    assert (twin.params, twin.macs) == ({32: total.twin_params}, {32: total.twin_macs})
    assert (twin.memory_compression, twin.ops_compression) == (1, 1)


@pytest.mark.parametrize(("layout", "pixels"), [("resnet18", 435), ("resnet34", 899)])
def test_known_receptive_fields(layout, pixels):
    counted = complexity(GroupNetConfig(layout=layout))
    assert [c.receptive_field for c in counted.stages.values()][::5] == [11, 0]
    assert counted.total.receptive_field == pixels


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "num_bases": (1, 2, 2, 2),
            "stem_stride": 2,
            "output_stride": 4,
            "atrous_rates": (1, (1, 3), (2, 1), (1, 3)),
        },
        {"layout": "resnet50", "output_stride": 4, "atrous_rates": (2, 1, 1, "1-3")},
        # The base that reaches far in the first stage is not the one that does in the second.
        {**CHAIN, "output_stride": 1, "atrous_rates": ((4, 1), (1, 3), 1, 1)},
    ],
    ids=["cifar", "rates", "bottleneck", "chains"],
)
def test_receptive_field_is_where_the_gradient_is(changes):
    """Positive weights and images: no path to the middle pixel cancels another."""
    values = {"input_shape": (160, 160, 1), "num_bases": 2, "binary": False, "head": None, **CIFAR}
    values |= {"stage_blocks": (1, 1, 1, 1), "width": 1 / 64, "decomposition": "gated"}
    config = GroupNetConfig(**{**values, **changes})
    model = build(config)
    for weight in model.weights:
        if "kernel" in weight.name:
            weight.assign(tf.fill(weight.shape, tf.cast(0.1 / weight.shape[2], weight.dtype)))
    images = tf.ones((1, *config.input_shape), tf.float64) / 100
    with tf.GradientTape() as tape:
        tape.watch(images)
        maps = model(images, training=False)
        middle = maps[0, maps.shape[1] // 2, maps.shape[2] // 2]
    gradient = tape.gradient(middle, images).numpy()[0, :, :, 0]
    sides = [int(np.ptp(np.nonzero(gradient)[axis])) + 1 for axis in (0, 1)]
    assert sides == [complexity(config).total.receptive_field] * 2


def test_json_and_the_tables_agree_with_the_counts():
    config = GroupNetConfig()
    counted = complexity(config)
    values = json.loads(format_json(config))
    assert values == counted.to_dict()
    assert list(values["stages"]) == list(counted.stages)
    total = values["total"]
    assert total["params"] == {str(bits): n for bits, n in counted.total.params.items()}
    assert total["total_memory"] == sum(total["memory"].values()) == counted.total.total_memory
    assert total["ops"] == counted.total.ops < sum(total["macs"].values())
    for key in ("multiplications", "additions", "twin_macs"):
        assert total[key] == sum(stage[key] for stage in values["stages"].values())

    lines = str(counted).splitlines()
    assert "(KiB)" in str(counted)
    cells = {line[2:].split()[0]: line[1:-1].split() for line in lines if line[2:12].strip()}
    assert {*counted.stages, "total"} <= set(cells)
    stage1 = counted.stages["stage1"]
    assert cells["stage1"] == [
        "stage1",
        *(f"{stage1.params[bits]:,}" for bits in (1, 32)),
        f"{stage1.total_memory / 1024:,.1f}",
        *(f"{n / 1e6:,.2f}" for n in (stage1.macs[1], 0, stage1.ops)),
        *(f"{n / 1e6:,.2f}" for n in (stage1.multiplications, stage1.additions)),
        str(stage1.receptive_field),
        *(f"{r:.2f}" for r in (stage1.memory_compression, stage1.ops_compression)),
    ]
    assert report(config).startswith(counted.table())
    assert max(map(len, report(config).splitlines())) <= 120


def test_nothing_costs_nothing():
    head = complexity(tiny(head=None)).stages["head"]
    assert head == Counts()
    assert (head.ops, head.total_memory) == (0, 0)
    assert (head.memory_compression, head.ops_compression) == (1, 1)
    assert Complexity({}).total == Counts()


def test_only_one_bit_is_cheap():
    """MACs of 2 bits are not divided by 64."""
    total = complexity(tiny(input_quantizer="dorefa_quantizer")).total
    assert set(total.macs) == {2, 32}
    assert total.ops == sum(total.macs.values())


def test_unknown_size_is_refused():
    config = tiny(input_shape=(None, 64, 3), **SMALL)
    for target in (config, build(config)):
        with pytest.raises(ValueError, match=r"fixed height and width.*Received: .*None"):
            complexity(target)


@pytest.mark.parametrize("target", [None, "resnet18", tf.keras.Sequential()])
def test_other_things_are_refused(target):
    with pytest.raises(TypeError, match=r"a GroupNetConfig or a Keras model.*Received: target="):
        complexity(target)


def test_clone_of_a_model_costs_the_same():
    config, model = built("default")
    assert complexity(tf.keras.models.clone_model(model)) == complexity(config)


def test_real_kernels_are_read_by_binary_activations():
    layer = built("real kernels")[1].get_layer("stage1_block1_base1_conv1")
    assert layer.kernel_quantizer is None
    assert layer.input_quantizer is not None


def test_summary_of_larq_has_a_row_for_every_convolution(capsys):
    _, model = built("default")
    lq.models.summary(model)
    printed = capsys.readouterr().out
    names = [layer.name for layer in model.layers if isinstance(layer, lq.layers.QuantConv2D)]
    assert len(names) == 2 * 4 + 3
    assert all(f"| {name} " in printed for name in names)
    assert "1-bit MACs" in printed
