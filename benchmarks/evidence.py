"""Tests which of the paper's orderings hold on a dataset: trains, evaluates, appends to a CSV file.

    python benchmarks/evidence.py                                   # digit_scenes
    python benchmarks/evidence.py --study cifar10 --data_dir DATA
    python benchmarks/evidence.py --table        # print only the results so far
    python benchmarks/evidence.py --set stage_blocks= --set batch_size=16 --set steps_per_epoch=200

The last line is the full recipe, 17 minutes of CPU time per run at K=3. `studies.py` defines the
rows and budgets; with the default budget a run takes one to six minutes.

Every row of `zoo/results.csv` is one run: metrics of the Keras model, or of the int8 file for int8
rows, on the whole test set. Runs that have a row are skipped, and a stopped run resumes, so you can
stop (Ctrl-C) and restart at any time; a second process takes other runs. The column `command`
repeats a run with train.py, which also converts the network.

An ordering holds if the first mean is above the second and Student's t-test (two samples of equal
variance, two-sided) gives p < 0.05 after Holm's correction for the number of orderings of the
study. It does not hold if the first mean is significantly below the second. Otherwise the two are
within the spread.
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
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from studies import CIFAR10, DIGIT_SCENES, STUDIES, Experiment, Study

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from larq_groupnet import ConfigError, complexity  # noqa: E402
from larq_groupnet.files import replacing  # noqa: E402
from larq_groupnet.recipes.overrides import split_option  # noqa: E402
from larq_groupnet.training import Interrupted, Recipe, load_recipe, override  # noqa: E402

COLUMNS = (
    *("model", "experiment", "seed", "dataset", *CIFAR10.metrics, *DIGIT_SCENES.metrics),
    *("cpu_seconds", "command"),
)
SIGNIFICANT = 0.05

_STUDY = flags.DEFINE_enum("study", "digit_scenes", list(STUDIES), "The dataset.")
_SEEDS = flags.DEFINE_integer("seeds", 0, "Runs per row, seeds 0, 1, ...; 0: the study's.", 0)
_SET = flags.DEFINE_multi_string("set", [], "OPTION=VALUE of the budget; empty for the recipe's.")
_RESULTS = flags.DEFINE_string("results", str(ROOT / "zoo" / "results.csv"), "CSV to append to.")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Folder of the datasets.")
_RUNS = flags.DEFINE_string("runs", "runs/evidence", "Folder for weights and logs.")
_TABLE = flags.DEFINE_bool("table", False, "Train nothing; print the table.")
_PICTURE = flags.DEFINE_string("picture", "", "PNG to write: the metric against costs.")

Rows = list[dict[str, str]]


class Run(NamedTuple):
    """One run, which becomes one row."""

    name: str
    dataset: str
    seed: int

    @property
    def study(self) -> Study:
        """The study that the row belongs to."""
        return STUDIES[self.dataset]

    @property
    def experiment(self) -> Experiment:
        """Changes to the study's recipe."""
        return self.study.experiments[self.name]

    @property
    def model(self) -> str:
        """The value of `--model`."""
        return self.experiment.model or self.study.model

    @property
    def changes(self) -> tuple[str, ...]:
        """Values for `--set` of train.py."""
        budget = {**self.study.budget, **dict(map(split_option, _SET.value)), "seed": self.seed}
        given = (f"{key}={value}" for key, value in budget.items() if value != "")
        return *given, *self.experiment.options

    @property
    def command(self) -> str:
        """Repeats the run; identifies it, budget included."""
        dataset = () if self.study is DIGIT_SCENES else ("--dataset", self.dataset)
        words = [word for change in self.changes for word in ("--set", change)]
        train = shlex.join(["python", "train.py", "--model", self.model, *dataset, *words])
        if not self.experiment.int8:
            return train
        tool = "python -m larq_groupnet"
        return (
            f"{train} --output_dir=RUN && {tool} convert RUN --int8 --output=int8.tflite && "
            f"{tool} evaluate int8.tflite {self.dataset}"
        )

    def recipe(self) -> Recipe:
        """The recipe that `command` trains."""
        recipe = load_recipe(self.model, ROOT / "zoo", self.dataset)
        return override(recipe, map(split_option, self.changes))


def main(argv: list[str]) -> None:
    """Does the missing runs, then prints the table."""
    logging.set_verbosity(logging.ERROR)
    if len(argv) > 1:
        raise app.UsageError(f"expected only flags. Received: {' '.join(argv[1:])}")
    results = Path(_RESULTS.value)
    for run in () if _TABLE.value else runs():
        done = {row["command"] for row in read(results)}
        if run.command in done:
            continue
        folder = Path(_RUNS.value) / _STUDY.value / f"{run.name}, seed {run.seed}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder.with_name(f"{folder.name}.lock"), timeout=0):
                print(f"\n{run.command}", flush=True)
                append(results, measure(run, folder))
        except Timeout:
            continue  # Another process runs it.
        except ConfigError as error:
            print(f"left out {run.name!r}: {error}", flush=True)
        except Interrupted as error:
            print(f"\n{error}", file=sys.stderr)
            sys.exit(128 + error.signum)
    found = values(read(results))
    print(report(found))
    if _PICTURE.value:
        draw(found, Path(_PICTURE.value))


def runs() -> Iterator[Run]:
    """All runs, seed by seed, so that rows are comparable at any time."""
    study = STUDIES[_STUDY.value]
    for seed in range(_SEEDS.value or study.seeds):
        for name in study.experiments:
            yield Run(name, _STUDY.value, seed)


def measure(run: Run, folder: Path) -> dict[str, str]:
    """Trains and evaluates, by the code of train.py."""
    import tensorflow as tf

    from larq_groupnet.inference.evaluate import evaluate_only
    from larq_groupnet.inference.judge_file import judge_file
    from larq_groupnet.recipes.start import with_start
    from larq_groupnet.training.int8 import convert_run
    from larq_groupnet.training.run import train_weights

    start = time.process_time()
    recipe = with_start(run.recipe(), None)
    tf.keras.backend.clear_session()
    data_dir = Path(_DATA_DIR.value)
    weights = train_weights(recipe, data_dir, folder)
    if run.experiment.int8:
        file = convert_run(folder, folder / "int8.tflite", data_dir)
        found = judge_file(str(file), run.dataset, data_dir)["keras"]
    else:
        found = evaluate_only(recipe, data_dir, weights)["keras"]
    metrics = {name: f"{found[name]:.6f}" for name in run.study.metrics}
    return {
        "model": run.model,
        "experiment": run.name,
        "seed": str(run.seed),
        "dataset": recipe.dataset,
        **metrics,
        "cpu_seconds": f"{time.process_time() - start:.0f}",
        "command": run.command,
    }


def read(results: Path) -> Rows:
    """The existing rows."""
    if not results.exists():
        return []
    with results.open(newline="") as file:
        return list(csv.DictReader(file))


def append(results: Path, row: dict[str, str]) -> None:
    """Adds a row to the file atomically."""
    with FileLock(f"{_RUNS.value}/results.lock"):
        rows = [*read(results), row]
        with replacing(results) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def values(rows: Rows) -> dict[str, np.ndarray]:
    """Row of the study -> its metric in each run with this budget."""
    study = STUDIES[_STUDY.value]
    of_command = {row["command"]: row for row in rows}
    found: dict[str, list[float]] = {name: [] for name in study.experiments}
    for run in runs():
        if run.command in of_command:
            found[run.name].append(float(of_command[run.command][study.metrics[0]]))
    return {name: np.array(each) for name, each in found.items()}


def report(found: dict[str, np.ndarray]) -> str:
    """Two tables in Markdown: every row of the study, and every ordering of the paper."""
    study = STUDIES[_STUDY.value]
    lines = ["", f"| {study.model} | runs | mean {study.metric_name} | standard deviation "]
    lines[-1] += "| lowest | highest | OPs | memory |"
    lines.append("|---|--:|--:|--:|--:|--:|--:|--:|")
    for name, each in found.items():
        figures = [""] * 4
        if len(each) >= 2:
            numbers = (each.mean(), each.std(ddof=1), each.min(), each.max())
            figures = [f"{number:.3f}" for number in numbers]
        ops, memory = costs(name)
        cells = (name, str(len(each)), *figures, f"{ops / 1e6:.2f} M", f"{memory / 1e3:,.0f} kB")
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| the paper says | difference of means | pooled deviation | p | Holm | here |"]
    lines.append("|---|--:|--:|--:|--:|---|")
    tests = [compare(found[o.first], found[o.second]) for o in study.orderings]
    corrected = holm([p for *_, p in tests])
    for (first, second, claim), (difference, deviation, p), holm_p in zip(
        study.orderings, tests, corrected, strict=True
    ):
        cells = "| | | | not measured"
        if not math.isnan(p):
            verdict = "holds" if difference > 0 else "does not hold"
            verdict = verdict if holm_p < SIGNIFICANT else "within the spread"
            cells = f"{difference:+.3f} | {deviation:.3f} | {p:.3f} | {holm_p:.3f} | {verdict}"
        lines.append(f"| {claim} ({first} > {second}) | {cells} |")
    return "\n".join(lines)


def compare(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """Difference of the means, pooled deviation, and p; NaN if a sample has fewer than two runs."""
    from scipy.stats import ttest_ind

    if min(len(first), len(second)) < 2:
        return math.nan, math.nan, math.nan
    degrees = len(first) + len(second) - 2
    squares = sum(((x - x.mean()) ** 2).sum() for x in (first, second))
    p = float(ttest_ind(first, second).pvalue)
    return first.mean() - second.mean(), math.sqrt(squares / degrees), p


def holm(ps: list[float]) -> list[float]:
    """Holm's correction (1979) for several tests; ignores NaN."""
    corrected, largest = ps.copy(), 0.0
    order = sorted((i for i, p in enumerate(ps) if not math.isnan(p)), key=ps.__getitem__)
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * ps[i]))
        corrected[i] = largest
    return corrected


def costs(name: str) -> tuple[float, float]:
    """OPs per image, and bytes of parameters; 8-bit integers need a quarter of the bytes."""
    run = Run(name, _STUDY.value, 0)
    total = complexity(run.recipe().model).total
    return total.ops, total.total_memory / (4 if run.experiment.int8 else 1)


def draw(found: dict[str, np.ndarray], path: Path) -> None:
    """The metric against OPs and memory: one point per row, with its standard deviation."""
    study = STUDIES[_STUDY.value]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    axes[0].set_ylabel(f"{study.metric_name} on test images, {_STUDY.value}")
    at = {name: costs(name) for name, each in found.items() if len(each)}
    scales = (("OPs for an image (M)", 1e6), ("memory of the parameters (kB)", 1e3))
    for column, (panel, (title, unit)) in enumerate(zip(axes, scales, strict=True)):
        for label, names in study.curves.items():
            rows = [name for name in names if name in at]
            x = [at[name][column] / unit for name in rows]
            y = [found[name].mean() for name in rows]
            spread = [found[name].std(ddof=1) if len(found[name]) > 1 else 0 for name in rows]
            panel.errorbar(x, y, spread, marker="o", capsize=3, label=label)
            for name, *point in zip(rows, x, y, strict=True):
                note = name.removeprefix("real, ") if len(names) > 1 else ""
                panel.annotate(note, point, xytext=(4, -11), textcoords="offset points", fontsize=8)
        panel.set_xscale("log")
        panel.set_xmargin(0.2)  # Room for the last label.
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter("")
        panel.set_xlabel(title)
        panel.grid(alpha=0.3)
    axes[1].legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


if __name__ == "__main__":
    app.run(main)
