"""`GroupNetDSP`: its arguments, the rates of its bases, and the weights that it takes over."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from reference import random_images, randomise

from larq_groupnet import (
    ConfigError,
    GroupNetConfig,
    GroupNetDSP,
    build,
    complexity,
)
from larq_groupnet.family import arguments, get_config
from larq_groupnet.recipes.overrides import parse_options, split_option
from larq_groupnet.weights import packed
from larq_groupnet.weights.metadata import Metadata

TINY: dict[str, Any] = {"layout": "two_stages", "width": 0.0625, "num_bases": (1, 2)}
HEADS = ("fcn32s", "fcn16s", "deeplabv3")
ONES = (1, 1, 1, 1, 1)


def rates(config: GroupNetConfig) -> list[tuple[int, ...]]:
    return [
        tuple(config.rate(s, k) for k in range(n)) for s, n in enumerate(config.bases_per_stage)
    ]


def test_every_argument_is_a_keyword_with_its_default() -> None:
    parameters = inspect.signature(GroupNetDSP).parameters
    assert {p.kind for p in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    of_call = {"input_tensor": None, "weights": None, "include_top": True}
    own = {"input_shape": (512, 512, 3), "num_classes": 21, "head": "fcn32s"}
    own |= {"atrous_rates": "bpac", "output_stride": 8, "stem_stride": 4}
    defaults = {name: p.default for name, p in parameters.items()}
    assert defaults == GroupNetConfig().to_dict() | own | of_call
    with pytest.raises(TypeError, match="unexpected keyword argument 'num_base'.*'num_bases'"):
        GroupNetDSP(num_base=1)


def test_old_names_of_arguments_are_taken_with_a_warning() -> None:
    options: dict[str, Any] = {"backbone": "resnet34", "atrous": (1, 1, "1-3", "2-4")}
    with pytest.warns(DeprecationWarning, match="now called (layout|atrous_rates)"):
        config = get_config("groupnet_dsp", **options)
    assert (config.layout, config.atrous_rates) == tuple(options.values())
    with pytest.raises(ConfigError, match="atrous: expected atrous_rates alone"):
        get_config("groupnet_dsp", atrous="bpac", atrous_rates="equal")
    with pytest.raises(TypeError, match="no option backbone. backbone is now layout. Options: "):
        GroupNetConfig().replace(backbone="resnet34")


@pytest.mark.parametrize(
    ("head", "output_stride"), [("fcn32s", 4), ("fcn16s", 8), ("deeplabv3", 8)]
)
def test_every_head_scores_each_pixel_of_any_size(head: str, output_stride: int) -> None:
    options = {"head": head, "output_stride": output_stride, "atrous_rates": None, **TINY}
    model = GroupNetDSP(input_shape=(None, None, 3), num_classes=5, **options)
    assert model.output_shape == (None, None, None, 5)
    for size in (32, 48):
        assert model(np.zeros((2, size, 32, 3), "float32")).shape == (2, size, 32, 5)


@pytest.mark.parametrize(
    ("atrous", "output_stride", "third", "fourth"),
    [
        ("bpac", 8, (2, 3, 4, 5, 6), (6, 7, 8, 9, 10)),
        ("equal", 8, (4,) * 5, (8,) * 5),
        ("bpac", 16, ONES, (2, 3, 4, 5, 6)),
        ("equal", 16, ONES, (4,) * 5),
        ("bpac", 32, ONES, ONES),
        ("equal", 32, ONES, ONES),
        (None, 8, ONES, ONES),
        ((1, 1, (5, 4, 3, 2, 1), "3-7"), 8, (5, 4, 3, 2, 1), (3, 4, 5, 6, 7)),
    ],
)
def test_name_means_the_rates_of_the_stages_that_keep_their_size(
    atrous: Any, output_stride: int, third: Any, fourth: Any
) -> None:
    config = get_config("groupnet_dsp", atrous_rates=atrous, output_stride=output_stride)
    assert rates(config) == [ONES, ONES, third, fourth]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "resnet19"}, "layout: expected one of .* Did you mean 'resnet18'"),
        ({"atrous_rates": "bpca"}, "Received: atrous_rates='bpca'. Did you mean 'bpac'"),
        ({"atrous_rates": "bpac", "output_stride": 4}, "rates per stage if no stage has a stride"),
        ({"head": "fcn8s"}, "Did you mean 'fcn"),
        (
            {"head": "fcn16s", "decomposition": "group", "blocks_per_group": 8},
            "blocks_per_group: expected a divisor of 6 with head='fcn16s'",
        ),
    ],
)
def test_config_of_no_network_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        get_config("groupnet_dsp", **options)


@pytest.mark.parametrize("names", [("layout", "atrous_rates"), ("backbone", "atrous")])
def test_command_line_takes_the_arguments_of_the_function(names: tuple[str, str]) -> None:
    """By their names of today, and by those of earlier versions."""
    texts = ["head=fcn16s", f"{names[0]}=resnet34", f"{names[1]}=equal", "num_bases=3"]
    options = parse_options(list(map(split_option, texts)), arguments("groupnet_dsp"))
    assert get_config("groupnet_dsp", **options) == get_config(
        "groupnet_dsp", head="fcn16s", layout="resnet34", atrous_rates="equal", num_bases=3
    )


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    ("num_bases", "output_stride"), [(1, 8), (5, 8), (3, 16), ((1, 2, 3, 4), 8)]
)
def test_bpac_costs_what_equal_rates_cost(head: str, num_bases: Any, output_stride: int) -> None:
    options = {"head": head, "num_bases": num_bases, "output_stride": output_stride}
    bpac, equal, none = (
        complexity(get_config("groupnet_dsp", atrous_rates=atrous, **options))
        for atrous in ("bpac", "equal", None)
    )
    for stage, counts in bpac.stages.items():
        for other in (equal.stages[stage], none.stages[stage]):
            for value in ("params", "macs", "multiplications", "additions"):
                assert getattr(counts, value) == getattr(other, value), stage


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[tf.keras.Model, dict[str, Path]]:
    """A classifier with random parameters, and its weights files by suffix."""
    folder = tmp_path_factory.mktemp("classifier")
    config = GroupNetConfig(input_shape=(32, 32, 3), num_classes=5, output_stride=8, **TINY)
    model = build(config)
    randomise(model.weights)
    model.save_weights(folder / "weights.h5")
    about = Metadata(config, "noise", (), {}, (), "none")
    packed.save(model, about, folder / "weights.safetensors")
    return model, {end: folder / f"weights.{end}" for end in ("h5", "safetensors")}


@pytest.mark.parametrize(("ending", "head"), [("safetensors", "fcn16s"), ("h5", "deeplabv3")])
def test_backbone_is_loaded_by_name_and_the_rest_is_named(
    classifier: tuple[tf.keras.Model, dict[str, Path]], ending: str, head: str
) -> None:
    values = {weight.name: weight.numpy() for weight in classifier[0].weights}
    with pytest.warns(UserWarning, match="left out, because the head differs") as warned:
        model = GroupNetDSP(
            input_shape=(32, 32, 3), num_classes=3, head=head, weights=classifier[1][ending], **TINY
        )
    of_head = {w.name for w in model.weights} - set(values)
    left_out = sorted({*of_head, "logits/kernel:0", "logits/bias:0"})
    (text,) = [str(w.message) for w in warned if "left out" in str(w.message)]
    named = [name for name in left_out if f"{name}: " in text]
    assert named == left_out[:8]
    assert all((f"{name}: absent there, " in text) == (name in of_head) for name in named)
    more = re.findall(r"; and (\d+) more$", text)
    assert [*map(int, more)] == ([len(left_out) - 8] if len(left_out) > 8 else [])
    for weight in model.weights:
        if weight.name not in of_head:
            # The release file keeps of a binary kernel the signs alone.
            packs = ending == "safetensors" and "_base" in weight.name and "kernel" in weight.name
            value = np.sign(values[weight.name]) if packs else values[weight.name]
            np.testing.assert_allclose(weight.numpy(), value, rtol=1e-6, err_msg=weight.name)


def test_dilation_changes_no_weight_and_no_value_before_it(
    classifier: tuple[tf.keras.Model, dict[str, Path]],
) -> None:
    """At output stride 8 the backbone is the classifier's; at 4 its first stage is."""
    images = random_images(1, 32, 32, 3).astype("float32")

    def stages(model: tf.keras.Model) -> Any:
        layers = [model.get_layer(f"stage{stage}_block1_aggregate") for stage in (1, 2)]
        return tf.keras.Model(model.input, [layer.output for layer in layers])(images)

    expected, outputs = stages(classifier[0]), {}
    for stride, rates in ((8, None), (4, (1, "2-6"))):
        options = {"output_stride": stride, "atrous_rates": rates, **TINY}
        with pytest.warns(UserWarning, match="left out"):
            outputs[stride] = stages(
                GroupNetDSP(input_shape=(32, 32, 3), weights=classifier[1]["h5"], **options)
            )
    for received, wanted in zip(outputs[8], expected, strict=True):
        np.testing.assert_allclose(received, wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(outputs[4][0], expected[0], rtol=1e-5, atol=1e-5)
    assert outputs[4][1].shape[1] == 2 * expected[1].shape[1]


@pytest.mark.parametrize("ending", ["h5", "safetensors"])
def test_weights_of_another_backbone_are_refused_and_listed(
    classifier: tuple[tf.keras.Model, dict[str, Path]], ending: str
) -> None:
    said = r"(?s)has different (weights|options) .*(base3|num_bases)"
    with pytest.raises(ValueError, match=said):
        GroupNetDSP(
            input_shape=(32, 32, 3),
            weights=classifier[1][ending],
            **{**TINY, "num_bases": (1, 3)},
        )
