"""What a caller gives is obeyed or refused, whatever its value, also beside weights.

All of this is decided from configurations, without TensorFlow.
"""

import itertools
import json

import numpy as np
import pytest

from larq_groupnet.errors import UserError
from larq_groupnet.family import MODELS, get_config, list_models
from larq_groupnet.network.config import OPTIONS, GroupNetConfig
from larq_groupnet.weights import container, registry
from larq_groupnet.weights.metadata import Metadata, compare
from larq_groupnet.weights.resolve import resolve

# Another value of every option than any model has by default.
OTHER = {
    "layout": "resnet34",
    "stage_blocks": (1, 2, 1, 1),
    "input_shape": (64, 32, 3),
    "num_classes": 5,
    "head": "fcn16s",
    "output": "logits",
    "num_bases": 2,
    "width": 0.5,
    "decomposition": "layer",
    "blocks_per_group": 2,
    "gate": "base",
    "aggregation": "mean",
    "first_base_sums": True,
    "shortcut": "block",
    "projection": "real",
    "shared_shortcut": True,
    "relu": False,
    "stem_stride": 2,
    "stem_bias": True,
    "stem_pool": "after_norm",
    "output_stride": 16,
    "atrous_rates": (1, 1, 2, 2),
    "first_rates": "half",
    "padding": "torch",
    "binary": "activations",
    "input_quantizer": "swish_sign",
    "kernel_quantizer": "approx_sign",
    "dropout": 0.25,
    "spatial_dropout": True,
    "align_corners": True,
    "batch_norm_epsilon": 1e-3,
    "batch_norm_momentum": 0.5,
}
# One model of those that take the same arguments with the same defaults.
KINDS = {frozenset(MODELS[name].arguments.items()): name for name in list_models()}.values()
NAMES = [(model, option) for model in KINDS for option in OPTIONS]


def trained_with(model):
    """Options of some weights: none of them is the default of the model."""
    values = {"input_shape": (96, 96, 3), "num_classes": 11, "width": 0.25, "dropout": 0.2}
    values |= {"batch_norm_momentum": 0.95, "batch_norm_epsilon": 1e-4, "stem_bias": True}
    values |= {"num_bases": 3, "input_quantizer": "approx_sign", "aggregation": "mean"}
    values["head"] = "deeplabv3"
    taken = MODELS[model].arguments
    return {name: value for name, value in values.items() if name in taken}


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    """A set of weights for each model, under the name "trained"; files of one small tensor."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LARQ_GROUPNET_CACHE", str(folder))
        for model in list_models():
            config = get_config(model, **trained_with(model))
            about = Metadata(config, "noise", (), {}, (), "none").to_dict()
            file = folder / "weights.safetensors"
            container.write(file, {**about, "packed": {}}, {"stem_bn/beta:0": np.zeros(1, "f4")})
            registry.register(file, "trained", model)
        yield


def decide(model, **given):
    """The configuration that a call means, or `None` if it is refused."""
    try:
        config = get_config(model, **given)
        if "weights" in given:
            resolve(given["weights"], model, config)
    except UserError:
        return None
    return config


def test_every_option_is_tried():
    assert set(OTHER) == set(OPTIONS)


@pytest.mark.parametrize("weights", [{}, {"weights": "trained"}], ids=["alone", "beside weights"])
@pytest.mark.parametrize(("model", "option"), NAMES)
@pytest.mark.usefixtures("registered")
def test_given_option_is_obeyed_or_refused(model, option, weights):
    default = getattr(GroupNetConfig, option)
    for value in (MODELS[model].arguments.get(option, default), OTHER[option]):
        config = decide(model, **{option: value}, **weights)
        chosen_by_model = option in ("stem_stride", "output_stride") and value is None
        if config is not None and not chosen_by_model:
            assert getattr(config, option) == value
        at_default = value == MODELS[model].arguments.get(option, "fixed")
        assert config is not None or weights or not at_default


@pytest.mark.parametrize("model", list_models())
@pytest.mark.usefixtures("registered")
def test_options_that_are_not_given_are_those_of_the_weights(model):
    assert decide(model, weights="trained") == get_config(model, **trained_with(model))


@pytest.mark.parametrize(("option", "value"), [("num_classes", 1000), ("num_classes", 11)])
@pytest.mark.usefixtures("registered")
def test_number_of_classes_is_given_even_if_it_is_the_default(option, value):
    config = decide("groupnet_resnet18", weights="trained", **{option: value})
    assert config is not None and config.num_classes == value
    assert config.width == 0.25


@pytest.mark.parametrize("option", ["width", "num_bases", "batch_norm_epsilon", "stem_bias"])
@pytest.mark.usefixtures("registered")
def test_weights_of_another_network_are_refused_at_the_default_too(option):
    value = MODELS["groupnet_resnet18"].arguments[option]
    with pytest.raises(UserError, match=option):
        resolve(
            "trained",
            "groupnet_resnet18",
            get_config("groupnet_resnet18", weights="trained", **{option: value}),
        )


@pytest.mark.parametrize("model", list_models())
@pytest.mark.usefixtures("registered")
def test_include_top_decides_about_the_head(model):
    default = MODELS[model].arguments["head"]
    for weights in ({}, {"weights": "trained"}):
        assert get_config(model, include_top=False, **weights).head is None
        assert get_config(model, include_top=True, **weights).head == default
        assert get_config(model, include_top=True, head="fcn32s", **weights).head == "fcn32s"
    for wrong in ({"include_top": False, "head": default}, {"head": None}):
        with pytest.raises(UserError, match="head: expected"):
            get_config(model, **wrong)


@pytest.mark.parametrize("value", ["no", None, 0, 1, "False"])
def test_include_top_is_true_or_false(value):
    with pytest.raises(UserError, match=f"one of True, False. Received: include_top={value!r}"):
        get_config("groupnet_resnet18", include_top=value)
    assert get_config("groupnet_resnet18", include_top=np.bool_(False)).head is None


def test_small_image_in_numbers_of_numpy_gets_the_stem_of_small_images():
    config = get_config("groupnet_resnet18", input_shape=np.array([32, 32, 3]))
    assert config == get_config("groupnet_resnet18", input_shape=(32, 32, 3))
    with pytest.raises(UserError, match=r"input_shape: .* Received: input_shape=\(\)"):
        get_config("groupnet_resnet18", input_shape=())


@pytest.mark.parametrize(
    ("model", "pool"), [("groupnet_resnet18", "after_norm"), ("birealnet18", "before_norm")]
)
def test_pool_of_a_stem_without_one_is_refused(model, pool):
    assert get_config(model, stem_pool=pool).stem_pool == pool
    with pytest.raises(UserError, match="stem_pool: .* with stem_stride=1, whose stem has no pool"):
        get_config(model, input_shape=(32, 32, 3), stem_pool=pool)


@pytest.mark.parametrize("option", ["gate", "num_bases", "kernel_quantizer", "relu", "layout"])
def test_model_without_a_use_for_an_option_refuses_it(option):
    for value in (getattr(GroupNetConfig, option), OTHER[option]):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{option}'"):
            get_config("resnet18", **{option: value})


def test_comparison_beside_weights_follows_what_each_option_affects():
    """Each option alone: other weights, a note, or neither."""
    base = get_config("groupnet_dsp", decomposition="group", input_shape=(128, 128, 3))
    kinds = {}
    for option, value in OTHER.items():
        try:
            other = base.replace(**{option: value})
        except UserError:
            continue
        different, noted = compare(base, other)
        kinds[option] = "weights" if different else "note" if noted else "free"
        extra = {"stage_blocks"} if option == "layout" else set()
        assert set(different) | set(noted) <= {option} | extra
    free = {"input_shape", "num_classes", "head", "output", "output_stride", "atrous_rates"}
    free |= {"input_quantizer", "kernel_quantizer", "dropout", "batch_norm_momentum"}
    free |= {"first_rates", "spatial_dropout", "align_corners"}
    assert {option for option, kind in kinds.items() if kind == "free"} == free
    assert {option for option, kind in kinds.items() if kind == "note"} == {
        "padding",
        "stem_stride",
    }
    assert len(kinds) >= len(OTHER) - 3


def test_options_say_what_they_affect():
    for name, about in OPTIONS.items():
        assert about.affects in ("weights", "head", "arithmetic", "training"), name
        assert (
            about.choices
            or about.expected
            or name
            in (
                "stage_blocks",
                "num_bases",
                "width",
                "blocks_per_group",
                "output_stride",
                "atrous_rates",
            )
        )
        for value in itertools.chain([getattr(GroupNetConfig, name)], about.search):
            about.check(name, value)


def test_file_of_the_real_twin_does_not_make_the_network_its_twin(tmp_path):
    """It is refused instead: only `binary=False` asks for the twin."""
    path, model = tmp_path / "weights.h5", "groupnet_resnet18"
    path.touch()
    known = Metadata(get_config(model, binary=False), "", (), {}, (), "none")
    path.with_suffix(".json").write_text(json.dumps(known.to_dict()))
    config = get_config(model, weights=path)
    assert config.binary is True
    with pytest.raises(UserError, match="binary: False in the file, True in the model"):
        resolve(path, model, config)
