"""What is searched: choices, what depends on what, and the budget."""

import dataclasses
import random
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from conftest import ROOT

from larq_groupnet import ConfigError, complexity
from larq_groupnet.recipes import load_recipes
from larq_groupnet.training import Phase, Recipe, RecipeError, load_recipe, load_search
from larq_groupnet.tuning.space import Budget, Plan, make_space

ZOO = load_recipes("groupnet_resnet18")
RECIPE = ZOO.find("digits")
DECLARED = ZOO.search["digits"]


def draw(space, seed):
    """A candidate, chosen without keras-tuner."""
    chosen = random.Random(seed)
    values = {key: chosen.choice(texts) for key, texts in space.choices.items()}
    if values.get("decomposition") != "gated":
        values.pop("gate", None)
    return values


def test_candidate_is_the_recipe_with_the_chosen_values():
    space = make_space(RECIPE, DECLARED, [("batch_size", "64")])
    values = {
        "num_bases.stage1": "1", "num_bases.stage2": "2", "num_bases.stage3": "8",
        "num_bases.stage4": "3", "decomposition": "gated", "gate": "base", "aggregation": "mean",
        "shortcut": "block", "width": "0.5", "learning_rate": "0.01", "schedule": "constant",
        "tuner/epochs": 3,
    }  # fmt: skip
    assert set(space.choices) == set(values) - {"tuner/epochs"}
    found = space.candidate(values)
    assert found.model == RECIPE.model.replace(
        num_bases=(1, 2, 8, 3), gate="base", aggregation="mean", shortcut="block", width=0.5
    )
    assert [(p.learning_rate, p.schedule) for p in found.phases] == [(0.01, "constant")] * 2
    assert [p.epochs for p in found.phases] == [5, 15]
    assert found.batch_size == 64


def test_set_fixes_narrows_and_widens():
    space = make_space(
        RECIPE,
        DECLARED,
        [
            ("num_bases", "1|3"),
            ("width", "0.25"),
            ("binary.learning_rate", "2e-3"),
            ("batch_size", "16 | 32"),
        ],
    )
    assert space.choices["num_bases.stage3"] == ("1", "3")
    assert "width" not in space.choices and "num_bases" not in space.choices
    assert space.choices["batch_size"] == ("16", "32")
    values = {**draw(space, 0), "learning_rate": "0.01"}
    assert [p.learning_rate for p in space.candidate(values).phases] == [0.01, 2e-3]
    whole = make_space(RECIPE, DECLARED, [("num_bases", "(1, 1, 2, 2)|(2, 2, 1, 1)|3")])
    assert whole.choices["num_bases"] == ("(1, 1, 2, 2)", "(2, 2, 1, 1)", "3")
    fixed = make_space(RECIPE, DECLARED, [("num_bases", "(2, 2, 2, 1)")])
    assert fixed.recipe.model.num_bases == (2, 2, 2, 1)
    assert not any(key.startswith("num_bases") for key in fixed.choices)


def test_gate_is_searched_only_where_there_are_gates():
    choices = make_space(RECIPE, DECLARED, []).choices
    assert list(choices).index("decomposition") < list(choices).index("gate")
    assert "gate" in make_space(RECIPE, DECLARED, [("decomposition", "gated")]).choices
    assert "gate" not in make_space(RECIPE, DECLARED, [("decomposition", "group")]).choices
    assert "gate" not in make_space(RECIPE, DECLARED, [("decomposition", "group|layer")]).choices


def test_every_declared_space_holds_networks():
    for name in ("groupnet_resnet18", "groupnet_resnet34", "groupnet_resnet50", "groupnet_dsp"):
        datasets = ["digit_scenes"] if name == "groupnet_dsp" else ["digits", "imagenet2012"]
        for dataset in datasets:
            recipe = load_recipe(name, ROOT / "zoo", dataset)
            space = make_space(recipe, load_search(name, ROOT / "zoo", dataset), [])
            for seed in range(30):
                assert space.fault(draw(space, seed)) is None


def test_space_of_another_dataset_is_the_first_one():
    find = partial(load_search, "groupnet_resnet18", ROOT / "zoo")
    assert find("cifar10") == find("digits") != find("imagenet2012")
    assert load_search("resnet18", ROOT / "zoo", "digits") == {}


@pytest.mark.parametrize("limit", ["max_ops", "max_memory", "max_binary_macs"])
def test_candidate_over_budget_is_seen_from_its_configuration(limit):
    def cost(config):
        total = complexity(config).total
        memory = sum(bits * count / 8 for bits, count in total.params.items())
        ops = total.macs[32] + total.macs[1] / 64
        return {"max_ops": ops, "max_memory": memory, "max_binary_macs": total.macs[1]}[limit]

    open_space = make_space(RECIPE, DECLARED, [])
    drawn = [draw(open_space, seed) for seed in range(60)]
    costs = [cost(open_space.candidate(values).model) for values in drawn]
    middle = sorted(costs)[30]
    space = dataclasses.replace(open_space, budget=Budget(**{limit: middle}))
    for values, spent in zip(drawn, costs, strict=True):
        fault = space.fault(values)
        assert (fault is None) is (spent <= middle)
        assert fault is None or limit[4:] in fault


@pytest.mark.slow
def test_budget_that_nothing_keeps_to_is_refused(monkeypatch):
    monkeypatch.setattr("larq_groupnet.tuning.space.TRIED", 100)
    make_space(RECIPE, DECLARED, [], budget=Budget(max_ops=60_000))
    with pytest.raises(RecipeError, match=r"none of 100 does; .*ops [\d,]+ > 100") as refused:
        make_space(RECIPE, DECLARED, [], budget=Budget(max_ops=100))
    least = int(str(refused.value).rpartition("the least of all: ops ")[2].replace(",", ""))
    make_space(RECIPE, DECLARED, [], budget=Budget(max_ops=least + 1))
    with pytest.raises(RecipeError, match=f"the least of all: ops {least:,}$"):
        make_space(RECIPE, DECLARED, [], budget=Budget(max_ops=least - 1))


def test_candidates_and_their_costs_need_no_tensorflow():
    code = (
        "import sys, runpy\n"
        "from larq_groupnet.training import load_recipe, load_search\n"
        "from larq_groupnet.tuning import make_space, Budget\n"
        "from pathlib import Path\n"
        "recipe = load_recipe('groupnet_resnet18', Path('zoo'))\n"
        "declared = load_search('groupnet_resnet18', Path('zoo'), 'digits')\n"
        "make_space(recipe, declared, [], budget=Budget(max_ops=1e6))\n"
        "assert not {'tensorflow', 'keras_tuner'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_trial_squeezes_epochs_warm_up_and_drops():
    recipe = ZOO.find("imagenet2012")
    space = make_space(recipe, ZOO.search["imagenet2012"], [], trial_epochs="4,8")
    candidate = space.candidate({"schedule": "steps"})
    trial = space.trial(candidate)
    assert [(p.epochs, p.drops) for p in trial.phases] == [
        (4, (25 / 40, 35 / 40)),
        (8, (0.5, 0.75)),
    ]
    assert [p.epochs for p in space.trial(candidate, epochs=3).phases] == [1, 2]
    assert [p.epochs for p in space.trial(candidate, epochs=1).phases] == [1, 1]
    cosine = space.trial(space.candidate({"schedule": "cosine"}))
    assert [(p.epochs, p.drops) for p in cosine.phases] == [(4, ()), (8, ())]
    warm = Phase("binary", epochs=10, learning_rate=1e-3, binary=True, warmup_epochs=2)
    only = Recipe("net", recipe.model, (warm,), "digits")
    short = make_space(only, {"learning_rate": (1e-3, 1e-2)}, [], trial_epochs="5")
    assert short.trial(only).phases[0].warmup_epochs == 1


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ([("decomposition", "gated|gropu")], ConfigError, "Did you mean 'group'"),
        ([("numbases", "1|2")], RecipeError, "Did you mean 'num_bases'"),
        ([("num_bases", "0|2")], ConfigError, "from 1 to 1000"),
        ([("width", "0.25|wide")], RecipeError, "width: expected a number"),
        ([("width", "0.25|0.25")], RecipeError, "expected different choices"),
        ([("width", "0.25|")], RecipeError, "expected different choices"),
        ([("num_bases", "1|2"), ("num_bases", "1|3")], RecipeError, "num_bases: expected one val"),
        ([("num_bases", "2"), ("num_bases", "1|3")], RecipeError, "num_bases: expected one value"),
        ([("num_classes", "2|3")], RecipeError, "as the dataset has its classes. Received: 2|3"),
        ([("dataset", "digits|mnist")], RecipeError, "dataset: expected one value"),
        ([("binary.epochs", "1|2")], RecipeError, "trial_epochs says"),
        ([("schedule", "cosine|steps")], RecipeError, "drops: expected epochs"),
        ([(key, str(values[0])) for key, values in DECLARED.items()], RecipeError, "several choi"),
    ],
)
def test_wrong_choice_is_named(changes, error, message):
    with pytest.raises(error, match=message):
        make_space(RECIPE, DECLARED, changes)


def test_limit_is_a_positive_number():
    with pytest.raises(RecipeError, match="max_ops: expected a finite number above 0"):
        Budget(max_ops=0)
    with pytest.raises(RecipeError, match="max_memory"):
        Budget(max_memory=float("nan"))


@pytest.mark.parametrize(
    "wrong", [{"max_trials": 2.5}, {"max_trials": "3"}, {"uniform": 3}, {"uniform": ("1",)}]
)
def test_plan_is_of_counts(wrong):
    with pytest.raises(RecipeError, match="tune: expected max_trials and every K of uniform"):
        Plan(**wrong)


def test_choices_and_limits_are_of_python_or_numpy():
    space = make_space(RECIPE, {"num_bases": np.array([1, 2])}, [])
    assert {*space.choices.values()} == {("1", "2")}
    assert Plan(max_trials=np.int64(2), uniform=[1, 2]).uniform == (1, 2)
    assert Budget(max_ops=np.float32(8)).max_ops == 8
    with pytest.raises(RecipeError, match="num_bases: expected a tuple of choices"):
        make_space(RECIPE, {"num_bases": 3}, [])
    with pytest.raises(RecipeError, match="max_ops: expected a finite number"):
        Budget(max_ops="1")
