"""What the README shows, once each as a user runs it: the test that every supported stack passes.

`.ci/run` runs this file with the oldest packages too. On the newest, other tests stop and resume,
and run the same commands in their own process, so that one training is enough here: it shows all
the chatter.
"""

import re
import signal
import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from runs import wait_for

from larq_groupnet._stack import MINORS

NEWEST = metadata.version("tensorflow").startswith(f"2.{MINORS[-1]}.")

on_older_stacks = pytest.mark.skipif(
    NEWEST,
    reason="on the newest stack: tests/test_train.py, deploy/, inference/ and tuning/",
)

TINY = (
    "--model=groupnet_resnet18 --set=num_bases=1 --set=width=0.0625 --set=stage_blocks=(1,1,1,1)"
    " --set=steps_per_epoch=4 --set=batch_size=16"
).split()

CHATTER = re.compile(
    r"oneDNN|cuda|CUDA|absl|TF-TRT|TensorRT|CPU instructions|rebuild TensorFlow|deprecat|rendezvous"
    r"|saving_utils|^[IWE]\d{4} ",
    re.M,
)
"""What TensorFlow and Keras say to their developers, in the words of any version."""


def run(*command):
    """A command that must end well and without chatter; gives its output."""
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not CHATTER.search(done.stderr + done.stdout), done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return f"--data_dir={tmp_path_factory.mktemp('data')}"


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A run, on older stacks one that was stopped in its second phase and resumed."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    command = ["train.py", *TINY, data, f"--output_dir={folder}"]
    if NEWEST:
        run(*command, "--epochs=0,1")
        return folder
    command.append("--epochs=1,12")
    stopped = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(stopped, r"Epoch 3/")
    stopped.send_signal(signal.SIGTERM)
    _, errors = stopped.communicate()
    assert stopped.returncode == 128 + signal.SIGTERM, errors
    out = run(*command)
    assert "Resuming in epoch" in out and "Phase tanh" not in out
    return folder


def test_training_is_resumed_and_ends_with_a_converted_file(trained):
    assert (trained / "results.json").is_file()


@on_older_stacks
def test_conversion_verification_and_prediction(trained, data, tmp_path):
    file, images = tmp_path / "model.tflite", tmp_path / "images"
    run("-m", "larq_groupnet", "convert", trained, f"--output={file}", data)
    run("-m", "larq_groupnet", "verify", trained, file, data)
    images.mkdir()
    ink = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(ink).save(images / "one.png")
    run("-m", "larq_groupnet", "predict", file, images, f"--output={tmp_path / 'out'}", data)
    assert any((tmp_path / "out").iterdir())


@on_older_stacks
def test_search_of_two_trials(data, tmp_path):
    search = [
        "--tune",
        "--set=learning_rate=1e-3|3e-3",
        "--max_trials=2",
        "--trial_epochs=0,1",
        "--uniform=",
    ]
    out = run("train.py", *TINY, *search, data, f"--output_dir={tmp_path / 'search'}")
    assert "0 failed" in out
