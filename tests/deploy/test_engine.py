"""Without Larq Compute Engine, as on Python 3.13, everything but conversion works."""

import subprocess
import sys

from conftest import ROOT

WITHOUT = "import sys\nsys.modules['larq_compute_engine'] = None\n"
"""An import of it then fails as where it is not installed."""

COMMANDS = f"""{WITHOUT}sys.path.append('tests')
import two_stages
from larq_groupnet.cli import main
data, run, file = sys.argv[1:]
print(main(['train', '--model=groupnet_resnet18', '--set=num_bases=1', '--set=width=0.0625',
    '--set=layout=two_stages', '--set=output_stride=2', '--set=steps_per_epoch=2', '--epochs=0,1',
    data, f'--output_dir={{run}}']))
print(main(['convert', run, f'--output={{file}}', data]))
"""


def test_training_evaluates_and_says_in_one_line_why_it_does_not_convert(digits, tmp_path):
    words = [f"--data_dir={digits}", tmp_path / "run", tmp_path / "x.tflite"]
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "larq-compute-engine" in line]
    assert "expected to be installed" in line and "Use Python 3.10, 3.11 or 3.12" in line
    assert "test accuracy" in done.stdout
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"results.json", "predictions.png", "binary.h5"} <= names
    assert "model.tflite" not in names

    assert [line for line in done.stdout.splitlines() if line in ("0", "1", "2")] == ["0", "2"]
    assert done.stderr.splitlines()[-1].startswith("larq-groupnet: larq-compute-engine: expected")
    assert "Traceback" not in done.stderr
