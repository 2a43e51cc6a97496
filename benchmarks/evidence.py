"""Which of the paper's orderings hold on `digit_scenes`: trains, evaluates, appends to a CSV file.

    python benchmarks/evidence.py
    python benchmarks/evidence.py --table        # only what zoo/results.csv has by now
    python benchmarks/evidence.py --stage_blocks "" --batch_size 16 --steps 200 --epochs 2,10

The last line is the recipe itself, 17 minutes of CPU time a run at K=3. The default is a budget of
3 minutes: one block in each stage instead of two, 8 images a step, 900 steps.

Every row of `zoo/results.csv` is one run of `groupnet_dsp`: metrics of the Keras model on the 400
test scenes. A run that has its row is not done again, and one that was stopped goes on where it
was, so stop it (Ctrl-C) and start it as you like; a second process takes other runs. The column
`command` repeats a run with train.py, which also converts the network.

An ordering holds if the mean of the first is above that of the second and Student's t-test (two
samples of the same variance, two-sided) gives p < 0.05; it does not hold if the reverse is so; else
the two are within the spread.
"""

from __future__ import annotations

import csv
import math
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import app, flags, logging
from filelock import FileLock, Timeout

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from larq_groupnet import ConfigError  # noqa: E402
from larq_groupnet.files import replacing  # noqa: E402
from larq_groupnet.recipes.overrides import split_option  # noqa: E402
from larq_groupnet.training import Interrupted, Recipe, load_recipe, override  # noqa: E402

MODEL = "groupnet_dsp"

EXPERIMENTS = {
    "K=3": (),
    "K=1": ("num_bases=1",),
    "K=5": ("num_bases=5",),
    "K=3, real-valued twin": ("binary=false",),
    "K=3, equal rates": ("atrous_rates=(1, 1, 2, 3)",),
    "K=3, group-wise": ("decomposition=group",),
    "K=3, layer-wise": ("decomposition=layer",),
    "K=3, FCN-16s": ("head=fcn16s",),
}
"""Name -> what differs from the recipe. Equal rates are the middle of each stage's interval, so
that both look equally far on average."""

ORDERINGS = (
    ("K=3", "K=1", "more bases are better"),
    ("K=5", "K=3", "more bases are better"),
    ("K=3, real-valued twin", "K=3", "real values are better than binary ones"),
    ("K=3", "K=3, equal rates", "a rate per base (BPAC) is better than equal ones"),
    ("K=3", "K=3, group-wise", "learned gates are better than groups of one block"),
    ("K=3, group-wise", "K=3, layer-wise", "group-wise is better than layer-wise"),
    ("K=3, FCN-16s", "K=3", "FCN-16s is better than FCN-32s"),
)
"""First, second, and what the paper says of them."""

METRICS = (
    "miou",
    "pixel_accuracy",
    "mean_accuracy",
    "frequency_weighted_iou",
    "mean_boundary_f_score",
)
COLUMNS = ("model", "experiment", "seed", "dataset", *METRICS, "cpu_seconds", "command")
SIGNIFICANT = 0.05

_SEEDS = flags.DEFINE_integer("seeds", 5, "Runs of each row, seeds 0, 1, ...", lower_bound=2)
_EPOCHS = flags.DEFINE_string("epochs", "2,10", "Epochs of each phase.")
_STEPS = flags.DEFINE_integer("steps", 75, "Steps per epoch.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "Images per step.", lower_bound=1)
_BLOCKS = flags.DEFINE_string("stage_blocks", "(1, 1, 1, 1)", "Empty for the recipe's own.")
_RESULTS = flags.DEFINE_string("results", str(ROOT / "zoo" / "results.csv"), "What to append to.")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Where datasets are kept.")
_RUNS = flags.DEFINE_string("runs", "runs/evidence", "Takes the weights and logs of each run.")
_TABLE = flags.DEFINE_bool("table", False, "Train nothing.")

Rows = list[dict[str, str]]


class Run(NamedTuple):
    """One row to be: `options` are flags of train.py."""

    experiment: str
    seed: int
    options: tuple[str, ...]

    @property
    def changes(self) -> tuple[str, ...]:
        """What to give to --set of train.py."""
        budget = {
            "epochs": _EPOCHS.value,
            "steps_per_epoch": _STEPS.value,
            "batch_size": _BATCH_SIZE.value,
            "stage_blocks": _BLOCKS.value,
            "seed": self.seed,
        }
        return *(f"{key}={value}" for key, value in budget.items() if value != ""), *self.options

    @property
    def command(self) -> str:
        """What repeats it, and tells it from a run of another budget."""
        words = [word for change in self.changes for word in ("--set", change)]
        return shlex.join(["python", "train.py", "--model", MODEL, *words])

    def recipe(self) -> Recipe:
        """Its recipe, the one that the command has."""
        return override(load_recipe(MODEL, ROOT / "zoo"), map(split_option, self.changes))


def main(argv: list[str]) -> None:
    """Does what is left to do, then prints the table."""
    logging.set_verbosity(logging.ERROR)
    if len(argv) > 1:
        raise app.UsageError(f"expected only flags. Received: {' '.join(argv[1:])}")
    results = Path(_RESULTS.value)
    for run in () if _TABLE.value else runs():
        done = {row["command"] for row in read(results)}
        if run.command in done:
            continue
        folder = Path(_RUNS.value) / f"{run.experiment}, seed {run.seed}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder.with_suffix(".lock"), timeout=0):
                print(f"\n{run.command}", flush=True)
                append(results, measure(run, folder))
        except Timeout:
            continue  # Another process is at it.
        except ConfigError as error:
            print(f"left out {run.experiment!r}: {error}", flush=True)
        except Interrupted as error:
            print(f"\n{error}", file=sys.stderr)
            sys.exit(128 + error.signum)
    print(report(read(results)))


def runs() -> Iterator[Run]:
    """All runs: first those of seed 0, so that what is there can be compared at any time."""
    for seed in range(_SEEDS.value):
        for experiment, options in EXPERIMENTS.items():
            yield Run(experiment, seed, options)


def measure(run: Run, folder: Path) -> dict[str, str]:
    """Trains and evaluates, by the code of train.py."""
    import tensorflow as tf

    from larq_groupnet.inference.evaluate import evaluate_only
    from larq_groupnet.training.run import train_weights

    start = time.process_time()
    recipe = run.recipe()
    tf.keras.backend.clear_session()
    weights = train_weights(recipe, Path(_DATA_DIR.value), folder)
    found = evaluate_only(recipe, Path(_DATA_DIR.value), weights)["keras"]
    metrics = {name: f"{found[name]:.6f}" for name in METRICS}
    return {
        "model": MODEL,
        "experiment": run.experiment,
        "seed": str(run.seed),
        "dataset": recipe.dataset,
        **metrics,
        "cpu_seconds": f"{time.process_time() - start:.0f}",
        "command": run.command,
    }


def read(results: Path) -> Rows:
    """The rows that are there."""
    if not results.exists():
        return []
    with results.open(newline="") as file:
        return list(csv.DictReader(file))


def append(results: Path, row: dict[str, str]) -> None:
    """Adds a row to the file, which is whole at any time."""
    with FileLock(f"{_RUNS.value}/results.lock"):
        rows = [*read(results), row]
        with replacing(results) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def report(rows: Rows) -> str:
    """Two tables in Markdown: every experiment of this budget, and every ordering of the paper."""
    wanted = {run.command for run in runs()}
    values: dict[str, np.ndarray] = {
        name: np.array(
            [float(r["miou"]) for r in rows if r["experiment"] == name and r["command"] in wanted]
        )
        for name in EXPERIMENTS
    }
    lines = ["", "| groupnet_dsp | runs | mean mIoU | standard deviation | lowest | highest |"]
    lines.append("|---|--:|--:|--:|--:|--:|")
    for name, found in values.items():
        if len(found) < 2:
            lines.append(f"| {name} | {len(found)} | | | | |")
            continue
        figures = (found.mean(), found.std(ddof=1), found.min(), found.max())
        lines.append(f"| {name} | {len(found)} | {' | '.join(f'{f:.3f}' for f in figures)} |")
    lines += ["", "| the paper says | difference of means | pooled deviation | p | here |"]
    lines.append("|---|--:|--:|--:|---|")
    for first, second, claim in ORDERINGS:
        lines.append(f"| {claim} ({first} > {second}) | {judge(values[first], values[second])} |")
    return "\n".join(lines)


def judge(first: np.ndarray, second: np.ndarray) -> str:
    """Cells of a row: how far apart two samples are, and what that says."""
    from scipy.stats import ttest_ind

    if min(len(first), len(second)) < 2:
        return "| | | not measured"
    difference = first.mean() - second.mean()
    degrees = len(first) + len(second) - 2
    squares = sum(((x - x.mean()) ** 2).sum() for x in (first, second))
    p = ttest_ind(first, second).pvalue
    verdict = "holds" if difference > 0 else "does not hold"
    verdict = verdict if p < SIGNIFICANT else "within the spread"
    return f"{difference:+.3f} | {math.sqrt(squares / degrees):.3f} | {p:.3f} | {verdict}"


if __name__ == "__main__":
    app.run(main)
