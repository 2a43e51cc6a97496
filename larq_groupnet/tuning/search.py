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
from larq_groupnet.training.callbacks import TrainingError
from larq_groupnet.training.distribution import Runtime
from larq_groupnet.training.recipe import RecipeError, unknown
from larq_groupnet.training.run import check_folder, check_recipe
from larq_groupnet.training.tasks import task_of
from larq_groupnet.tuning.oracles import FAILURES_IN_A_ROW, SearchOracle, make_oracle
from larq_groupnet.tuning.outcome import Rows, describe, trial_rows, write_report, write_winners
from larq_groupnet.tuning.space import SearchSpace, check_budget
from larq_groupnet.tuning.trial import GroupNetHyperModel, Trainer
from larq_groupnet.tuning.tuner import TRIALS, SearchTuner, explained, role
from larq_groupnet.tuning.zoo_file import recipe_source

TUNERS = ("random", "hyperband", "bayesian")
OBJECTIVES = ("accuracy", "frontier")
DEFAULT_TRIALS = 20


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a space is searched.

    Attributes:
        tuner: One of `TUNERS`.
        objective: `"accuracy"` for the best validation metric (mIoU where masks are predicted)
            within the budget, `"frontier"` for that metric against OPs.
        max_trials: After how many trials to stop. By default `DEFAULT_TRIALS`, and with Hyperband
            one sweep over all its brackets.
        uniform: K of the networks of one K in all stages that are trained to compare with.
    """

    tuner: str = "random"
    objective: str = "accuracy"
    max_trials: int | None = None
    uniform: tuple[int, ...] = (1, 2, 3, 5)

    def __post_init__(self) -> None:
        for field, names in (("tuner", TUNERS), ("objective", OBJECTIVES)):
            if getattr(self, field) not in names:
                raise RecipeError(unknown(field, getattr(self, field), names))
        if self.max_trials is None and self.tuner != "hyperband":
            object.__setattr__(self, "max_trials", DEFAULT_TRIALS)
        if any(bases < 1 for bases in (*self.uniform, self.max_trials or 1)):
            raise RecipeError(
                "tune: expected max_trials and every K of uniform to be at least 1. "
                f"Received: max_trials={self.max_trials}, uniform={self.uniform}"
            )


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
        RecipeError: Before anything is written, if the recipe does not fit the dataset, no
            candidate keeps to the budget, or the folder holds something else.
        TrainingError: If every trial failed, or the chief is gone.
        Interrupted: After SIGINT or SIGTERM.
    """
    who = role()
    asked = {"tuner": plan.tuner, "objective": plan.objective, "uniform": plan.uniform}
    identity = {**space.describe(), **asked}
    check_folder(identity, output_dir, "search")
    check_recipe(space.recipe, data_dir)
    check_budget(space)
    recipe_source(space.recipe)  # The winner will have to be written down.
    runtime = runtime or Runtime()
    if runtime.strategy == "multi_worker" or os.environ.get("TF_CONFIG"):
        raise RecipeError(
            "strategy: expected one_device or mirrored and no TF_CONFIG, because a search uses "
            "several hosts as keras-tuner's chief and workers. "
            f"Received: {runtime.strategy!r}, TF_CONFIG={os.environ.get('TF_CONFIG', '')!r}"
        )
    tf.config.experimental.enable_op_determinism()
    tf.keras.backend.experimental.enable_tf_random_generator()
    base = space.recipe
    trainer = Trainer(base, data_dir, runtime)
    write_json(output_dir / "search.json", identity)
    with explained(output_dir), _alone(output_dir, who):
        headline = task_of(base.model).headline
        oracle = make_oracle(
            plan.tuner, space, f"val_{headline}", plan.objective == "frontier", plan.max_trials
        )
        print(f"Searching as {who} in {output_dir}", flush=True)
        SearchTuner(oracle, GroupNetHyperModel(space, trainer), output_dir).search()
        if who == "worker":
            return None
        trials = trial_rows(oracle, f"val_{headline}", output_dir / TRIALS)
        results = {
            "name": base.name,
            "dataset": base.dataset,
            "metric": headline,
            "tuner": plan.tuner,
            "objective": plan.objective,
            "seed": base.seed,
            "epochs": sum(space.trial_epochs),
            "budget": dataclasses.asdict(space.budget),
            "ended": _ended(oracle),
            "trials": trials,
            "uniform": [],
        }
        if any(row["winner"] for row in trials):
            results["uniform"] = _uniform(space, plan, trainer, output_dir)
            results["recipes"] = list(map(str, write_winners(results, oracle, output_dir)))
        write_report(results, output_dir)
    if "recipes" not in results:
        first = next((row["failure"] for row in trials), "there was none")
        raise TrainingError(
            f"no trial of the search was completed; the first: {first or 'see its screen'}. "
            f"Everything is in {output_dir}"
        )
    return results


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
