"""`train.py --tune` as a user runs it: searches that are killed, fail and share the work."""

import csv
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys

import keras_tuner
import pytest
from conftest import ROOT, eagerly
from matplotlib.image import imread
from runs import command, read_weights

from larq_groupnet import GroupNetConfig, complexity
from larq_groupnet.training import Recipe, RecipeError, load_recipe
from larq_groupnet.tuning import Budget, Plan, make_space
from larq_groupnet.tuning.oracles import hyperparameters
from larq_groupnet.tuning.search import search
from larq_groupnet.tuning.trial import SearchTuner, Trainer

TINY = (
    "--model=groupnet_resnet18 --tune --set=layout=two_stages --set=output_stride=2"
    " --set=width=0.0625"
    " --set=decomposition=group --set=aggregation=mean --set=shortcut=conv --set=schedule=cosine"
    " --set=steps_per_epoch=2 --set=tanh.epochs=0 --set=binary.epochs=2 --trial_epochs=0,2"
).split()
FAILING = [*TINY, "--set=num_bases=1", "--set=learning_rate=3e-3|1e38", "--max_trials=4"]
"""Two candidates, one of which diverges."""

WORKER = """
import pathlib
import runpy
import sys
import time
import two_stages
from larq_groupnet.tuning.trial import Trainer
folder = pathlib.Path(sys.argv.pop(1))
end = time.monotonic() + 300

def train(self, recipe, run):
    while len([*folder.glob("worker*/trials/*")]) < 2:
        assert time.monotonic() < end
        time.sleep(0.02)
    return 0.5 + recipe.phases[-1].learning_rate

Trainer.train = train
runpy.run_path("train.py", run_name="__main__")
"""
"""`train.py` without training, and no trial ends before two workers have one, below a folder."""


KILLED = """
import os
import signal
import sys
sys.path[:0] = [".", "tests"]
from conftest import eagerly
from runs import command
from larq_groupnet.runs.saving import SnapshotCallback

def kill_in_second_epoch(self, batch, logs=None):
    if self.epoch == 1:
        self.snapshots.wait()
        os.kill(os.getpid(), signal.SIGKILL)

SnapshotCallback.on_train_batch_end = kill_in_second_epoch
with eagerly():
    command("train", *sys.argv[1:])
"""
"""A process that dies within the second epoch of its first trial."""


@pytest.fixture(scope="module")
def killed(digits, tmp_path_factory):
    """A search that was killed within a trial, and was started again."""
    folder = tmp_path_factory.mktemp("searches") / "killed"
    words = [*FAILING, "--uniform=1", f"--data_dir={digits}", f"--output_dir={folder}"]
    process = [sys.executable, "-c", KILLED, *words]
    dead = subprocess.run(process, cwd=ROOT, capture_output=True, text=True)
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    assert "value" not in json.loads((folder / "trials/trial_0/trial.json").read_text())
    with eagerly():
        done = command("train", *words)
    assert done.returncode == 0, done.stderr
    folder.with_suffix(".out").write_text(done.stdout)
    return folder


@pytest.mark.slow
def test_killed_search_goes_on_within_the_trial(killed):
    screen = killed.with_suffix(".out").read_text()
    assert "Resuming in epoch 2, step 1" in screen
    results = json.loads((killed / "results.json").read_text())
    assert [row["trial"] for row in results["trials"]] == ["0", "1"]
    with (killed / "trials/trial_0/run/history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert [row["epoch"] for row in history] == ["0", "1"]
    best = max(float(row["val_accuracy"]) for row in history)
    assert results["trials"][0]["value"] == pytest.approx(best)
    assert not (killed / "trials/trial_0/run/snapshots").exists()


@pytest.mark.slow
def test_trial_that_diverged_is_recorded_and_the_search_went_on(killed):
    with (killed / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["completed", "failed"]
    assert rows[1]["failure"].startswith("TrainingError: phase 'binary': the loss became NaN")
    assert (rows[1]["learning_rate"], rows[1]["value"]) == ("1e38", "")
    screen = killed.with_suffix(".out").read_text()
    assert "2 trials, 1 failed" in screen
    assert "no further candidate was found" in screen


@pytest.mark.slow
def test_report_holds_the_winner_and_uniform_k(killed):
    results = json.loads((killed / "results.json").read_text())
    (uniform,) = results["uniform"]
    recipe = json.loads((killed / "uniform/1/run/recipe.json").read_text())
    config = GroupNetConfig.from_dict(recipe["model"])
    assert uniform["ops"] == complexity(config).total.ops
    assert uniform["num_bases"] == "1-1"
    # The same network, epochs and seed as the trial's.
    assert uniform["value"] == pytest.approx(results["trials"][0]["value"])
    weights = [
        read_weights(killed / where / "binary.h5")
        for where in ("uniform/1/run", "trials/trial_0/run")
    ]
    for name, array in weights[0].items():
        assert (array == weights[1][name]).all()
    pixels = imread(killed / "frontier.png")
    assert min(pixels.shape[:2]) > 300 and pixels.std() > 0.05
    screen = killed.with_suffix(".out").read_text()
    assert re.search(r"uniform \(winner\) *\| 1-1", screen)
    assert re.search(r"Uniform K=1 .* equals trial 0 .* it is the recipe", screen)
    assert re.search(r"Trial 1 failed: TrainingError: phase 'binary': the loss became NaN", screen)


@pytest.mark.slow
def test_winner_is_trained_by_command(killed, digits, tmp_path):
    recipe = killed / "groupnet_resnet18_tuned.py"
    run = tmp_path / "run"
    words = shlex.split(re.search(r"^    larq-groupnet (.*)$", recipe.read_text(), re.MULTILINE)[1])
    folders = [f"--data_dir={digits}", f"--output_dir={run}"]
    with eagerly():
        done = command(*words, "--epochs=0,1", *folders, judge=False)
    assert done.returncode == 0, done.stderr
    saved = json.loads((run / "recipe.json").read_text())
    trial = json.loads((killed / "trials/trial_0/run/recipe.json").read_text())
    assert saved["model"] == trial["model"]
    assert saved["phases"][1]["learning_rate"] == 3e-3


@pytest.mark.slow
def test_another_search_in_the_same_folder_is_refused(killed, digits):
    before = {path: path.stat().st_mtime_ns for path in killed.iterdir()}
    asked = json.loads((killed / "search.json").read_text())
    recipe = Recipe.from_dict(asked["recipe"])
    fixed = [tuple(change) for change in asked["fixed"]]
    space = make_space(recipe, asked["choices"], fixed, "0,2", Budget(max_ops=1e9))
    with pytest.raises(RecipeError, match=r"another search \(budget.max_ops was None, is 10000000"):
        search(space, Plan(uniform=(1,)), digits, killed)
    assert before == {path: path.stat().st_mtime_ns for path in killed.iterdir()}


@pytest.mark.slow
def test_chief_and_two_workers_share_a_search(digits, tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", port)
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    folders = {name: tmp_path / name for name in ("chief", "worker0", "worker1")}
    words = [
        *TINY[:-1], "--set=num_bases=1", "--set=learning_rate=1e-3|3e-3|1e-2",
        "--trial_epochs=0,1", "--max_trials=3", "--uniform=", f"--data_dir={digits}",
    ]  # fmt: skip
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, tmp_path, *words, f"--output_dir={folders[name]}"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": "tests", "KERASTUNER_TUNER_ID": name},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("worker0", "worker1")
    ]
    chief = command("train", *words, f"--output_dir={folders['chief']}")
    screens = [worker.communicate() for worker in workers]
    assert [each.returncode for each in (chief, *workers)] == [0, 0, 0], (chief, screens)
    results = json.loads((folders["chief"] / "results.json").read_text())
    assert [row["status"] for row in results["trials"]] == ["completed"] * 3
    assert "groupnet_resnet18_tuned.py" in chief.stdout
    trained = {
        name: {file.parts[-2] for file in (folder / "trials").glob("*/trial.json")}
        for name, folder in folders.items()
    }
    assert not trained["chief"]
    assert trained["worker0"] and trained["worker1"]
    assert not trained["worker0"] & trained["worker1"]
    assert len(trained["worker0"] | trained["worker1"]) == 3
    for name in ("worker0", "worker1"):
        for trial in trained[name]:
            measured = json.loads((folders[name] / "trials" / trial / "trial.json").read_text())
            row = next(r for r in results["trials"] if f"trial_{int(r['trial'])}" == trial)
            assert row["value"] == pytest.approx(measured["value"], abs=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
def test_any_oracle_of_keras_tuner_searches_the_space(digits, tmp_path):
    """As the documentation shows it."""
    recipe = load_recipe("groupnet_resnet18", ROOT / "zoo")
    fixed = [("layout", "two_stages"), ("output_stride", "2"), ("stage_blocks", "(1,1)")]
    fixed += [("steps_per_epoch", "2"), ("num_bases", "1")]
    space = make_space(recipe, {"width": (0.0625, 0.125)}, fixed, "0,1")
    oracle = keras_tuner.oracles.GridSearchOracle(
        objective=keras_tuner.Objective("val_accuracy", "max"),
        max_trials=1,
        hyperparameters=hyperparameters(space),
    )
    SearchTuner(oracle, space, Trainer(digits), tmp_path).search(verbose=0)
    (trial,) = oracle.get_best_trials()
    assert trial.hyperparameters.values == {"width": "0.0625"}
    assert 0 < trial.score < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tune", "--tuner=bayes"], "Did you mean 'bayesian'"),
        (["--tune", "--objective=ops"], "Choices: accuracy, frontier"),
        (["--tune", "--max_trials=0"], "max_trials"),
        (["--tune", "--max_ops=much"], "max_ops"),
        (["--tune", "--max_ops=-1"], "expected a finite number above 0"),
        (["--tune", "--max_ops=10"], "none of 1000 does"),
        (["--tune", "--uniform=1,two"], "--uniform=1,two: expected numbers such as 1,2,3"),
        (["--tune", "--uniform=0"], "every K of uniform"),
        (["--tune", "--trial_epochs=0,0"], "epochs: expected at least 1"),
        (["--tune", "--set=gate=base|bloc"], "Did you mean 'block'"),
        (["--tune", "--evaluate=runs/x"], "Received: --evaluate"),
        (["--tune", "--strategy=multi_worker"], "keras-tuner's chief and workers"),
        (["--tune", "--set=start_from=runs/x"], "weights are of one structure"),
        (["--max_ops=1e6"], "no flag that it ignores. Received: --max_ops"),
    ],
)
def test_wrong_command_is_one_line_status_2_and_writes_nothing(tmp_path, arguments, message):
    done = command(
        "train",
        "--model=groupnet_resnet18",
        *arguments,
        f"--data_dir={tmp_path / 'data'}",
        f"--output_dir={tmp_path / 'run'}",
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())
