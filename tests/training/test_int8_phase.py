"""A last phase with integers, as a user runs it."""

import csv
import dataclasses
import json
import shutil
import signal

import numpy as np
import pytest
from conftest import ROOT
from documents import without
from runs import assert_same_run, command, read_weights, signal_after

from larq_groupnet.deploy import ConversionError, convert, verify
from larq_groupnet.deploy.int8 import float_operations, is_int8, predict_int8
from larq_groupnet.inference.sources import load_predictor
from larq_groupnet.runs.saved import load_run
from larq_groupnet.training import (
    Phase,
    RecipeError,
    load_recipe,
    only_phase,
    override,
    with_int8,
)
from larq_groupnet.training.optimizers import not_decayed
from larq_groupnet.training.publish import PublishError, publish
from larq_groupnet.training.start import load_start

RECIPE = load_recipe("groupnet_resnet18", ROOT / "zoo")
OPTIONS = (
    "--model=groupnet_resnet18 --set=num_bases=1 --set=width=0.125 --set=layout=two_stages"
    " --set=output_stride=2 --epochs=0,1 --int8_epochs=2 --set=steps_per_epoch=8"
    " --snapshot_steps=5"
).split()


def options(data_dir, output_dir):
    return [*OPTIONS, f"--data_dir={data_dir}", f"--output_dir={output_dir}"]


@pytest.fixture(scope="module")
def run(digits, tmp_path_factory):
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("int8") / "run"
    done = command("train", *options(digits, folder))
    assert done.returncode == 0, done.stderr
    assert "MACs, 8-bit" in done.stdout and "MACs, 32-bit" not in done.stdout
    return folder


@pytest.mark.slow
def test_file_is_of_integers_and_computes_what_was_trained(run):
    file = run / "model.tflite"
    assert float_operations(file) == []
    model = load_run(run)
    assert is_int8(model) and not is_int8(load_run(run / "binary.h5"))
    before = read_weights(run / "int8-last.h5")
    assert sum("kernel" in name for name in before) == 4 + 1 + 2
    images = np.random.RandomState(0).uniform(-1, 1, (20, 16, 16, 1)).astype("f4")
    expected = model(images).numpy()
    assert np.ptp(expected, 0).max() > 0.01
    assert np.abs(predict_int8(file, images) - expected).mean() < 0.05
    results = json.loads((run / "results.json").read_text())
    assert results["macs"]["8"] > 0 and results["macs"]["32"] == 0
    rows = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
    assert [row["phase"] for row in rows] == ["binary", "int8", "int8"]
    # It goes on from the binary phase and does not start anew.
    assert float(rows[1]["loss"]) < float(rows[0]["loss"])
    assert load_predictor(file).classes == tuple("0123456789")


@pytest.mark.slow
def test_run_that_was_stopped_in_the_phase_ends_bit_for_bit_where_another_does(
    run, digits, tmp_path
):
    stopped = shutil.copytree(run, tmp_path / "stopped")
    for file in (stopped / "int8-last.h5", *stopped.glob("snapshots/snapshot-3*")):
        file.unlink()  # As if the last epoch had not ended.
    words = options(digits, stopped)
    with signal_after(1, signal.SIGTERM, "int8"):
        done = command("train", *words, judge=False)
    assert done.returncode == 128 + signal.SIGTERM
    assert f"--output_dir {stopped}" in done.stderr
    assert "Resuming in epoch 3, step 6" in done.stdout
    # Two steps are left, which are computed at once.
    done = command("train", *words, "--steps_per_execution=2", judge=False)
    assert done.returncode == 0, done.stderr
    assert "Resuming in epoch 3, step 7" in done.stdout and "Phase binary" not in done.stdout
    assert_same_run(run, stopped, "int8")


@pytest.mark.slow
def test_file_of_integers_is_refused_where_floats_are_needed(run, digits):
    with pytest.raises(ConversionError, match="expected a file that reads float32"):
        verify(load_run(run), run / "model.tflite", np.zeros((1, 16, 16, 1), "f4"))
    with pytest.raises(ConversionError, match="expected one image at a time"):
        convert(load_run(run), run / "two.tflite", batch_size=2)
    recipe = dataclasses.replace(RECIPE, start_from=str(run))
    with pytest.raises(RecipeError, match="start_from: expected real weights, such as .*binary.h5"):
        load_start(recipe)


@pytest.mark.slow
def test_weight_decay_takes_the_real_kernels_alone(run):
    model = load_run(run)
    spared = {id(weight) for weight in not_decayed(model)}
    decayed = [weight for weight in model.trainable_weights if id(weight) not in spared]
    assert [tuple(weight.shape) for weight in decayed] == [(3, 3, 1, 8), (16, 10)]


@pytest.mark.slow
def test_int8_run_is_taken_or_refused_with_the_reason(run, digits, tmp_path):
    with pytest.raises(PublishError, match="last phase is not int8"):
        publish(run, "mine", tmp_path, licence="-")
    with pytest.raises(RecipeError, match=r"size: expected \(16, 16\)"):
        load_run(run, size=(32, 32))
    output = tmp_path / "again.tflite"
    done = command("convert", run, "--int8", f"--output={output}", f"--data_dir={digits}")
    assert done.returncode == 0, done.stderr
    assert output.read_bytes() == (run / "model.tflite").read_bytes()


def test_phase_is_the_last_one_of_a_binary_network():
    recipe = with_int8(RECIPE, 3)
    assert [phase.name for phase in recipe.phases] == ["tanh", "binary", "int8"]
    assert recipe.phases[-1].epochs == 3 and recipe.phases[:-1] == RECIPE.phases
    with pytest.raises(RecipeError, match="int8_epochs: expected a recipe without"):
        with_int8(recipe, 3)
    with pytest.raises(RecipeError, match="int8.int8: expected the binary network"):
        with_int8(override(RECIPE, [("binary", "false")]), 3)
    with pytest.raises(RecipeError, match="a.int8: expected .* no teacher"):
        Phase("a", 1, 0.1, True, int8=True, soft_targets=0.5)
    with pytest.raises(RecipeError, match="no head_factor"):
        Phase("a", 1, 0.1, True, int8=True, head_factor=10.0)
    with pytest.raises(RecipeError, match="--int8_epochs adds it"):
        only_phase(RECIPE, "int8")
    integers = Phase("first", 1, 0.1, True, int8=True)
    with pytest.raises(RecipeError, match="int8: expected as the last phase"):
        dataclasses.replace(RECIPE, phases=(integers, *RECIPE.phases))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--phase=int8", "--epochs=1"], "start_from: expected trained weights for phase int8"),
        (["--mixed_precision=mixed_bfloat16"], "mixed_precision: expected float32 with an int8"),
        (["--set=int8.learning_rate=0.0"], "int8.learning_rate: expected a finite number above 0"),
        (["--tune"], "--tune: expected no flag that it ignores. Received: --int8_epochs"),
    ],
)
def test_int8_options_that_exclude_each_other_are_refused_at_once(digits, tmp_path, more, message):
    done = command("train", *without(options(digits, tmp_path / "run"), *more), *more)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "run").exists()
