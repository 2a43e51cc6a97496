"""The three oracles with trainings that take no time: budget, failures, kills, frontier."""

import contextlib
import functools
import json
import re
import shutil
from itertools import product

import numpy as np
import pytest
import tensorflow as tf
from sklearn.gaussian_process import GaussianProcessRegressor

from larq_groupnet import complexity
from larq_groupnet.errors import Interrupted, RecipeError, TrainingError
from larq_groupnet.recipes import load_recipes
from larq_groupnet.report.search import search_table
from larq_groupnet.training.distribution import Runtime
from larq_groupnet.tuning import Budget, Plan, make_space, oracles, trial
from larq_groupnet.tuning import search as search_module
from larq_groupnet.tuning.oracles import FAILURES_IN_A_ROW, make_oracle
from larq_groupnet.tuning.outcome import compare_with_uniform, trial_rows
from larq_groupnet.tuning.search import ENVIRONMENT, _explained, role
from larq_groupnet.tuning.trial import STARTS, SearchTuner

ZOO = load_recipes("groupnet_resnet18")
RECIPE = ZOO.find("digits")
METRIC = "val_accuracy"


@pytest.fixture
def few_draws(monkeypatch):
    """A Gaussian process that is fitted once chooses among few, where it does not matter."""
    fit = GaussianProcessRegressor.fit

    def fit_once(process, *given):
        process.n_restarts_optimizer = 0
        return fit(process, *given)

    monkeypatch.setattr(GaussianProcessRegressor, "fit", fit_once)
    monkeypatch.setattr(oracles, "ACQUISITION_DRAWS", 10)


class Killed(BaseException):
    """As sudden as SIGKILL, as far as Python code can tell."""


class Trainer(trial.Trainer):
    """Accuracy follows from the structure alone, and is best with many bases in stage 3."""

    def __init__(self, fails=lambda recipe, call: None):
        object.__setattr__(self, "fails", fails)
        object.__setattr__(self, "trained", [])

    def train(self, recipe, folder):
        self.trained.append(recipe)
        self.fails(recipe, len(self.trained))
        return accuracy(recipe)


def accuracy(recipe):
    first, second, third, fourth = recipe.model.bases_per_stage
    epochs = sum(phase.epochs for phase in recipe.phases)
    return (0.4 * third + 0.1 * (first + second + fourth)) / 6 * (1 - 0.5**epochs)


@functools.cache
def space(**budget):
    return make_space(RECIPE, ZOO.search["digits"], (), "2,7", Budget(**budget))


@functools.cache
def bases_only(choices, **budget):
    """A space that varies K by stage and nothing else."""
    return make_space(RECIPE, {"num_bases": tuple(choices)}, [], "2,7", Budget(**budget))


def run(where, folder, trainer, tuner="random", frontier=False, trials=None):
    oracle = make_oracle(tuner, where, METRIC, frontier, trials)
    with _explained(folder):
        SearchTuner(oracle, where, trainer, folder).search(verbose=0)
    return oracle


NEWER = ("random_trials", "runtime")
"""What `search.json` did not say at first."""


def stubbed(monkeypatch):
    """The trainer of all searches that follow; no dataset is looked at, and nothing is drawn."""
    trainer = Trainer()
    monkeypatch.setattr("larq_groupnet.tuning.outcome.draw_frontier", lambda *_: None)
    monkeypatch.setattr(search_module, "Trainer", lambda *_: trainer)
    monkeypatch.setattr(search_module, "check_recipe", lambda *_: None)
    return trainer


def searched(folder, tuner, trials, runtime=None):
    """The trials of a search as a command starts it, but for who wins."""
    plan = Plan(tuner, max_trials=trials, uniform=())
    found = search_module.search(bases_only((1, 2, 3)), plan, folder / "data", folder, runtime)
    return [{**row, "winner": None, "on_frontier": None} for row in found["trials"]]


def fail(error, *calls):
    def fails(recipe, call):
        if call in calls:
            raise error

    return fails


@pytest.mark.parametrize(
    ("tuner", "frontier"),
    [("random", True), ("hyperband", False), ("bayesian", False), ("bayesian", True)],
)
def test_nothing_over_budget_is_trained_and_nothing_twice(few_draws, tmp_path, tuner, frontier):
    limits = {"max_ops": 8e5, "max_memory": 6e5, "max_binary_macs": 5e7}
    trainer = Trainer()
    oracle = run(space(**limits), tmp_path, trainer, tuner, frontier, 9)
    assert len(trainer.trained) == len(oracle.trials) == 9
    for recipe in trainer.trained:
        total = complexity(recipe.model).total
        assert total.ops <= 8e5
        assert total.total_memory <= 6e5
        assert total.macs[1] <= 5e7
    assert len(set(trainer.trained)) == 9
    rows = trial_rows(oracle, METRIC, tmp_path / "trials")
    assert [row["value"] for row in rows] == [accuracy(recipe) for recipe in trainer.trained]
    values = [row["value"] for row in rows]
    winners = [row["value"] for row in rows if row["winner"]]
    assert max(values) in winners
    assert frontier or winners == [max(values)]
    folders = {path.name for path in (tmp_path / "trials").iterdir()}
    assert {f"trial_{row['trial']}" for row in rows} == folders


def test_bayesian_search_finds_more_than_random_search(tmp_path, monkeypatch):
    """On a smooth function, after a first third that is random for both."""
    monkeypatch.setattr(oracles, "ACQUISITION_DRAWS", 40)
    later = {}
    for tuner in ("random", "bayesian"):
        trainer = Trainer()
        run(bases_only(range(1, 9)), tmp_path / tuner, trainer, tuner, trials=18)
        later[tuner] = np.median(list(map(accuracy, trainer.trained[6:])))
    assert later["bayesian"] > 1.2 * later["random"]


def test_hyperband_gives_many_few_epochs_and_the_best_of_them_more(tmp_path):
    trainer = Trainer()
    oracle = run(space(), tmp_path, trainer, "hyperband")
    epochs = [tuple(phase.epochs for phase in recipe.phases) for recipe in trainer.trained]
    # 9 epochs of the recipe's two phases: a ninth, a third, all of them.
    assert set(epochs) == {(1, 1), (1, 2), (2, 7)}
    assert epochs.count((1, 1)) > epochs.count((1, 2)) > 0
    rounds = [t.hyperparameters.values.get("tuner/trial_id") for t in oracle.trials.values()]
    promoted = [trial for trial in rounds if trial]
    scores = {key: trial.score for key, trial in oracle.trials.items()}
    first = [scores[key] for key in scores if oracle.trials[key].hyperparameters["tuner/round"] == 0
             and oracle.trials[key].hyperparameters["tuner/bracket"] == 2]  # fmt: skip
    assert max(first) in [scores[key] for key in promoted]
    assert min(first) not in [scores[key] for key in promoted]


@pytest.mark.parametrize(
    ("tuner", "error"),
    [
        ("random", TrainingError("phase 'binary': the loss became NaN")),
        ("hyperband", tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")),
        ("bayesian", MemoryError("too much")),
    ],
)
def test_failed_trial_is_recorded_and_the_search_goes_on(few_draws, tmp_path, tuner, error):
    trainer = Trainer(fail(error, 2, 5))
    oracle = run(space(), tmp_path, trainer, tuner, trials=7)
    rows = trial_rows(oracle, METRIC, tmp_path / "trials")
    assert len(rows) == 7
    failed = [row for row in rows if row["status"] == "failed"]
    assert [rows.index(row) for row in failed] == [1, 4]
    for row in failed:
        assert row["value"] is None and not row["winner"]
        assert row["failure"].startswith(type(error).__name__)
        assert (str(error) or "x").splitlines()[0] in row["failure"]


def test_search_ends_when_nothing_works(tmp_path):
    trainer = Trainer(fail(MemoryError("too much"), *range(2, 100)))
    oracle = run(space(), tmp_path, trainer, trials=50)
    assert len(trainer.trained) == 1 + FAILURES_IN_A_ROW
    assert oracle.failed_in_a_row() == FAILURES_IN_A_ROW


def test_space_that_is_used_up_ends_the_search(tmp_path, monkeypatch):
    monkeypatch.setattr(oracles, "DRAWS", 200)
    limit = 150_000
    trainer = Trainer()
    oracle = run(bases_only((1, 2), max_memory=limit), tmp_path, trainer, trials=50)
    every = [RECIPE.model.replace(num_bases=bases) for bases in product((1, 2), repeat=4)]
    fitting = {model for model in every if complexity(model).total.total_memory <= limit}
    assert {recipe.model for recipe in trainer.trained} == fitting
    assert 0 < len(fitting) == len(trainer.trained) < 16
    assert oracle.exhausted


@pytest.mark.parametrize(
    ("tuner", "call"), [("random", 1), ("random", 5), ("hyperband", 5), ("bayesian", 5)]
)
def test_killed_trial_is_run_again_and_the_end_is_the_same(few_draws, tmp_path, tuner, call):
    trainer = Trainer(fail(Killed(), call))
    with pytest.raises(Killed):
        run(space(max_ops=1e6), tmp_path / "killed", trainer, tuner, trials=6)
    oracle = run(space(max_ops=1e6), tmp_path / "killed", trainer, tuner, trials=6)
    whole = Trainer()
    expected = run(space(max_ops=1e6), tmp_path / "whole", whole, tuner, trials=6)
    assert trainer.trained[call - 1] == trainer.trained[call]
    assert trainer.trained[:call] + trainer.trained[call + 1 :] == whole.trained
    assert not oracle.ongoing_trials
    scores = [{k: t.score for k, t in each.trials.items()} for each in (oracle, expected)]
    assert scores[0] == scores[1]
    # What it says on disk is enough to read the result once more.
    again = Trainer()
    oracle = run(space(max_ops=1e6), tmp_path / "killed", again, tuner, trials=6)
    assert not again.trained
    assert {k: t.score for k, t in oracle.trials.items()} == scores[0]


def test_more_trials_go_on_where_fewer_ended(tmp_path):
    """keras-tuner numbers ten trials with two digits."""
    trainer = Trainer()
    run(space(), tmp_path, trainer, trials=3)
    assert len(run(space(), tmp_path, trainer, trials=12).trials) == 12
    assert len(set(trainer.trained)) == len(trainer.trained) == 12


@pytest.mark.slow
@pytest.mark.parametrize("tuner", ["random", "hyperband", "bayesian"])
def test_raised_max_trials_keep_what_was_trained(few_draws, monkeypatch, tmp_path, tuner):
    """The command again with more trials: those of the first time are neither lost nor repeated."""
    trainer = stubbed(monkeypatch)
    first = searched(tmp_path, tuner, 6)
    assert len(trainer.trained) == 6
    second = searched(tmp_path, tuner, 12)
    assert second[:6] == first
    assert len(trainer.trained) == len(set(trainer.trained)) == 12
    # With fewer again, as few as at first.
    assert searched(tmp_path, tuner, 6) == first
    assert len(trainer.trained) == 12


@pytest.mark.slow
@pytest.mark.parametrize("ended", [True, False], ids=["ended", "stopped"])
def test_search_of_an_older_version_keeps_what_was_trained(few_draws, monkeypatch, tmp_path, ended):
    """It says nothing of its first trials and of its precision, and lacks a field of the recipe."""
    trainer = stubbed(monkeypatch)
    first = searched(tmp_path, "bayesian", 6)
    asked = json.loads((tmp_path / "search.json").read_text())
    for file in [tmp_path / "search.json", *tmp_path.glob("trials/*/trial.json")]:
        known = json.loads(file.read_text())
        del known["recipe"]["teacher"]
        file.write_text(json.dumps({k: known[k] for k in known if k not in NEWER}))
    if not ended:
        (tmp_path / "results.json").unlink()
    again = searched(tmp_path, "bayesian", 12 if ended else 6)
    assert again[:6] == first
    assert len(trainer.trained) == len(again)
    # From here on it is known.
    assert json.loads((tmp_path / "search.json").read_text()) == asked
    assert not list(tmp_path.glob("trials/*-before*"))


def test_search_with_another_precision_is_refused(monkeypatch, tmp_path):
    trainer = stubbed(monkeypatch)
    searched(tmp_path, "random", 2)
    before = (tmp_path / "search.json").read_bytes()
    for option, value in (("precision", "mixed_bfloat16"), ("jit_compile", True)):
        with pytest.raises(RecipeError, match=f"runtime.{option} was .*, is {value!r}"):
            searched(tmp_path, "random", 2, Runtime(**{option: value}))
    assert (tmp_path / "search.json").read_bytes() == before
    # What changes no figure may be other.
    searched(tmp_path, "random", 2, Runtime(snapshot_steps=3, log_steps=1))
    assert len(trainer.trained) == 2


def test_of_two_searches_that_start_at_once_the_first_to_hold_the_folder_has_it(
    monkeypatch, tmp_path
):
    stubbed(monkeypatch)
    searched(tmp_path / "first", "random", 1)

    @contextlib.contextmanager
    def held_by_the_first_meanwhile(folder, remedy):
        folder.mkdir()
        shutil.copy(tmp_path / "first" / "search.json", folder)
        yield

    monkeypatch.setattr("larq_groupnet.tuning.search.holding", held_by_the_first_meanwhile)
    with pytest.raises(RecipeError, match="holds a run of another search .tuner was 'random'"):
        searched(tmp_path / "second", "bayesian", 1)
    assert json.loads((tmp_path / "second" / "search.json").read_text())["tuner"] == "random"


def test_failed_trial_is_not_tried_again_by_a_search_that_resumes(tmp_path):
    trainer = Trainer(fail(MemoryError("too much"), 2))
    run(space(), tmp_path, trainer, trials=3)
    rows = trial_rows(run(space(), tmp_path, trainer, trials=3), METRIC, tmp_path / "trials")
    assert len(trainer.trained) == 3
    assert [row["failure"] for row in rows] == ["", "MemoryError: too much", ""]


def test_folder_with_a_trial_of_another_recipe_is_trained_anew(tmp_path):
    """A chief that lost its state hands out other candidates under the same numbers."""
    trainer = Trainer()
    first, other = RECIPE, space().uniform(2)
    for recipe in (first, first, other):
        assert trainer.measure(recipe, tmp_path / "trial_0") == accuracy(recipe)
    assert trainer.trained == [first, other]
    # The older one is still there.
    (beside,) = tmp_path.glob("trial_0-before*")
    assert json.loads((beside / "trial.json").read_text())["value"] == accuracy(first)


def row(ops, value, bases="1-1-1-1", **more):
    return {"ops": ops, "value": value, "memory": 1024, "num_bases": bases, **more}


@pytest.mark.parametrize(
    ("uniform", "winner", "remark"),
    [
        ([row(5e5, 0.9)], "uniform", "equals trial 0 .* it is the recipe"),
        ([row(9e5, 0.9)], "trial", "equals trial 0"),
        ([row(9e5, 0.9), row(7e5, 0.9)], "uniform", "0.700 M OPs.* it is the recipe"),
        ([row(5e5, 0.95)], "uniform", "is better than trial 0"),
        ([row(5e5, 0.89)], "trial", ""),
        # Of as many OPs, memory decides, as among trials.
        ([row(7e5, 0.9, memory=900)], "uniform", "0.9 KiB.* as many OPs: it is the recipe"),
        ([row(7e5, 0.9, memory=1100)], "trial", r"OPs, 1.1 KiB\) equals .* OPs, 1.0 KiB\)\."),
        ([row(7e5, 0.9, memory=1100), row(7e5, 0.9)], "uniform", "it is the recipe"),
        ([], "trial", ""),
    ],
)
def test_uniform_k_that_ties_at_no_more_cost_is_the_recipe(uniform, winner, remark):
    trial_row = row(7e5, 0.9, "2-1-3-1", trial="0", winner=True)
    remarks = compare_with_uniform({"trials": [trial_row], "uniform": uniform})
    assert trial_row["winner"] is (winner == "trial")
    assert sum(each.get("winner", False) for each in uniform) == (winner == "uniform")
    assert len(remarks) == bool(remark)
    assert not remark or re.search(remark, remarks[0])


def test_memory_has_the_unit_of_files():
    """Bytes over 1024, as the MiB of files elsewhere."""
    rows = [row(7e5, 0.9, "2-1-3-1", memory=2048, trial="0", on_frontier=True)]
    results = {"name": "n", "dataset": "d", "metric": "accuracy", "trials": rows, "uniform": []}
    assert re.search(r"memory \(KiB\)(.|\n)*\| +2\.0 \|", search_table(results))


def test_trial_that_always_kills_the_process_is_given_up(tmp_path):
    """As the kernel does to a process that is out of memory."""
    trainer = Trainer(fail(Killed(), *range(2, 2 + STARTS)))
    for _ in range(STARTS):
        with pytest.raises(Killed):
            run(space(), tmp_path, trainer, trials=3)
    rows = trial_rows(run(space(), tmp_path, trainer, trials=3), METRIC, tmp_path / "trials")
    assert [row["status"] for row in rows] == ["completed", "failed", "completed"]
    assert f"ended {STARTS} times without getting beyond the beginning" in rows[1]["failure"]


def test_full_disk_is_no_fault_of_the_candidate(tmp_path):
    trainer = Trainer(fail(OSError(28, "No space left on device"), 2))
    with pytest.raises(OSError, match="No space"):
        run(space(), tmp_path, trainer, trials=3)
    oracle = run(space(), tmp_path, trainer, trials=3)
    assert [t.status for t in oracle.trials.values()] == ["COMPLETED"] * 3


def test_signal_is_no_failure_and_says_how_to_go_on(tmp_path):
    signal = Interrupted("stopped by SIGTERM at epoch 2, step 3; everything is saved", 15)
    trainer = Trainer(fail(signal, 2))
    message = "SIGTERM at epoch 2, step 3; it is saved"
    with pytest.raises(Interrupted, match=message) as stopped:
        run(space(), tmp_path, trainer, trials=3)
    assert f"output_dir {tmp_path}" in str(stopped.value)
    assert stopped.value.signum == 15
    oracle = run(space(), tmp_path, trainer, trials=3)
    assert [t.status for t in oracle.trials.values()] == ["COMPLETED"] * 3
    assert trainer.trained[1] == trainer.trained[2]


def test_ctrl_c_before_the_training_is_no_failure_however_often(tmp_path):
    """While the network is built, nothing turns the signal into an `Interrupted`."""
    trainer = Trainer(fail(KeyboardInterrupt(), *range(2, 3 + STARTS)))
    for _ in range(STARTS + 1):
        with pytest.raises(Interrupted, match="the search was stopped; it is saved"):
            run(space(), tmp_path, trainer, trials=3)
    oracle = run(space(), tmp_path, trainer, trials=3)
    assert [t.status for t in oracle.trials.values()] == ["COMPLETED"] * 3


def test_frontier_scores_a_trial_by_its_addition(tmp_path):
    oracle = run(space(), tmp_path, Trainer(), frontier=True, trials=12)
    rows = trial_rows(oracle, METRIC, tmp_path / "trials")
    for row in rows:
        better = [r for r in rows if r["ops"] <= row["ops"] and r["value"] > row["value"]]
        equal = [r for r in rows if r["ops"] <= row["ops"] and r["value"] == row["value"]]
        score = oracle.trials[f"{int(row['trial']):02}"].score
        assert score < 0 if better else score > 0 if len(equal) == 1 else score == 0
        assert not (row["on_frontier"] and better)
    assert any(row["on_frontier"] for row in rows)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("", "", ""), "alone"),
        (("chief", "127.0.0.1", "8000"), "chief"),
        (("worker0", "127.0.0.1", "8000"), "worker"),
    ],
)
def test_environment_says_who_one_is(monkeypatch, values, expected):
    for name, value in zip(ENVIRONMENT, values, strict=True):
        monkeypatch.setenv(name, value)
    assert role() == expected


@pytest.mark.parametrize(
    "values", [("chief", "", ""), ("worker0", "10.0.0.1", ""), ("chief", "10.0.0.1", "99999")]
)
def test_half_an_environment_is_refused(monkeypatch, values):
    for name, value in zip(ENVIRONMENT, values, strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(RecipeError, match="expected all three"):
        role()
