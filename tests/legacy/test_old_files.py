"""Files that commit ac95850 wrote with TensorFlow 2.15 load, and mean the same (`write.py`)."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from runs import command

OPTIONS = (
    "--model=groupnet_resnet18 --set=num_bases=1 --set=width=0.0625 --set=batch_size=32"
    " --set=stage_blocks=(1,1,1,1) --set=input_shape=(16,16,1) --set=steps_per_epoch=6"
    " --epochs=1,3"
).split()


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(Path(__file__).with_name("tf215.tar.xz")) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def recorded(old):
    with np.load(old / "outputs.npz") as file:
        return dict(file)


@pytest.mark.parametrize("name", ["model.h5", "model.keras"])
def test_old_model_loads(old, recorded, name):
    from larq_groupnet import load_model

    outputs = load_model(old / name)(recorded["images"])
    np.testing.assert_allclose(outputs, recorded["model"], atol=1e-5)


def test_old_files_load_first_thing_in_a_process(old):
    code = (
        "import larq_groupnet as g\n"
        f"for name in ('model.h5', 'model.keras'): g.load_model('{old}/' + name)\n"
        f"from larq_groupnet.runs.saved import load_run; load_run('{old}/int8')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_old_release_file_loads(old, recorded):
    from larq_groupnet.runs.saved import load_run

    outputs = load_run(old / "model.safetensors")(recorded["images"])
    np.testing.assert_allclose(outputs, recorded["model"], atol=1e-5)


@pytest.mark.parametrize("name", ["stopped", "int8"])
def test_old_run_loads(old, recorded, name):
    from larq_groupnet.runs.saved import load_run

    outputs = load_run(old / name)(recorded["images"][..., :1])
    np.testing.assert_allclose(outputs, recorded[name], atol=1e-5)


def test_old_run_resumes_within_an_epoch(old, digits, tmp_path):
    run = shutil.copytree(old / "stopped", tmp_path / "run")
    history = (run / "history.csv").read_text()
    folders = [f"--data_dir={digits}", f"--output_dir={run}"]
    done = command("train", *OPTIONS, *folders, judge=False)
    assert done.returncode == 0, done.stderr
    assert "Resuming in epoch 3, step 4" in done.stdout
    assert "Phase tanh" not in done.stdout
    lines = (run / "history.csv").read_text()
    assert lines.startswith(history)
    assert [line.split(",")[0] for line in lines.splitlines()] == ["epoch", *"0123"]
