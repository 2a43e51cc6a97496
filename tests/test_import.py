"""Importing is cheap, and the wrong stack is named in one sentence."""

import os
import subprocess
import sys
from importlib import metadata

import pytest
from conftest import ROOT

from larq_groupnet import _stack


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )


@pytest.mark.parametrize(
    "code",
    [
        "import larq_groupnet, larq_groupnet.training, larq_groupnet.data",
        "import runpy\nsys.argv = ['train.py', '--help']\n"
        "try: runpy.run_path('train.py', run_name='__main__')\nexcept SystemExit: pass",
    ],
)
def test_tensorflow_is_not_imported(code):
    found = run_python(f"import sys\n{code}\nprint('tensorflow' in sys.modules)")
    assert found.stdout.splitlines()[-1] == "False"


def test_the_import_takes_a_fraction_of_tensorflows():
    code = "import time; t = time.process_time(); import {}; print(time.process_time() - t)"
    ours, theirs = (
        min(float(run_python(code.format(module)).stdout) for _ in range(2))
        for module in ("larq_groupnet", "tensorflow")
    )
    assert ours < 0.4 * theirs


def test_a_model_can_be_built_without_chatter():
    found = run_python(
        "import larq_groupnet as g\n"
        "g.GroupNetDSP(input_shape=(32, 32, 3), num_bases=1, width=0.0625, num_classes=2)"
    )
    assert (found.stdout, found.stderr) == ("", "")


def test_tfds_knows_digit_scenes_after_the_import():
    run_python(
        "import larq_groupnet, tensorflow_datasets as tfds\ntfds.builder_cls('digit_scenes')"
    )


@pytest.mark.parametrize(
    "versions",
    [
        {"tensorflow": "2.16.1", "keras": "3.4.0"},
        {"tensorflow": "2.15.1", "keras": "3.4.0"},
        {"tensorflow": "2.16.1", "keras": "2.15.0"},
    ],
)
def test_a_stack_that_larq_cannot_use_is_named(monkeypatch, versions):
    monkeypatch.setattr(metadata, "version", versions.__getitem__)
    with pytest.raises(ImportError, match=r"found tensorflow 2\.1\d\.1 with keras \d.*: run"):
        _stack.check_stack()


def test_train_py_says_it_in_one_line(tmp_path):
    """With a real installation record of Keras 3 before the others on the path."""
    record = tmp_path / "keras-3.4.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: keras\nVersion: 3.4.0\n")
    done = subprocess.run(
        [sys.executable, "train.py", "--model=groupnet_dsp"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1
    assert "needs TensorFlow 2.15 with Keras 2.15" in done.stderr


def test_an_absent_package_is_left_to_its_import(monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    _stack.check_stack()
