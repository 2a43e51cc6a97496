"""A search from a space to a folder: trials, uniform K beside them, a report, a recipe."""

from __future__ import annotations

import dataclasses
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import filelock
import tensorflow as tf

from larq_groupnet.files import write_json
from larq_groupnet.recipes.fitting import check_recipe
from larq_groupnet.recipes.recipe import RecipeError
from larq_groupnet.runs.guards import check_folder
from larq_groupnet.tasks.task import task_of
from larq_groupnet.training.callbacks import TrainingError
from larq_groupnet.training.distribution import Runtime
from larq_groupnet.tuning.oracles import FAILURES_IN_A_ROW, SearchOracle, make_oracle
from larq_groupnet.tuning.outcome import Rows, describe, trial_rows, write_report, write_winners
from larq_groupnet.tuning.plan import Plan
from larq_groupnet.tuning.space import SearchSpace
from larq_groupnet.tuning.trial import GroupNetHyperModel, Trainer
from larq_groupnet.tuning.tuner import TRIALS, SearchTuner, explained, role
from larq_groupnet.tuning.zoo_file import recipe_source


def search(
    space: SearchSpace,
    plan: Plan,
    data_dir: Path,
    output_dir: Path,
    runtime: Runtime | None = None,
) -> dict[str, Any] | None:
    """Runs a search, or goes on with the one in the folder.

    With keras-tuner's environment variables this process is its chief, which only hands out
    candidates, or one of its workers.

    Args:
        space: What is searched.
        plan: How.
        data_dir: Where datasets are kept.
        output_dir: Takes `search.json`, `trials/`, `uniform/`, `trials.csv`, `frontier.png`,
            `results.json` and a zoo file for each winner.
        runtime: On what, and how precisely, to compute.

    Returns:
        The content of `results.json`; `None` from a worker, which writes only its trials.

    Raises:
        RecipeError: Before anything is written, if the recipe does not fit the dataset, or the
            folder holds something else.
        TrainingError: If every trial failed, or the chief is gone.
        Interrupted: After SIGINT or SIGTERM.
    """
    runtime = runtime or Runtime()
    who = role()
    identity = _check(space, plan, data_dir, output_dir, runtime)
    tf.config.experimental.enable_op_determinism()
    tf.keras.backend.experimental.enable_tf_random_generator()
    trainer = Trainer(space.recipe, data_dir, runtime)
    write_json(output_dir / "search.json", identity)
    with explained(output_dir), _alone(output_dir, who):
        metric = f"val_{task_of(space.recipe.model).headline}"
        frontier = plan.objective == "frontier"
        oracle = make_oracle(plan.tuner, space, metric, frontier, plan.max_trials)
        print(f"Searching as {who} in {output_dir}", flush=True)
        tuner = SearchTuner(oracle, GroupNetHyperModel(space, trainer), output_dir)
        try:
            tuner.search()
        except RuntimeError as error:
            if who != "chief":
                raise
            raise RecipeError(f"tune: the chief cannot listen. It says: {error}") from error
        if who == "worker":
            return None
        results = _results(oracle, plan, trial_rows(oracle, metric, output_dir / TRIALS))
        if any(row["winner"] for row in results["trials"]):
            results["uniform"] = _uniform(space, plan, trainer, output_dir)
            results["recipes"] = list(map(str, write_winners(results, oracle, output_dir)))
        write_report(results, output_dir)
    if not results["recipes"]:
        first = next((row["failure"] for row in results["trials"]), "there was none")
        raise TrainingError(
            f"no trial of the search was completed; the first: {first or 'see its screen'}. "
            f"Everything is in {output_dir}"
        )
    return results


def _check(
    space: SearchSpace, plan: Plan, data_dir: Path, output_dir: Path, runtime: Runtime
) -> dict[str, Any]:
    """Everything that can be wrong, before anything is written; returns what the search is."""
    cluster = os.environ.get("TF_CONFIG", "")
    if runtime.strategy == "multi_worker" or cluster:
        raise RecipeError(
            "strategy: expected one_device or mirrored and no TF_CONFIG, because a search uses "
            "several hosts as keras-tuner's chief and workers. "
            f"Received: {runtime.strategy!r}, TF_CONFIG={cluster!r}"
        )
    if space.recipe.start_from:
        raise RecipeError(
            "start_from: expected none, because weights are of one structure; give "
            f"--set start_from= . Received: {space.recipe.start_from!r}"
        )
    asked = {"tuner": plan.tuner, "objective": plan.objective, "uniform": plan.uniform}
    identity = {**space.describe(), **asked}
    check_folder(identity, output_dir, "search")
    check_recipe(space.recipe, data_dir)
    recipe_source(space.recipe)  # The winner will have to be written down.
    return identity


def _results(oracle: SearchOracle, plan: Plan, trials: Rows) -> dict[str, Any]:
    """What `results.json` says before uniform K is measured."""
    space = oracle.space
    task = task_of(space.recipe.model)
    return {
        "name": space.recipe.name,
        "dataset": space.recipe.dataset,
        "metric": task.headline,
        "label": task.labels.get(task.headline, task.headline),
        "tuner": plan.tuner,
        "objective": plan.objective,
        "seed": space.recipe.seed,
        "epochs": sum(space.trial_epochs),
        "budget": dataclasses.asdict(space.budget),
        "ended": _ended(oracle),
        "trials": trials,
        "uniform": [],
        "recipes": [],
    }


def _uniform(space: SearchSpace, plan: Plan, trainer: Trainer, output_dir: Path) -> Rows:
    """The recipe with one K in all stages, in the epochs of a trial, for each K within budget."""
    rows = []
    for bases in sorted(set(plan.uniform)):
        recipe = space.uniform(bases)
        if excess := space.budget.excess(recipe.model):
            print(f"Uniform K={bases} is left out: {excess}", flush=True)
            continue
        print(f"Uniform K={bases}", flush=True)
        try:
            value = trainer.measure(space.trial(recipe), output_dir / "uniform" / str(bases))
        except TrainingError as error:
            print(f"Uniform K={bases} is left out: {error}", flush=True)
            continue
        rows.append({**describe(recipe), "value": value})
    return rows


def _ended(oracle: SearchOracle) -> str:
    if oracle.failed_in_a_row() >= FAILURES_IN_A_ROW:
        return f"{FAILURES_IN_A_ROW} trials in a row failed"
    if oracle.exhausted:
        return "no further candidate was found within the budget"
    return "all trials are done"


def _alone(output_dir: Path, who: str) -> AbstractContextManager:
    """Holds the folder, so that the same command twice does no damage; workers share it.

    Raises:
        RecipeError: If another process holds it.
    """
    if who == "worker":
        return nullcontext()
    try:
        return filelock.FileLock(output_dir / "search.lock").acquire(timeout=0)
    except filelock.Timeout as error:
        raise RecipeError(
            "output_dir: expected a folder where no other process searches. Received: "
            f"{output_dir}. Several can search together as chief and workers: see docs/search.md"
        ) from error
