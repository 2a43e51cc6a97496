"""Recipes and command-line overrides."""

import dataclasses
import json
import runpy

import numpy as np
import pytest
from conftest import ROOT

from larq_groupnet import ConfigError
from larq_groupnet.training import Recipe, RecipeError, load_recipe, only_phase, override

RECIPE = load_recipe("groupnet_dsp", ROOT / "zoo")


def test_every_file_of_the_zoo_is_a_recipe_of_its_own_name():
    for path in (ROOT / "zoo").glob("*.py"):
        recipe = load_recipe(path.stem, path.parent)
        if path.stem == "photos":  # For any model, on datasets without a recipe.
            assert f"--dataset {recipe.dataset}" in path.read_text()
            continue
        assert recipe.name == path.stem
        assert f"--model {path.stem}" in path.read_text()


@pytest.mark.parametrize(
    ("key", "text", "read"),
    [
        ("num_bases", "1", lambda r: r.model.num_bases == 1),
        ("num_bases", "(1, 2, 3, 4)", lambda r: r.model.num_bases == (1, 2, 3, 4)),
        ("binary", "false", lambda r: r.model.binary is False),
        ("width", "1", lambda r: r.model.width == 1.0 and isinstance(r.model.width, float)),
        ("atrous_rates", "None", lambda r: r.model.atrous_rates is None),
        ("input_quantizer", "approx_sign", lambda r: r.model.input_quantizer == "approx_sign"),
        ("epochs", "3", lambda r: [p.epochs for p in r.phases] == [3, 3]),
        ("epochs", "1,4", lambda r: [p.epochs for p in r.phases] == [1, 4]),
        ("tanh.learning_rate", "1", lambda r: r.phases[0].learning_rate == 1.0),
        ("batch_size", "4", lambda r: r.batch_size == 4),
        ("tanh.optimizer", "sgd", lambda r: r.phases[0].optimizer == "sgd"),
        ("weight_decay", "1e-4", lambda r: [p.weight_decay for p in r.phases] == [1e-4] * 2),
    ],
)
def test_override_sets_its_value_and_nothing_else(key, text, read):
    changed = override(RECIPE, [(key, text)])
    assert read(changed)
    assert changed != RECIPE
    assert changed.name == RECIPE.name


def test_real_valued_twin_is_real_in_every_phase():
    changed = override(RECIPE, [("binary", "false")])
    assert [phase.binary for phase in changed.phases] == [False, False]


def test_options_that_are_valid_only_together_are_set_together():
    changed = override(
        RECIPE, [("num_bases", "2"), ("atrous_rates", "(1, 1, (1, 2), (3, 4))")][::-1]
    )
    assert changed.model.rate(3, 1) == 4


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("numbases", "1", "Did you mean 'num_bases'"),
        ("binary.epoch", "1", "Did you mean 'binary.epochs'"),
        ("seed", "1.5", "expected an integer"),
        ("seed", "-1", "at least 0"),
        ("seed", "4294967296", "below 2**32"),
        ("width", "1e999", "leaves 1 of 64 channels"),
        ("decomposition", "gate", "Did you mean 'gated'"),
        ("learning_rate", "1e999", "above 0"),
        ("width", "wide", "expected a number"),
        ("stem_bias", "1", "expected true or false"),
        ("epochs", "1,2,3", "for tanh, binary"),
        ("epochs", "0", "at least 1 in a phase"),
        ("binary.weights_from", "tahn", "an earlier phase that is trained, tanh"),
        ("binary.schedule", "cosin", "Did you mean 'cosine'"),
        ("tanh.drops", "(0.5, 0.75)", "expected epochs with schedule='steps'"),
        ("tanh.drops", "(1, 2)", "or epochs from 1 to 1"),
        ("tanh.drops", "3", "expected values in brackets"),
        ("tanh.average", "1.0", "in [0, 1)"),
        ("augmentation", "colours", "Did you mean 'colour'"),
        ("central_crop", "0.0", "a share in (0, 1]"),
        ("learning_rate", "0.0", "above 0"),
        ("colour_jitter", "2", "in [0, 1]"),
        ("on_bad_image", "drop", "on_bad_image: expected one of error, skip"),
        ("num_bases", "none", "an integer from 1 to 1000"),
    ],
)
def test_wrong_override_says_what_is_right(key, text, message):
    with pytest.raises((RecipeError, ConfigError)) as error:
        override(RECIPE, [(key, text)])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("batch_size", 8.0, "batch_size: expected an integer"),
        ("seed", True, "seed: expected an integer"),
        ("eval_flip", "no", "eval_flip: expected True or False"),
        ("letterbox", 1, "letterbox: expected True or False"),
        ("mixup", "0.2", "mixup: expected a number"),
        ("dataset", None, "dataset: expected a text"),
        ("eval_scales", 1.5, "eval_scales: expected a tuple or a list"),
        ("tanh.epochs", "20", "tanh.epochs: expected an integer"),
        ("tanh.learning_rate", None, "tanh.learning_rate: expected a number"),
        ("tanh.learning_rate", 10**400, "tanh.learning_rate: expected a finite number above 0"),
        ("mixup", 10**400, "mixup: expected at least 0"),
        ("tanh.binary", "no", "tanh.binary: expected True, False or 'activations'"),
        ("tanh.int8", 0, "tanh.int8: expected True or False"),
        ("tanh.drops", 0.5, "tanh.drops: expected a tuple or a list"),
    ],
)
def test_field_of_another_type_is_refused(field, value, expected):
    phase, _, name = field.rpartition(".")
    with pytest.raises(RecipeError, match=f"{expected}. Received: {name}={value!r}"):
        dataclasses.replace(RECIPE.phases[0] if phase else RECIPE, **{name: value})


def test_numbers_of_numpy_are_those_of_python():
    phase = dataclasses.replace(RECIPE.phases[0], epochs=np.int64(3), learning_rate=np.float32(0.5))
    recipe = dataclasses.replace(RECIPE, phases=[phase], batch_size=np.int64(8))
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert (recipe.batch_size, recipe.phases[0].epochs) == (8, 3)


def test_mean_colour_of_imagenet_is_for_colours():
    changes = [("input_shape", "(96, 96, 1)"), ("normalisation", "imagenet")]
    with pytest.raises(RecipeError, match="normalisation: expected 'symmetric'"):
        override(RECIPE, changes)


def test_values_of_a_phase_that_are_valid_only_together_are_set_together():
    changes = [("binary.schedule", "steps"), ("binary.drops", "(2, 4)")]
    for order in (changes, changes[::-1]):
        assert override(RECIPE, order).phases[1].drops == (0.2, 0.4)


def test_bop_has_no_weight_decay():
    with pytest.raises(RecipeError, match="no average and no head_factor with 'bop'"):
        override(RECIPE, [("optimizer", "bop"), ("weight_decay", "1e-4")])


def test_one_phase_alone():
    recipe = only_phase(RECIPE, "binary")
    assert [phase.epochs for phase in recipe.phases] == [0, RECIPE.phases[1].epochs]
    with pytest.raises(RecipeError, match="Did you mean 'binary'"):
        only_phase(RECIPE, "binry")


def test_phase_alone_may_start_from_one_that_another_run_has_trained():
    """It loads the weights of the other run; see `test_guards`."""
    phases = [dataclasses.replace(phase, weights_from="") for phase in RECIPE.phases]
    third = dataclasses.replace(phases[1], name="third", weights_from="tanh")
    with pytest.raises(RecipeError, match="but there is none without start_from"):
        only_phase(dataclasses.replace(RECIPE, phases=(*phases, third)), "third")
    whole = dataclasses.replace(RECIPE, phases=(*phases, third), start_from="runs/x")
    assert only_phase(whole, "third").trained == [third]


def test_phases_of_one_name_are_refused():
    said = "phases: expected a different name for each.*binary, binary"
    with pytest.raises(RecipeError, match=said):
        dataclasses.replace(RECIPE, phases=(RECIPE.phases[1], RECIPE.phases[1]))


def test_recipe_survives_json():
    for path in (ROOT / "zoo").glob("*.py"):
        for recipe in runpy.run_path(str(path))["RECIPES"]:
            assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_recipe_for_imagenet_is_the_authors_own():
    recipe = load_recipe("groupnet_resnet50", ROOT / "zoo", "imagenet2012")
    tanh, binary = recipe.phases
    assert (tanh.optimizer, tanh.learning_rate, tanh.epochs) == ("sgd", 0.05, 40)
    assert tanh.drops == (25 / 40, 35 / 40)
    adam = {"class_name": "adam", "config": {"epsilon": 1e-10}}
    assert binary.optimizer == adam
    assert (binary.learning_rate, binary.drops) == (5e-4, (0.5, 0.75))
    assert recipe.batch_size == 256
    assert (recipe.model.num_bases, recipe.model.input_shape) == (5, (224, 224, 3))


def test_unknown_model_names_the_nearest():
    with pytest.raises(RecipeError, match="Did you mean 'groupnet_dsp'"):
        load_recipe("groupnet_dps", ROOT / "zoo")
