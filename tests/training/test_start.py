"""What training starts from, and the recipe that starts from an ImageNet backbone."""

import dataclasses

import numpy as np
import pytest
from conftest import ROOT
from reference import randomise

from larq_groupnet import GroupNetResNet18
from larq_groupnet.errors import ConfigError, UserError, WeightsError
from larq_groupnet.family import get_config
from larq_groupnet.network.build import build
from larq_groupnet.recipes.start import with_start
from larq_groupnet.training import Phase, Recipe, RecipeError, load_recipe
from larq_groupnet.training.start import LATENT, load_start
from larq_groupnet.weights import packed
from larq_groupnet.weights.by_name import copy_weights
from larq_groupnet.weights.metadata import Metadata
from larq_groupnet.weights.registry import register

TINY = {"stage_blocks": (1, 1, 1, 1), "width": 0.0625, "num_bases": 2}
RECIPE = Recipe(
    name="groupnet_dsp",
    model=get_config("groupnet_dsp", input_shape=(32, 32, 3), num_classes=4),
    phases=(Phase("binary", epochs=1, learning_rate=0.1, binary=True),),
    dataset="digit_scenes",
    start_from="imagenet",
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache that has nothing in it."""
    monkeypatch.setenv("LARQ_GROUPNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_classifier(path, **options):
    options = {**TINY, "input_shape": (64, 64, 3), "num_classes": 5, **options}
    model = GroupNetResNet18(**options)
    values = randomise(model.weights)
    config = get_config("groupnet_resnet18", **options)
    packed.save(model, Metadata(config, "imagenet2012", (), {}, (), "none"), path)
    return values


def test_unregistered_weights_are_refused_with_the_ways_to_get_them():
    with pytest.raises(RecipeError) as error:
        with_start(RECIPE, None)
    for way in (
        "Received: imagenet",
        "import-checkpoint FILE.pth.tar --as imagenet",
        "train.py --model groupnet_resnet18 --dataset imagenet2012",
        "'none' for random weights",
    ):
        assert way in str(error.value)


def test_registered_backbone_brings_its_options_and_its_weights(cache, tmp_path):
    values = write_classifier(
        tmp_path / "weights.safetensors", aggregation="mean", batch_norm_momentum=0.99
    )
    register(tmp_path / "weights.safetensors", "imagenet", "groupnet_resnet18", cache)
    # How the weights were trained is no option of theirs: that is for the recipe to say.
    recipe = with_start(RECIPE, None)
    assert recipe.model == RECIPE.model.replace(aggregation="mean", **TINY)
    with pytest.warns(UserWarning, match="left out, because the head differs"):
        start = load_start(recipe)
    model = build(recipe.model)
    assert copy_weights(start, model) == []
    kernel = "stage3_block1_base2_conv1/kernel:0"
    loaded = {weight.name: weight.numpy() for weight in model.weights}
    np.testing.assert_array_equal(loaded[kernel], np.float32(LATENT) * np.sign(values[kernel]))
    np.testing.assert_array_equal(loaded["stem_bn/beta:0"], values["stem_bn/beta:0"].astype("f4"))

    # What the user asks for stays, and says what does not fit.
    other = dataclasses.replace(RECIPE, model=RECIPE.model.replace(num_bases=3))
    with pytest.raises(WeightsError, match="imagenet.*num_bases: 2 in the file, 3 in"):
        load_start(with_start(other, None))


@pytest.mark.parametrize("given", ["nowhere.h5", "nowhere/weights.h5"])
def test_path_to_nothing_is_refused(given):
    recipe = with_start(RECIPE, given)
    assert recipe == dataclasses.replace(RECIPE, start_from=given)
    with pytest.raises(UserError, match="no such file, and no registered set"):
        load_start(recipe)


@pytest.mark.filterwarnings("ignore:.*stem_stride. 2 in the file, 4 in the model")
def test_classifier_starts_from_the_backbone_of_a_segmenter():
    """`camvid` has a stem of stride 2, beside which an output stride of 32 is none."""
    config = get_config("groupnet_resnet18", input_shape=(64, 64, 3), num_classes=3)
    recipe = dataclasses.replace(RECIPE, name="groupnet_resnet18", model=config)
    recipe = with_start(recipe, "camvid")
    # The kernel of both stems is the same, so the strides are those of the recipe.
    assert (recipe.model.stem_stride, recipe.model.output_stride) == (4, 32)
    assert (recipe.model.num_bases, recipe.model.head) == (2, "classifier")
    with pytest.warns(UserWarning, match="left out, because the head differs: head_conv1"):
        start = load_start(recipe)
    assert copy_weights(start, build(recipe.model)) == []


def test_output_stride_that_is_not_given_follows_the_stem_of_the_weights():
    for name, size, strides in (
        ("camvid", 224, (2, 16)), ("camvid", 32, (2, 8)), ("digit_scenes", 224, (4, 32)),
    ):  # fmt: skip
        config = get_config("groupnet_resnet18", weights=name, input_shape=(size, size, 3))
        assert (config.stem_stride, config.output_stride) == strides
    with pytest.raises(ConfigError, match="with stem_stride=2. Received: output_stride=32"):
        get_config("groupnet_resnet18", weights="camvid", output_stride=32)
    with pytest.warns(UserWarning, match="left out, because the head differs"):
        GroupNetResNet18(weights="camvid", num_classes=2)


@pytest.mark.parametrize("name", ["cifar10", "cifar10_stride2"])
def test_set_of_another_model_is_not_said_to_be_none(name):
    config = get_config("birealnet18", input_shape=(64, 64, 3))
    recipe = dataclasses.replace(RECIPE, name="birealnet18", model=config)
    with pytest.raises(WeightsError) as error:
        with_start(recipe, name)
    said = f"Received: weights={name!r} for birealnet18, which is registered for groupnet_resnet18"
    assert said in str(error.value) and "neither published" not in str(error.value)


def test_nothing_to_start_from():
    recipe = dataclasses.replace(RECIPE, start_from="")
    assert with_start(recipe, None) == recipe
    assert load_start(recipe) is None


def test_another_head_is_left_out_only_if_that_is_asked_for():
    config = RECIPE.model.replace(**TINY)
    source, target = build(config.replace(head="classifier")), build(config)
    before = {weight.name: weight.numpy() for weight in target.weights}
    values = randomise(source.weights)
    with pytest.raises(
        ValueError, match="different weights than the model .head_conv1/kernel:0: absent there"
    ):
        copy_weights(source, target)
    assert all(np.array_equal(weight, before[weight.name]) for weight in target.weights)
    left_out = copy_weights(source, target, other_head=True)
    assert {name.partition("/")[0] for name in left_out} == {
        *("head_conv1", "head_conv1_bn", "head_conv2", "logits")
    }
    for weight in target.weights:
        wanted = before if weight.name in left_out else values
        np.testing.assert_array_equal(weight, wanted[weight.name].astype("f4"))
    with pytest.raises(ValueError, match="base2"):
        copy_weights(source, build(config.replace(num_bases=1)), other_head=True)


@pytest.mark.parametrize("dataset", ["voc2012_aug", "voc2012"])
def test_recipe_of_the_paper(dataset):
    recipe = load_recipe("groupnet_dsp", ROOT / "zoo", dataset)
    assert load_recipe("groupnet_dsp", ROOT / "zoo").dataset == "digit_scenes"
    (phase,) = recipe.phases
    found = recipe.dataset, recipe.batch_size, recipe.model.input_shape, recipe.base_size
    assert found == (dataset, 16, (480, 480, 3), 520)
    assert (recipe.augmentation, recipe.normalisation) == ("segmentation", "imagenet")
    assert recipe.start_from == "imagenet"
    adam = {"class_name": "adam", "config": {"epsilon": 1e-10}}
    assert (phase.epochs, phase.optimizer, phase.learning_rate) == (50, adam, 1e-4)
    assert (phase.head_factor, phase.weight_decay, phase.schedule) == (10, 1e-4, "poly")
    assert (phase.binary, phase.warmup_epochs) == (True, 0)
    assert recipe.model.replace(input_quantizer="ste_sign") == get_config(
        "groupnet_dsp", input_shape=(480, 480, 3)
    )


def test_latent_weights_of_stored_signs_are_small_enough_to_change():
    from larq_groupnet.training.start import _loosen

    images = np.random.RandomState(0).normal(size=(2, 32, 32, 3)).astype("f4")
    sizes = {**TINY, "input_shape": (32, 32, 3), "num_classes": 3}
    for quantizer, size in (("ste_sign", LATENT), ("magnitude_aware_sign", 1.0)):
        model = build(RECIPE.model.replace(head="classifier", kernel_quantizer=quantizer, **sizes))
        kernels = [w for w in model.weights if "_base1_conv1/kernel" in w.name]
        for weight in kernels:
            weight.assign(np.where(weight.numpy() < 0, -1, 1))
        before = model(images)
        _loosen(model)
        np.testing.assert_array_equal(model(images), before)
        assert all((np.abs(weight.numpy()) == np.float32(size)).all() for weight in kernels)
    randomise(kernels)
    values = [weight.numpy() for weight in kernels]
    _loosen(model)
    assert all(np.array_equal(*pair) for pair in zip(values, kernels, strict=True))
