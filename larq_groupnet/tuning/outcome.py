"""The report of a search: a table, a picture, and the winners as zoo files."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from keras_tuner.engine.trial import Trial

from larq_groupnet.files import read_json, write_csv, write_json
from larq_groupnet.recipes.recipe import Recipe
from larq_groupnet.report.search import draw_frontier
from larq_groupnet.tuning.frontier import Point, frontier, rank
from larq_groupnet.tuning.oracles import RandomOracle
from larq_groupnet.tuning.space import SearchSpace, bases_text, costs
from larq_groupnet.tuning.trial import TRIAL, trial_folder, trial_number
from larq_groupnet.tuning.zoo_file import write_zoo_file

Rows = list[dict[str, Any]]


def trial_rows(oracle: RandomOracle, metric: str, trials: Path) -> Rows:
    """One row per trial, by number.

    Args:
        oracle: The oracle at the end of a search.
        metric: The metric that a trial reports.
        trials: Folder of the trials.
    """
    rows = []
    for number, trial in sorted(_by_number(oracle).items(), key=lambda item: int(item[0])):
        values = trial.hyperparameters.values
        done = trial.status == "COMPLETED"
        failure = "" if done else read_json(trial_folder(trials, number) / TRIAL).get("failure", "")
        rows.append(
            {
                "trial": number,
                "status": trial.status.lower(),
                "value": float(trial.metrics.get_best_value(metric)) if done else None,
                "epochs": values.get("tuner/epochs", sum(oracle.space.trial_epochs)),
                **describe(oracle.space.candidate(values)),
                "failure": failure,
                **{key: values.get(key, "") for key in oracle.space.choices if key != "num_bases"},
                "on_frontier": False,
                "winner": False,
            }
        )
    best = [row for row in rows if row["value"] is not None]
    front = frontier([_point(row) for row in best])
    for index in front:
        best[index]["on_frontier"] = True
        # Every point of a frontier is the best for some budget.
        best[index]["winner"] = oracle.frontier or index == front[-1]
    return rows


def _by_number(oracle: RandomOracle) -> dict[str, Trial]:
    return {trial_number(trial_id): trial for trial_id, trial in oracle.trials.items()}


def compare_with_uniform(results: dict[str, Any]) -> list[str]:
    """Lets uniform K win if it is as good as a winner and costs no more.

    Args:
        results: The rows of its trials and of uniform K get `winner`.

    Returns:
        A remark for each winner that uniform K equals or beats.
    """
    remarks = []
    for row in (row for row in results["trials"] if row["winner"]):
        equal = [other for other in results["uniform"] if other["value"] >= row["value"]]
        if not equal:
            continue
        rival = min(equal, key=lambda other: rank(_point(other)))
        better = "equals" if rival["value"] == row["value"] else "is better than"
        remark = (
            f"Uniform K={_uniform_bases(rival)} ({rival['value']:.4f}, {_cost(rival)}) {better} "
            f"trial {row['trial']} ({row['value']:.4f}, {_cost(row)})"
        )
        if rank(_point(rival)) <= rank(_point(row)):
            row["winner"], rival["winner"] = False, True
            fewer = "fewer" if rival["ops"] < row["ops"] else "as many"
            remark += f" for {fewer} OPs: it is the recipe"
        remarks.append(remark + ".")
    return remarks


def _point(row: dict[str, Any]) -> Point:
    return Point(row["ops"], row["value"], row["memory"])


def _cost(row: dict[str, Any]) -> str:
    return f"{row['ops'] / 1e6:,.3f} M OPs, {_kib(row)}"


def _kib(row: dict[str, Any]) -> str:
    return f"{row['memory'] / 1024:,.1f} KiB"


def describe(recipe: Recipe) -> dict[str, Any]:
    """K of each stage and the costs of a network."""
    return {"num_bases": bases_text(recipe), **costs(recipe.model)}


def write_report(results: dict[str, Any], output_dir: Path) -> None:
    """Writes `results.json`, `trials.csv` and `frontier.png`."""
    write_json(output_dir / "results.json", results)
    trials: Rows = results["trials"]
    header = list(trials[0]) if trials else []
    write_csv(output_dir / "trials.csv", [header, *(row.values() for row in trials)])
    completed = [row for row in trials if row["value"] is not None]
    if completed:
        draw_frontier(
            completed,
            sorted((row for row in completed if row["on_frontier"]), key=lambda row: row["ops"]),
            results["uniform"],
            results["label"],
            output_dir / "frontier.png",
            f"{results['name']} on {results['dataset']}: {results['tuner']} search, "
            f"{len(completed)} of {len(trials)} trials of {results['epochs']} epochs, seed "
            f"{results['seed']}",
            results["budget"]["max_ops"],
        )


def write_winners(
    results: dict[str, Any], oracle: RandomOracle, output_dir: Path, source: str
) -> list[Path]:
    """Writes a zoo file for each winner, by rising OPs; a single winner is `NAME_tuned.py`."""
    rows = [row for row in (*results["trials"], *results["uniform"]) if row.get("winner")]
    rows.sort(key=lambda row: row["ops"])
    paths, trials = [], _by_number(oracle)
    for number, row in enumerate(rows, 1):
        suffix = f"_{number}" if len(rows) > 1 else ""
        path = output_dir / f"{results['name']}_tuned{suffix}.py"
        if "trial" in row:
            recipe = oracle.space.candidate(trials[row["trial"]].hyperparameters.values)
        else:
            recipe = oracle.space.uniform(int(_uniform_bases(row)))
        write_zoo_file(path, recipe, *_docstring(results, row, oracle.space, path), source)
        paths.append(path)
    return paths


def _docstring(
    results: dict[str, Any], row: dict[str, Any], space: SearchSpace, path: Path
) -> tuple[str, list[str]]:
    title = f"{results['name']} with a structure found by a search on {results['dataset']}."
    metric = results["metric"]
    measured = (
        f"Expected: validation {metric} {row['value']:.4f} after "
        f"{row.get('epochs', results['epochs'])} epochs (measured; the best of the search "
        f"and so biased upwards). The recipe below has "
        f"{sum(phase.epochs for phase in space.recipe.phases)} epochs; test {metric} "
        "was not measured."
    )
    cost = (
        f"Cost per image: {row['ops'] / 1e6:,.3f} M OPs, {row['binary_macs'] / 1e6:,.2f} M "
        f"binary MACs, {_kib(row)} of parameters."
    )
    near = path.absolute().is_relative_to(Path.cwd())
    where = path.absolute().relative_to(Path.cwd()) if near else path.absolute()
    usage = f"    larq-groupnet train --model {shlex.quote(str(where))}"
    found = _found(results, row, space)
    each = ", ".join(
        f"K={_uniform_bases(row)} {row['value']:.4f} ({row['ops'] / 1e6:,.3f} M OPs)"
        for row in results["uniform"]
    )
    beside = [f"Uniform K in the same epochs, validation {metric}: {each}."] if each else []
    return title, [found, *results["remarks"], measured, cost, *beside, usage]


def _found(results: dict[str, Any], row: dict[str, Any], space: SearchSpace) -> str:
    limits = [f"{k} {v:,.0f}" for k, v in results["budget"].items() if v is not None]
    failed = sum(trial["status"] == "failed" for trial in results["trials"])
    count = f"{len(results['trials'])} trials ({failed} failed)"
    chosen = [
        f"{key}={row[key]}"
        for key in space.choices
        if row.get(key) and not key.startswith("num_bases")
    ]
    wide = results["objective"] == "frontier"
    goal = "the frontier" if wide else f"the best {results['metric']}"
    who = f"trial {row['trial']} of" if "trial" in row else "uniform K, compared with"
    return (
        f"Found by: {who} {count} of a {results['tuner']} search for {goal}, "
        f"{' and '.join(limits) or 'no limit'}, seed {results['seed']}. "
        f"K by stage {'; '.join([row['num_bases'], *chosen])}."
    )


def _uniform_bases(row: dict[str, Any]) -> str:
    return row["num_bases"].partition("-")[0]
