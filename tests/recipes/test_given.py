"""Every given field of a recipe, a phase or a network is obeyed or refused."""

import dataclasses
import json

import pytest

from larq_groupnet import ConfigError, GroupNetConfig
from larq_groupnet.recipes import Phase, Recipe, RecipeError, load_recipe, only_phase, override

RECIPE = load_recipe("groupnet_resnet18")

OTHER = {
    "dataset": "cifar10", "batch_size": "8", "steps_per_epoch": "3", "seed": "4",
    "augmentation": "colour", "colour_jitter": "0.5", "normalisation": "imagenet",
    "central_crop": "0.5", "letterbox": "true", "base_size": "40", "start_from": "there",
    "on_bad_image": "skip",
    "eval_scales": "(0.5,)", "eval_flip": "true", "rand_augment": "(1, 2)", "mixup": "0.2",
    "cutmix": "0.2", "teacher": "them",
    "epochs": "7", "learning_rate": "0.5", "optimizer": "sgd", "schedule": "poly",
    "warmup_epochs": "3", "drops": "(0.5,)", "weight_decay": "0.1", "label_smoothing": "0.1",
    "clip_norm": "1.0", "average": "0.5", "head_factor": "2", "weights_from": "tanh",
    "soft_targets": "0.5", "temperature": "2", "attention": "1", "attention_blocks": "('x',)",
    "layout": "resnet34", "stage_blocks": "(1,1,1,1)", "input_shape": "(32,32,1)",
    "input_size": "(32, 32)", "num_classes": "12", "head": "fcn32s", "num_bases": "2",
    "width": "0.5", "decomposition": "group", "blocks_per_group": "2", "gate": "base",
    "aggregation": "mean", "first_base_sums": "true", "shortcut": "block", "stem_stride": "2",
    "stem_bias": "true", "output_stride": "4", "atrous_rates": "(1, 1, 1, 2)",
    "padding": "torch", "binary": "activations", "input_quantizer": "swish_sign",
    "kernel_quantizer": "approx_sign", "dropout": "0.3", "batch_norm_epsilon": "1e-3",
    "batch_norm_momentum": "0.5", "output": "logits", "projection": "real", "relu": "false",
    "stem_pool": "after_norm", "loss": "focal", "coupled_decay": "true", "decay_all": "true",
    "eval_crop": "true", "class_weights": "median_frequency",
    "shared_shortcut": "true", "first_rates": "half", "spatial_dropout": "true",
    "align_corners": "true",
}  # fmt: skip
"""A value of every field other than that of `RECIPE`."""


def fields(kind, *without):
    return {field.name for field in dataclasses.fields(kind)} - {*without}


def test_table_has_every_field():
    missing = {
        *fields(Recipe, "name", "model", "phases"),
        *fields(Phase, "name", "binary", "int8"),
        *fields(GroupNetConfig),
    } - {*OTHER}
    assert not missing


@pytest.mark.parametrize("key", OTHER)
def test_every_key_is_obeyed_or_refused(key):
    try:
        changed = override(RECIPE, [(key, OTHER[key])])
    except (RecipeError, ConfigError) as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert key.split("_")[0] in refused or OTHER[key] in refused
        return
    assert changed != RECIPE
    phases = [(p, q) for p, q in zip(RECIPE.phases, changed.phases, strict=True) if p != q]
    if key in fields(Phase):
        assert len(phases) == 2 or key == "binary"


def test_binary_activations_reach_the_phase_that_is_binary():
    changed = override(RECIPE, [("binary", "activations")])
    assert changed.model.binary == "activations"
    assert [phase.binary for phase in changed.phases] == [False, "activations"]
    assert override(changed, [("binary", "true")]) == RECIPE


@pytest.mark.parametrize("epochs", [4, 80])
def test_drops_move_with_the_epochs(epochs):
    tanh, binary = override(
        load_recipe("groupnet_resnet18", dataset="imagenet2012"), [("epochs", str(epochs))]
    ).phases
    assert [drop * epochs for drop in binary.drops] == [epochs / 2, epochs * 3 / 4]
    assert [drop * epochs for drop in tanh.drops] == [epochs * 5 / 8, epochs * 7 / 8]


def test_learning_rate_drops_where_the_authors_drop_it():
    from larq_groupnet.training.optimizers import schedule

    tanh = load_recipe("groupnet_resnet18", dataset="imagenet2012").phases[0]
    rate = schedule(tanh, steps_per_epoch=10)
    for step, drops in {249: 0, 250: 1, 349: 1, 350: 2}.items():
        assert float(rate(step)) == pytest.approx(0.05 * 0.1**drops)


def test_run_of_an_older_version_has_its_drops_in_epochs():
    recipe = load_recipe("groupnet_resnet18", dataset="imagenet2012")
    values = json.loads(json.dumps(recipe.to_dict()))
    values["phases"][0]["drops"], values["phases"][1]["drops"] = [25, 35], [20, 30]
    assert Recipe.from_dict(values) == recipe
    values["phases"][1]["epochs"] = 25  # Ends before the second drop.
    assert Recipe.from_dict(values).phases[1].drops == (20 / 25,)
    values["phases"][1]["epochs"] = 3  # Ends before both drops.
    assert Recipe.from_dict(values).phases[1].schedule == "constant"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([("epochs", "3"), ("epochs", "4")], "epochs: expected one value"),
        ([("input_size", "8"), ("input_shape", "(16, 16, 1)")], "input_shape: expected one value"),
        ([("epochs", "0,2"), ("tanh.learning_rate", "1")], "phase tanh, which has no epochs"),
        ([("input_size", "wide")], "expected height,width in pixels"),
        ([("input_size", "0")], "expected height,width in pixels"),
        ([("input_size", "1,2,3")], "expected height,width in pixels"),
    ],
)
def test_contradictions_are_refused(changes, message):
    with pytest.raises(RecipeError, match=message):
        override(RECIPE, changes)


def test_phase_alone_comes_before_all_of_them():
    changes = [("tanh.epochs", "3"), ("epochs", "9")]
    for order in (changes, changes[::-1]):
        assert [phase.epochs for phase in override(RECIPE, order).phases] == [3, 9]


def test_one_word_for_the_size_of_images():
    for text in ("24", "24,24", "(24, 24)"):
        assert override(RECIPE, [("input_size", text)]).model.input_shape == (24, 24, 1)
    assert override(RECIPE, [("input_size", "16,32")]).model.input_shape == (16, 32, 1)


def test_text_that_looks_like_a_number_is_a_text():
    assert override(RECIPE, [("start_from", "2026")]).start_from == "2026"


def test_one_phase_keeps_its_own_options():
    changed = only_phase(override(RECIPE, [("binary.learning_rate", "1")]), "binary")
    assert [phase.epochs for phase in changed.phases] == [0, 15]
