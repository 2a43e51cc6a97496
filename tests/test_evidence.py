"""The table of `benchmarks/evidence.py`, from rows whose statistics are known."""

import csv
import shlex
import subprocess
import sys

from conftest import ROOT

BUDGET = ("epochs=2,10", "steps_per_epoch=75", "batch_size=8", "stage_blocks=(1, 1, 1, 1)")
# Around a mean m, m - 0.01, m and m + 0.01 have a standard deviation of 0.01. With three runs each,
# p < 0.05 where the means differ by more than 2.776 * 0.01 * sqrt(2 / 3) = 0.0227.
MEANS = {
    "K=1": (0.2, ("num_bases=1",)),
    "K=3": (0.3, ()),
    "K=5": (0.322, ("num_bases=5",)),
    "K=3, real-valued twin": (0.277, ("binary=false",)),
}


def test_verdicts_are_those_of_the_t_test(tmp_path):
    columns = ("experiment", "miou", "command")
    rows = []
    for name, (mean, options) in MEANS.items():
        for seed, change in enumerate((-0.01, 0.0, 0.01)):
            sets = [w for o in (*BUDGET, f"seed={seed}", *options) for w in ("--set", o)]
            command = shlex.join(["python", "train.py", "--model", "groupnet_dsp", *sets])
            rows.append((name, mean + change, command))
    rows.append(("K=1", 0.9, "python train.py --model groupnet_dsp"))  # Of another budget.
    with (tmp_path / "results.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    done = subprocess.run(
        [sys.executable, "benchmarks/evidence.py", "--table", f"--results={tmp_path}/results.csv"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "| K=1 | 3 | 0.200 | 0.010 | 0.190 | 0.210 |" in done.stdout
    assert "| K=3, layer-wise | 0 | | | | |" in done.stdout
    lines = done.stdout.splitlines()
    verdicts = {line.split(" | ")[0].rpartition("(")[2]: line for line in lines if " > " in line}
    assert "+0.100 | 0.010 | 0.000 | holds" in verdicts["K=3 > K=1)"]
    assert "+0.022 | 0.010 | 0.054 | within the spread" in verdicts["K=5 > K=3)"]
    assert "-0.023 | 0.010 | 0.048 | does not hold" in verdicts["K=3, real-valued twin > K=3)"]
    assert verdicts["K=3 > K=3, group-wise)"].endswith("not measured |")
