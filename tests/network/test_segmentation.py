"""`GroupNetDSP`: its arguments, the rates of its bases, and the weights that it takes over."""

from __future__ import annotations

import inspect
import itertools
import re
import warnings
from typing import Any

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from reference import random_images, randomise

from larq_groupnet import (
    ConfigError,
    GroupNetConfig,
    GroupNetDSP,
    GroupNetResNet18,
    complexity,
)
from larq_groupnet.family import arguments, get_config
from larq_groupnet.recipes.overrides import parse_options, split_option
from larq_groupnet.weights import packed
from larq_groupnet.weights.metadata import Metadata

TINY: dict[str, Any] = {"stage_blocks": (1, 1, 1, 1), "width": 0.0625, "num_bases": (1, 1, 1, 2)}
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
    ("head", "output_stride"), [("fcn32s", 16), ("fcn16s", 32), ("deeplabv3", 8)]
)
def test_every_head_scores_each_pixel_of_any_size(head: str, output_stride: int) -> None:
    model = GroupNetDSP(
        input_shape=(None, None, 3), num_classes=5, head=head, output_stride=output_stride, **TINY
    )
    assert model.output_shape == (None, None, None, 5)
    assert model(np.zeros((2, 64, 32, 3), "float32")).shape == (2, 64, 32, 5)


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


def test_gradient_of_each_base_has_the_footprint_of_its_rate() -> None:
    """What one output pixel depends on is exactly a 3x3 square with the base's own gaps."""
    expected_rates = {1: ONES, 3: (2, 3, 4, 5, 6), 4: (6, 7, 8, 9, 10)}
    model = GroupNetDSP(input_shape=(32, 32, 3), **{**TINY, "num_bases": 5})
    middle = 13
    for stage, number, base in itertools.product(expected_rates, (1, 2), range(1, 6)):
        layer = model.get_layer(f"stage{stage}_block1_base{base}_conv{number}")
        x = tf.random.stateless_uniform((1, 27, 27, layer.kernel.shape[2]), (stage, base), -1)
        with tf.GradientTape() as tape:
            tape.watch(x)
            pixel = layer(x)[0, middle, middle, 0]
        seen = np.argwhere(np.any(tape.gradient(pixel, x).numpy()[0], -1)) - middle
        rate = expected_rates[stage][base - 1]
        expected = set(itertools.product((-rate, 0, rate), repeat=2))
        assert {tuple(place) for place in seen} == expected, layer.name


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


def test_larq_counts_the_same_for_bpac_and_equal_rates() -> None:
    profiles = [
        lq.models.ModelProfile(GroupNetDSP(input_shape=(64, 64, 3), atrous_rates=atrous, **TINY))
        for atrous in ("bpac", "equal")
    ]
    for bits in (1, 32):
        assert len({profile.op_count("mac", bits) for profile in profiles}) == 1
        assert len({profile.weight_count(bits) for profile in profiles}) == 1


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """Files of a classifier by their ending, and its weights by name."""
    folder = tmp_path_factory.mktemp("classifier")
    options = {"input_shape": (64, 64, 3), "num_classes": 5, **TINY}
    model = GroupNetResNet18(**options)
    values = randomise(model.weights)
    model.save_weights(folder / "weights.h5")
    config = get_config("groupnet_resnet18", **options)
    about = Metadata(config, "noise", (), {}, (), "none")
    packed.save(model, about, folder / "weights.safetensors")
    return {end: folder / f"weights.{end}" for end in ("h5", "safetensors")}, values


@pytest.mark.parametrize(
    ("ending", "head"), [("h5", "fcn32s"), ("safetensors", "fcn16s"), ("h5", "deeplabv3")]
)
def test_backbone_is_loaded_by_name_and_the_rest_is_named(
    classifier: tuple[dict[str, Any], dict[str, Any]], ending: str, head: str
) -> None:
    files, values = classifier
    with pytest.warns(UserWarning, match="left out, because the head differs") as warned:
        model = GroupNetDSP(
            input_shape=(32, 32, 3), num_classes=3, head=head, weights=files[ending], **TINY
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
    classifier: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    """At output stride 32 the backbone is the classifier's; at 8 its first two stages are."""
    images = random_images(1, 64, 64, 3).astype("float32")
    outputs = {}
    for stride in (8, 32):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model = GroupNetDSP(
                input_shape=(64, 64, 3), output_stride=stride, weights=classifier[0]["h5"], **TINY
            )
        names = [f"stage{stage}_block1_aggregate" for stage in (2, 4)]
        outputs[stride] = tf.keras.Model(model.input, [model.get_layer(n).output for n in names])(
            images
        )
    plain = GroupNetResNet18(
        input_shape=(64, 64, 3), num_classes=5, weights=classifier[0]["h5"], **TINY
    )
    expected = tf.keras.Model(plain.input, [plain.get_layer(n).output for n in names])(images)
    for received, wanted in zip(outputs[32], expected, strict=True):
        np.testing.assert_allclose(received, wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(outputs[8][0], expected[0], rtol=1e-5, atol=1e-5)
    assert outputs[8][1].shape[1] == 4 * expected[1].shape[1]


@pytest.mark.parametrize("ending", ["h5", "safetensors"])
def test_weights_of_another_backbone_are_refused_and_listed(
    classifier: tuple[dict[str, Any], dict[str, Any]], ending: str
) -> None:
    with pytest.raises(ValueError, match=r"(?s)has different (weights|options).*(base3|num_bases)"):
        GroupNetDSP(
            input_shape=(64, 64, 3),
            weights=classifier[0][ending],
            **{**TINY, "num_bases": (1, 1, 1, 3)},
        )
