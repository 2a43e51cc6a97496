"""Without Larq Compute Engine, as on Python 3.13, everything but conversion works."""

import subprocess
import sys

from conftest import ROOT

WITHOUT = "import sys\nsys.modules['larq_compute_engine'] = None\n"
"""An import of it then fails as where it is not installed."""

TRAIN = f"""{WITHOUT}from larq_groupnet.cli import main
sys.exit(main(['train', '--model=groupnet_resnet18', '--set=num_bases=1', '--set=width=0.0625',
    '--set=stage_blocks=(1,1,1,1)', '--set=steps_per_epoch=2', '--epochs=0,1', *sys.argv[1:]]))
"""


def test_training_evaluates_and_says_in_one_line_why_it_does_not_convert(digits, tmp_path):
    flags = [f"--data_dir={digits}", f"--output_dir={tmp_path / 'run'}"]
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, *flags], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "larq-compute-engine" in line]
    assert "expected to be installed" in line and "Use Python 3.10, 3.11 or 3.12" in line
    assert "test accuracy" in done.stdout
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"results.json", "predictions.png", "binary.h5"} <= names
    assert "model.tflite" not in names

    convert = f"{WITHOUT}from larq_groupnet.cli import main\nsys.exit(main(sys.argv[1:]))"
    command = ["convert", str(tmp_path / "run"), f"--output={tmp_path / 'x.tflite'}", flags[0]]
    done = subprocess.run(
        [sys.executable, "-c", convert, *command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("larq-groupnet: larq-compute-engine: expected")
    assert "Traceback" not in done.stderr
