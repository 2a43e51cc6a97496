"""`GroupNetConfig`: what it derives and what it refuses."""

import json

import numpy as np
import pytest

from larq_groupnet import BPAC_RATES, EQUAL_RATES, ConfigError, GroupNetConfig


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"num_bases": 0}, "an integer from 1 to 1000"),
        ({"num_bases": True}, "from 1 to 1000"),
        ({"num_bases": (5, 5, 5)}, "or 4 of them"),
        ({"num_bases": 2.0}, "from 1 to 1000"),
        ({"num_bases": 10**8}, "from 1 to 1000"),
        ({"stage_blocks": (2, 2, 10**8, 2)}, "None or 4 integers from 1 to 1000"),
        ({"width": 0.001}, "leaves 1 of 64 channels"),
        ({"width": 0}, "leaves 1 of 64 channels"),
        ({"width": "1"}, "leaves 1 of 64 channels"),
        ({"width": float("inf")}, "leaves 1 of 64 channels"),
        ({"width": True}, "leaves 1 of 64 channels"),
        ({"stem_stride": 4.0}, "one of 1, 2, 4"),
        ({"output_stride": 32.0}, "one of [4, 8, 16, 32]"),
        ({"atrous_rates": (1, 1, "6-2", 4)}, "an interval"),
        ({"input_quantizer": 5}, "a Larq quantizer"),
        ({"dropout": "0.1"}, "[0, 1)"),
        ({"batch_norm_epsilon": float("inf")}, "positive"),
        ({"atrous_rates": (1, 1, 2)}, "4 entries"),
        ({"atrous_rates": (1, 1, (2, 3), 4)}, "5 rates in stage 3"),
        ({"atrous_rates": (1, 1, 0, 4)}, "integers from 1 to 1000 in stage 3"),
        ({"atrous_rates": (1, 1, "2", 4)}, "an interval"),
        ({"atrous_rates": (1, 1, 10**11, 4)}, "integers from 1 to 1000 in stage 3"),
        ({"atrous_rates": (1, 1, "2-100000000000", 4)}, "of at most 1000, in stage 3"),
        ({"first_rates": "hlaf"}, "expected None, 'half', or 4 entries"),
        ({"first_rates": (1, 1, 0, 1)}, "integers from 1 to 1000 in stage 3"),
        ({"align_corners": True}, "used by 'fcn32s', 'fcn16s', 'deeplabv3' only"),
        ({"shared_shortcut": True, "decomposition": "layer"}, "used by 'group', 'gated' only"),
        ({"input_shape": (224, 3)}, "(height, width, channels)"),
        ({"input_shape": (None, None, 3), "padding": "torch"}, "fixed height and width"),
        ({"output_stride": 2}, "one of [4, 8, 16, 32]"),
        ({"stem_stride": True}, "one of 1, 2, 4"),
        ({"decomposition": "wise"}, "'layer', 'group', 'gated'"),
        ({"blocks_per_group": 2}, "used by 'group' only"),
        ({"decomposition": "group", "blocks_per_group": 9}, "from 1 to 8"),
        ({"decomposition": "group", "gate": "base"}, "used by 'gated' only"),
        (
            {"decomposition": "group", "blocks_per_group": 2, "num_bases": (1, 2, 3, 4)},
            "one K for all stages",
        ),
        ({"num_classes": 0}, "from 1 to 1,000,000"),
        ({"num_classes": 10**9}, "from 1 to 1,000,000"),
        ({"num_classes": True}, "from 1 to 1,000,000"),
        ({"num_classes": "10"}, "from 1 to 1,000,000"),
        ({"num_classes": 1}, "at least 2 with probabilities of head='classifier'"),
        ({"num_classes": 1, "head": "fcn32s", "output": "probabilities"}, "all else are two"),
        ({"width": 1e9}, "at most 100"),
        ({"input_shape": (10**9, 32, 3)}, "from 1 to 1,000,000"),
        ({"kernel_quantizer": "sign"}, "ste_sign"),
        ({"input_quantizer": None}, "ste_sign"),
        ({"binary": 1}, "True, False, 'activations'"),
        ({"dropout": 1.0}, "[0, 1)"),
        ({"dropout": 0.2}, "used by 'fcn32s', 'fcn16s', 'deeplabv3' only"),
        ({"output": "softmax"}, "'probabilities', 'logits', None"),
        ({"output": "logits", "head": None}, "None with head=None"),
        ({"relu": 0}, "one of True, False"),
        ({"projection": "pool"}, "'binary', 'real'"),
        ({"padding": "zeros"}, "'same', 'torch', 'zero'"),
        ({"batch_norm_epsilon": 0.0}, "positive"),
        ({"batch_norm_momentum": 1.0}, "[0, 1)"),
    ],
)
def test_invalid_values_raise_with_what_was_expected_and_received(changes, expected):
    with pytest.raises(ConfigError) as error:
        GroupNetConfig(**changes)
    message = str(error.value)
    assert expected in message
    field = message.split(":")[0]
    assert field in changes
    assert f"Received: {field}={changes[field]!r}" in message


@pytest.mark.parametrize(
    ("field", "value", "near"),
    [("decomposition", "gate", "gated"), ("kernel_quantizer", "ste_sgn", "ste_sign")],
)
def test_nearest_valid_value_is_named(field, value, near):
    with pytest.raises(ConfigError, match=f"Did you mean '{near}'"):
        GroupNetConfig(**{field: value})


def test_unknown_option_is_named():
    with pytest.raises(TypeError, match="no option bases"):
        GroupNetConfig().replace(bases=3)


@pytest.mark.parametrize(
    ("num_bases", "third", "fourth"),
    [
        (5, [2, 3, 4, 5, 6], [6, 7, 8, 9, 10]),
        (3, [2, 4, 6], [6, 8, 10]),
        (1, [4], [8]),
        (2, [2, 6], [6, 10]),
        (4, [2, 3, 5, 6], [6, 7, 9, 10]),
        ((1, 1, 5, 3), [2, 3, 4, 5, 6], [6, 8, 10]),
    ],
)
def test_bpac_spreads_the_rates_of_the_paper(num_bases, third, fourth):
    config = GroupNetConfig(num_bases=num_bases, output_stride=8, atrous_rates=BPAC_RATES)
    for stage, expected in ((2, third), (3, fourth)):
        assert [config.rate(stage, k) for k in range(config.bases_per_stage[stage])] == expected
    assert config.rate(0, 0) == config.rate(1, 0) == 1


def test_equal_rates_are_the_same_for_every_base():
    config = GroupNetConfig(output_stride=8, atrous_rates=EQUAL_RATES)
    assert {config.rate(2, k) for k in range(5)} == {4}
    assert {config.rate(3, k) for k in range(5)} == {8}


@pytest.mark.parametrize(
    ("stem", "output", "strides"),
    [(4, 32, (1, 2, 2, 2)), (4, 8, (1, 2, 1, 1)), (2, 8, (1, 2, 2, 1)), (1, 1, (1, 1, 1, 1))],
)
def test_stages_past_the_output_stride_keep_stride_1(stem, output, strides):
    assert GroupNetConfig(stem_stride=stem, output_stride=output).stage_strides == strides


@pytest.mark.parametrize("options", [{"head": None}, {"head": "fcn32s"}, {"output": "logits"}])
def test_one_class_is_allowed_where_it_is_no_probability(options):
    assert GroupNetConfig(num_classes=1, **options).num_classes == 1


def test_values_of_numpy_are_those_of_python():
    numpy = GroupNetConfig(
        input_shape=np.array([32, 48, 3]),
        num_bases=(np.int64(1), np.int32(2), 2, 3),
        stage_blocks=np.ones(4, "u1"),
        num_classes=np.uint8(7),
        width=np.float32(0.125),
        relu=np.bool_(False),
        output_stride=np.int16(8),
        atrous_rates=[1, 1, np.int64(2), (np.int64(1), 2, 3)],
    )
    assert numpy == GroupNetConfig.from_dict(json.loads(json.dumps(numpy.to_dict())))
    assert (numpy.input_shape, numpy.width, numpy.relu) == ((32, 48, 3), 0.125, False)


def test_config_with_a_quantizer_given_as_a_dictionary_has_a_hash():
    quantizer = {"class_name": "SteSign", "config": {"clip_value": 1.2}}
    config = GroupNetConfig(input_quantizer=quantizer)
    again = GroupNetConfig.from_dict(config.to_dict())
    assert {config: "there"}[again] == "there"
    assert len({config, GroupNetConfig()}) == 2


def test_config_survives_json():
    config = GroupNetConfig(
        num_bases=(1, 2, 3, 4), output_stride=8, atrous_rates=(1, 1, (1, 2, 3), "2-4")
    )
    again = GroupNetConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert hash(again) == hash(config)
