"""What a search leaves: table, picture, and its winner as a file of `zoo/`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from larq_groupnet.files import replacing, write_json
from larq_groupnet.recipes.recipe import Recipe
from larq_groupnet.report.search import draw_frontier
from larq_groupnet.tuning.frontier import Point, frontier
from larq_groupnet.tuning.oracles import SearchOracle
from larq_groupnet.tuning.space import SearchSpace, bases_text, costs
from larq_groupnet.tuning.zoo_file import write_zoo_file

Rows = list[dict[str, Any]]


def trial_rows(oracle: SearchOracle, metric: str, folder: Path) -> Rows:
    """One row per trial, in the order in which they began.

    Args:
        oracle: At the end of a search.
        metric: What a trial has reported.
        folder: Of the trials.
    """
    rows = []
    for trial_id in oracle.start_order:
        trial = oracle.trials[trial_id]
        values = trial.hyperparameters.values
        recipe = oracle.space.candidate(values)
        done = trial.status == "COMPLETED"
        reason = folder / f"trial_{trial_id}" / "failure.txt"
        rows.append(
            {
                "trial": trial_id,
                "status": trial.status.lower(),
                "value": float(trial.metrics.get_best_value(metric)) if done else None,
                "epochs": values.get("tuner/epochs", sum(oracle.space.trial_epochs)),
                **describe(recipe),
                "failure": "" if done or not reason.is_file() else reason.read_text().strip(),
                **{key: values.get(key, "") for key in oracle.space.choices if key != "num_bases"},
            }
        )
    best = [row for row in rows if row["value"] is not None]
    front = frontier([Point(row["ops"], row["value"]) for row in best])
    for row in rows:
        row["on_frontier"] = row["winner"] = False
    for index in front:
        best[index]["on_frontier"] = True
        # On a frontier every point is the answer to some budget.
        best[index]["winner"] = oracle.frontier or index == front[-1]
    return rows


def describe(recipe: Recipe) -> dict[str, Any]:
    """K of each stage and the costs of a network."""
    return {"num_bases": bases_text(recipe), **costs(recipe.model)}


def write_report(results: dict[str, Any], output_dir: Path) -> None:
    """Writes `results.json`, `trials.csv` and `frontier.png`."""
    write_json(output_dir / "results.json", results)
    trials: Rows = results["trials"]
    with replacing(output_dir / "trials.csv") as temporary, temporary.open("w") as file:
        writer = csv.DictWriter(file, list(trials[0]) if trials else [])
        writer.writeheader()
        writer.writerows(trials)
    completed = [row for row in trials if row["value"] is not None]
    if completed:
        draw_frontier(
            completed,
            sorted((row for row in completed if row["on_frontier"]), key=lambda row: row["ops"]),
            results["uniform"],
            results.get("label", results["metric"]),
            output_dir / "frontier.png",
            f"{results['name']} on {results['dataset']}: {results['tuner']} search, "
            f"{len(completed)} of {len(trials)} trials of {results['epochs']} epochs, seed "
            f"{results['seed']}",
            results["budget"]["max_ops"],
        )


def write_winners(results: dict[str, Any], oracle: SearchOracle, output_dir: Path) -> list[Path]:
    """Writes a zoo file for each winner, by rising OPs; a single one is `NAME_tuned.py`."""
    rows = [row for row in results["trials"] if row["winner"]]
    rows.sort(key=lambda row: row["ops"])
    paths = []
    for number, row in enumerate(rows, 1):
        suffix = f"_{number}" if len(rows) > 1 else ""
        path = output_dir / f"{results['name']}_tuned{suffix}.py"
        values = oracle.trials[row["trial"]].hyperparameters.values
        recipe = oracle.space.candidate(values)
        write_zoo_file(path, recipe, *_docstring(results, row, oracle.space, path))
        paths.append(path)
    return paths


def _docstring(
    results: dict[str, Any], row: dict[str, Any], space: SearchSpace, path: Path
) -> tuple[str, list[str]]:
    limits = [f"{k} {v:,.0f}" for k, v in results["budget"].items() if v is not None]
    failed = sum(trial["status"] == "failed" for trial in results["trials"])
    chosen = ", ".join(
        f"{key}={row[key]}" for key in space.choices if not key.startswith("num_bases") and row[key]
    )
    title = f"{results['name']} with the structure that a search found on {results['dataset']}."
    found = (
        f"Found by: trial {row['trial']} of {len(results['trials'])} ({failed} failed) of a "
        f"{results['tuner']} search for {_goal(results)}, {' and '.join(limits) or 'no limit'}, "
        f"seed {results['seed']}. K by stage {row['num_bases']}"
        + (f"; {chosen}." if chosen else ".")
    )
    # From zoo/; elsewhere train.py takes the path, which may be too long for a line.
    usage = f"    python train.py --model {path.stem}"
    metric = results["metric"]
    measured = (
        f"Expected: validation {metric} {row['value']:.4f} after {row['epochs']} epochs (measured, "
        "the trial, chosen as the best of them and so a little lucky). The recipe below has "
        f"{sum(phase.epochs for phase in space.recipe.phases)} epochs; test {metric} was not "
        "measured."
    )
    cost = (
        f"Cost for one image: {row['ops'] / 1e6:,.3f} M OPs, {row['binary_macs'] / 1e6:,.2f} M "
        f"binary MACs, {row['memory'] / 1024:,.1f} kB of parameters."
    )
    return title, [found, measured, cost, *_beside(results["uniform"], metric), usage]


def _goal(results: dict[str, Any]) -> str:
    return "the frontier" if results["objective"] == "frontier" else f"the best {results['metric']}"


def _beside(uniform: Sequence[dict[str, Any]], metric: str) -> list[str]:
    if not uniform:
        return []
    each = ", ".join(
        f"K={row['num_bases'].partition('-')[0]} {row['value']:.4f} ({row['ops'] / 1e6:,.3f} M OPs)"
        for row in uniform
    )
    return [f"Uniform K in the same epochs, validation {metric}: {each}."]
