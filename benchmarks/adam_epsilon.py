"""What Adam's epsilon does: accuracy, and how far the binary kernels of each stage move.

    python benchmarks/adam_epsilon.py --data_dir DATA

Trains the binary phase of small networks on `digit_scenes` and `cifar10`, from the same weights of
a tanh phase for every epsilon, and prints a table. A run that is in the CSV file is not repeated.

A kernel's movement is the mean distance from start to end over the mean magnitude at the start;
flips are the share of its signs that differ.
"""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from larq_groupnet.recipes.overrides import override, split_option  # noqa: E402
from larq_groupnet.training import Recipe, load_recipe  # noqa: E402

BUDGETS = {
    "digit_scenes": (
        "groupnet_dsp",
        "num_bases=2 stage_blocks=(1,1,1,1) input_shape=(48,48,3) eval_scales=() "
        "steps_per_epoch=150 batch_size=8",
    ),
    "cifar10": (
        "groupnet_resnet18",
        "num_bases=2 width=0.25 stage_blocks=(1,1,1,1) input_shape=(32,32,3) steps_per_epoch=150 "
        "batch_size=32 augmentation=cifar",
    ),
}
"""Dataset -> model, and what differs from its first recipe beside the optimizer."""

EPSILONS = ("1e-7", "1e-8", "1e-10")
STAGES = ("stage1", "stage2", "stage3", "stage4")
COLUMNS = ("dataset", "epsilon", "seed", "metric", "cpu_seconds")
COLUMNS += tuple(f"{stage}_{what}" for stage in STAGES for what in ("moved", "flipped"))

_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Where datasets are kept.")
_RUNS = flags.DEFINE_string("runs", "runs/adam_epsilon", "Takes weights, logs and results.csv.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Runs of each row.", lower_bound=1)

Rows = list[dict[str, str]]


def main(argv: list[str]) -> None:
    """Does what is left to do, seed by seed, then prints the table."""
    if len(argv) > 1:
        raise app.UsageError(f"expected only flags. Received: {' '.join(argv[1:])}")
    results = Path(_RUNS.value) / "results.csv"
    for seed in range(_SEEDS.value):
        for dataset in BUDGETS:
            for epsilon in EPSILONS:
                rows = read(results)
                key = {"dataset": dataset, "epsilon": epsilon, "seed": str(seed)}
                if not any(key.items() <= row.items() for row in rows):
                    write(results, [*rows, {**key, **measure(dataset, epsilon, seed)}])
    print(table(read(results)))


def recipe_of(dataset: str, seed: int, *changes: str) -> Recipe:
    """The recipe of a dataset at its budget."""
    name, options = BUDGETS[dataset]
    changes = (*options.split(), f"seed={seed}", f"dataset={dataset}", *changes)
    return override(load_recipe(name, ROOT / "zoo"), map(split_option, changes))


def measure(dataset: str, epsilon: str, seed: int) -> dict[str, str]:
    """Trains, evaluates on the test set, and compares kernels with those of the start."""
    import tensorflow as tf

    from larq_groupnet.inference.evaluate import evaluate_only
    from larq_groupnet.network.build import build
    from larq_groupnet.training.run import train_weights

    start, data_dir = time.process_time(), Path(_DATA_DIR.value)
    tf.keras.backend.clear_session()
    first = Path(_RUNS.value) / f"{dataset}, tanh, seed {seed}"
    if not (first / "tanh.h5").is_file():
        train_weights(
            recipe_of(dataset, seed, "epochs=1,0", "tanh.warmup_epochs=0.1"), data_dir, first
        )
    recipe = recipe_of(
        dataset,
        seed,
        "epochs=0,1",
        "binary.warmup_epochs=0.1",
        f"binary.optimizer.epsilon={epsilon}",
        f"start_from={first / 'tanh.h5'}",
    )
    model = build(recipe.model)
    model.load_weights(first / "tanh.h5")
    before = kernels(model)
    folder = Path(_RUNS.value) / f"{dataset}, {epsilon}, seed {seed}"
    weights = train_weights(recipe, data_dir, folder)
    assert weights is not None
    found = evaluate_only(recipe, data_dir, weights)
    model.load_weights(folder / "binary-last.h5")
    row = {"metric": f"{found['keras'][found['headline']]:.4f}"}
    after = kernels(model)
    for stage in STAGES:
        pairs = [(before[name], after[name]) for name in before if name.startswith(stage)]
        moved = np.mean([np.abs(b - a).mean() / np.abs(a).mean() for a, b in pairs])
        flipped = np.mean([np.mean((a >= 0) != (b >= 0)) for a, b in pairs])
        row |= {f"{stage}_moved": f"{moved:.4f}", f"{stage}_flipped": f"{flipped:.4f}"}
    return {**row, "cpu_seconds": f"{time.process_time() - start:.0f}"}


def kernels(model: Any) -> dict[str, np.ndarray]:
    """Layer -> latent kernel, of the binary 3x3 convolutions."""
    return {
        layer.name: layer.kernel.numpy()
        for layer in model.layers
        if getattr(layer, "kernel_quantizer", None) and layer.kernel_size == (3, 3)
    }


def read(results: Path) -> Rows:
    """The rows that are there."""
    if not results.exists():
        return []
    with results.open(newline="") as file:
        return list(csv.DictReader(file))


def write(results: Path, rows: Rows) -> None:
    """Writes all rows."""
    with results.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def table(rows: Rows) -> str:
    """Mean and standard deviation over the seeds, in Markdown."""
    lines = ["| dataset | epsilon | test metric | moved, stage 1 / 2 / 3 / 4 | signs flipped |"]
    lines.append("|---|---|--:|--:|--:|")
    for dataset in BUDGETS:
        for epsilon in EPSILONS:
            found = [r for r in rows if (r["dataset"], r["epsilon"]) == (dataset, epsilon)]
            if not found:
                continue
            metric = np.array([float(row["metric"]) for row in found])
            text = f"{metric.mean():.3f} ± {metric.std(ddof=1) if len(found) > 1 else 0:.3f}"
            cells = [
                " / ".join(
                    f"{np.mean([float(row[f'{stage}_{what}']) for row in found]):.3f}"
                    for stage in STAGES
                )
                for what in ("moved", "flipped")
            ]
            lines.append(f"| {dataset} | {epsilon} | {text} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    app.run(main)
