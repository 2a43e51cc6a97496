"""The named models: their arguments, shapes, weights files and configurations."""

import dataclasses
import inspect
import json

import numpy as np
import pytest
import tensorflow as tf
from runs import command

import larq_groupnet
from larq_groupnet import ConfigError, GroupNetConfig, build, complexity
from larq_groupnet.family import MODELS, get_config
from larq_groupnet.network.blocks import blocks

SMALL = {"input_shape": (32, 32, 3), "num_classes": 7, "num_bases": 1, "width": 0.0625}
SHORT = {**SMALL, "stage_blocks": (1, 1, 1, 1)}
TWO_STAGES = {**SMALL, "layout": "two_stages"}


@pytest.mark.parametrize(("depth", "convolutions"), [(18, 16), (34, 32), (50, 48)])
def test_each_depth_has_its_number_of_convolutions(depth, convolutions):
    config = get_config(f"groupnet_resnet{depth}")
    assert sum(len(config.convolutions(*place)) for place in blocks(config)) == convolutions


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_every_option_is_a_keyword_with_its_default(depth):
    function = getattr(larq_groupnet, f"GroupNetResNet{depth}")
    arguments = inspect.signature(function).parameters.values()
    assert {argument.kind for argument in arguments} == {inspect.Parameter.KEYWORD_ONLY}
    defaults = {field.name: field.default for field in dataclasses.fields(GroupNetConfig)}
    del defaults["layout"]
    # The size of the images decides about the strides.
    of_zoo = {"input_tensor": None, "weights": None, "include_top": True}
    expected = {**defaults, **of_zoo, "stem_stride": None, "output_stride": None}
    assert {argument.name: argument.default for argument in arguments} == expected
    for wrong in ("layout", "num_base"):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{wrong}'"):
            function(**{wrong: "resnet34"})
    with pytest.raises(TypeError, match="positional"):
        function((32, 32, 3))


def test_every_option_of_a_model_is_an_argument_or_fixed():
    named = set(inspect.signature(larq_groupnet.GroupNetDSP).parameters)
    for name in larq_groupnet.list_models():
        assert set(MODELS[name].arguments) | set(MODELS[name].fixed) == named


def test_small_images_get_a_stem_that_keeps_their_size():
    """Unless options say otherwise."""
    for size, options, strides in (
        (32, {}, (1, 8)),
        (64, {}, (4, 32)),
        (32, {"stem_stride": 2, "output_stride": 4}, (2, 4)),
    ):
        config = get_config("groupnet_resnet18", input_shape=(size, size, 3), **options)
        assert (config.stem_stride, config.output_stride) == strides
    model = larq_groupnet.GroupNetResNet34(**SHORT, include_top=False)
    assert model.name == "groupnet_resnet34"
    assert model.get_layer("stem_conv").output_shape[1:3] == (32, 32)
    assert model.output_shape == (None, 4, 4, 32)


def test_weights_are_read_from_a_path_of_either_kind(tmp_path):
    model = larq_groupnet.GroupNetDSP(**TWO_STAGES)
    model.save_weights(tmp_path / "weights.h5")
    again = larq_groupnet.GroupNetDSP(**TWO_STAGES, weights=str(tmp_path / "weights.h5"))
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="has different weights than the model"):
        larq_groupnet.GroupNetDSP(**{**TWO_STAGES, "width": 0.125}, weights=tmp_path / "weights.h5")


def test_model_reads_a_given_tensor():
    images = tf.keras.layers.Input((64, 64, 3))
    options = {"num_bases": 1, "width": 0.0625, "layout": "two_stages"}
    model = larq_groupnet.GroupNetDSP(input_tensor=images * 2.0, **options)
    assert model.input is images
    assert model.output_shape == (None, 64, 64, 21)


@pytest.mark.parametrize("tensor", [1, "x", tf.zeros((1, 64, 64, 3)), tf.zeros((64, 64, 3))])
def test_input_that_is_no_keras_tensor_is_refused(tensor):
    options = {"num_bases": 1, "width": 0.0625, "stage_blocks": (1, 1, 1, 1)}
    with pytest.raises(ConfigError, match="input_tensor: expected a Keras tensor") as refused:
        larq_groupnet.GroupNetDSP(input_tensor=tensor, **options)
    assert len(str(refused.value)) < 200
    with pytest.raises(ConfigError, match="input_tensor: expected a Keras tensor"):
        build(GroupNetConfig(**options), input_tensor=tensor)


def test_configuration_that_is_none_is_refused():
    for config in (None, "groupnet_resnet18", {"num_bases": 2}):
        with pytest.raises(ConfigError, match="config: expected a GroupNetConfig, such as get_"):
            build(config)


def test_models_are_found_by_name():
    assert larq_groupnet.list_models("*50") == ["groupnet_resnet50"]
    assert get_config("groupnet_resnet34", num_bases=2).blocks == (3, 4, 6, 3)
    with pytest.raises(ValueError, match="Did you mean 'groupnet_resnet18'"):
        larq_groupnet.get_model("groupnet_resnet19")


def test_summary_command_prints_counts():
    done = command("summary", "groupnet_resnet18", "--set=num_bases=4", "--json")
    assert done.returncode == 0, done.stderr
    # OPs of ResNet-18 with K=4 at 224 x 224, counted independently.
    ops = json.loads(done.stdout)["total"]["ops"]
    assert abs(ops / 224.5e6 - 1) < 0.005


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["summary", "groupnet_resnet1"], "Did you mean 'groupnet_resnet18'"),
        (["summary", "groupnet_dsp", "--set=widht=1"], "Did you mean 'width'"),
        (["import-checkpoint", "nowhere.npz"], "nowhere.npz"),
        (["sumary"], "Did you mean 'summary'"),
    ],
)
def test_wrong_command_says_what_is_right(arguments, message):
    done = command(*arguments)
    assert done.returncode == 2
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def plain(layout, **options):
    values = {"decomposition": "none", "num_bases": 1, "binary": False, **options}
    return get_config(f"groupnet_{layout}", **values)


def test_twin_predicts_in_a_graph_where_tensorflow_would_fuse_what_it_cannot():
    options = {"input_shape": (16, 16, 1), "binary": False}
    model = build(get_config("groupnet_resnet50", **{**SHORT, **options}))
    images = np.random.RandomState(0).normal(size=(2, 16, 16, 1)).astype("f4")
    np.testing.assert_allclose(model.predict(images, verbose=0), model(images), atol=1e-5)


@pytest.mark.parametrize(
    ("layout", "parameters"),
    [("resnet18", 11_689_512), ("resnet34", 21_797_672), ("resnet50", 25_557_032)],
)
def test_real_valued_resnet_has_the_parameters_that_everybody_counts(layout, parameters):
    assert complexity(plain(layout)).total.params == {32: parameters}


@pytest.mark.parametrize("options", [{"num_bases": 2}, {"binary": True}, {"padding": "torch"}])
def test_plain_resnet_has_no_bases(options):
    with pytest.raises(ConfigError, match="decomposition=?'none'"):
        plain("resnet18", **options)


def test_other_number_of_classes_beside_weights_gets_a_new_head_and_a_warning():
    with pytest.warns(UserWarning, match="left out, because the head differs: .*head_conv2"):
        model = larq_groupnet.GroupNetDSP(weights="digit_scenes", num_classes=21)
    assert model.output_shape == (None, 96, 96, 21)
    with pytest.raises(ValueError, match="(?s)digit_scenes.*width: 0.25 in the file, 1.0"):
        larq_groupnet.GroupNetDSP(weights="digit_scenes", width=1.0)


@pytest.mark.parametrize(("head", "layer"), [("classifier", "probabilities"), ("fcn32s", "logits")])
def test_probabilities_are_the_softmax_of_the_logits_of_the_same_weights(head, layer):
    assert GroupNetConfig(head=head).gives == layer
    options = {**TWO_STAGES, "head": head, "output_stride": 8}
    logits, probabilities = (
        larq_groupnet.get_model("groupnet_dsp", **options, output=output)
        for output in ("logits", "probabilities")
    )
    assert (logits.output_names, probabilities.output_names) == (["logits"], ["probabilities"])
    probabilities.set_weights(logits.get_weights())
    images = np.random.RandomState(0).normal(size=(2, 32, 32, 3)).astype("f4")
    scores = logits(images).numpy().astype("f8")
    expected = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    np.testing.assert_allclose(probabilities(images), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model", larq_groupnet.list_models())
def test_every_model_is_importable_and_summarised(model):
    (function,) = [
        getattr(larq_groupnet, name)
        for name in larq_groupnet.__all__
        if name.lower() == model.replace("_", "")
    ]
    assert function is MODELS[model].function
    assert complexity(get_config(model)).total.total_memory > 0
