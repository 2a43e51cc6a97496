"""The table of `benchmarks/evidence.py` for rows with known statistics."""

import csv
import io
import shlex
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
from conftest import ROOT

BUDGET = ("epochs=2,10", "steps_per_epoch=75", "batch_size=8", "stage_blocks=(1, 1, 1, 1)")
# The values m - 0.01, m and m + 0.01 have a standard deviation of 0.01. With three runs each,
# p < 0.05 if the means differ by more than 2.776 * 0.01 * sqrt(2 / 3) = 0.0227. In four tests, Holm
# multiplies the third smallest p by 2.
MEANS = {
    "K=1": (0.2, ("num_bases=1",)),
    "K=3": (0.3, ()),
    "K=5": (0.325, ("num_bases=5",)),
    "K=3, real-valued twin": (0.25, ("binary=false",)),
    "K=3, equal rates": (0.275, ("atrous_rates=(1, 1, 2, 3)",)),
}


def run_evidence(*flags):
    done = subprocess.run(
        [sys.executable, "benchmarks/evidence.py", "--table", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_verdicts_are_those_of_the_t_test(tmp_path):
    columns = ("experiment", "miou", "command")
    rows = []
    for name, (mean, options) in MEANS.items():
        for seed, change in enumerate((-0.01, 0.0, 0.01)):
            sets = [w for o in (*BUDGET, f"seed={seed}", *options) for w in ("--set", o)]
            command = shlex.join(["python", "train.py", "--model", "groupnet_dsp", *sets])
            rows.append((name, mean + change, command))
    rows.append(("K=1", 0.9, "python train.py --model groupnet_dsp"))  # Another budget.
    with (tmp_path / "results.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    printed = run_evidence(f"--results={tmp_path}/results.csv")
    assert "| K=1 | 3 | 0.200 | 0.010 | 0.190 | 0.210 |" in printed
    assert "| K=3, layer-wise | 0 |  |  |  |  |" in printed
    lines = printed.splitlines()
    verdicts = {line.split(" | ")[0].rpartition("(")[2]: line for line in lines if " > " in line}
    assert "+0.100 | 0.010 | 0.000 | 0.001 | holds" in verdicts["K=3 > K=1)"]
    assert "+0.025 | 0.010 | 0.038 | 0.075 | within the spread" in verdicts["K=5 > K=3)"]
    assert "+0.025 | 0.010 | 0.038 | 0.075 | within" in verdicts["K=3 > K=3, equal rates)"]
    twin = verdicts["K=3, real-valued twin > K=3)"]
    assert "-0.050 | 0.010 | 0.004 | 0.011 | does not hold" in twin
    assert verdicts["K=3 > K=3, group-wise)"].endswith("not measured |")


@pytest.mark.parametrize("study", ["digit_scenes", "cifar10", "camvid"])
def test_every_study_has_its_table_and_a_picture(tmp_path, study):
    picture = tmp_path / "costs.png"
    printed = run_evidence(f"--study={study}", f"--picture={picture}")
    assert "\n| K=1 | " in printed
    assert "(K=5 > K=3)" in printed and "not measured" not in printed
    pixels = np.asarray(PIL.Image.open(io.BytesIO(picture.read_bytes())).convert("L"))
    assert pixels.shape == (504, 1200)
    assert (pixels < 128).mean() > 0.005
