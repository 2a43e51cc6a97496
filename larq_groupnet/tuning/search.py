"""Runs a search: trials, uniform K for comparison, a report and recipes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import keras_tuner

from larq_groupnet.data.pipeline import class_names, open_dataset
from larq_groupnet.errors import Interrupted, RecipeError, TrainingError
from larq_groupnet.files import path_of, read_json, write_json
from larq_groupnet.recipes.fitting import check_recipe
from larq_groupnet.runs.guards import check_folder
from larq_groupnet.runs.identity import check_classes, read_classes, record_classes
from larq_groupnet.runs.lock import holding
from larq_groupnet.tasks.task import task_of
from larq_groupnet.training.distribution import Runtime, check_batch, open_strategy
from larq_groupnet.tuning.oracles import FAILURES_IN_A_ROW, RandomOracle, make_oracle, random_trials
from larq_groupnet.tuning.outcome import (
    Rows,
    compare_with_uniform,
    describe,
    trial_rows,
    write_report,
    write_winners,
)
from larq_groupnet.tuning.space import Plan, SearchSpace, costs
from larq_groupnet.tuning.trial import TRIALS, SearchTuner, Trainer
from larq_groupnet.tuning.zoo_file import recipe_source

ENVIRONMENT = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")
LATE = ("random_trials", "runtime")
"""Keys that `search.json` of older versions lacks."""

ALL_DONE = "all trials are done"
TOGETHER = "Several can search together as chief and workers: see docs/search.md"


def search(
    space: SearchSpace,
    plan: Plan,
    data_dir: str | Path,
    output_dir: str | Path,
    runtime: Runtime | None = None,
    source: str = "",
) -> dict[str, Any] | None:
    """Runs a search, or resumes the one in the folder.

    If keras-tuner's environment variables are set, this process is the chief, which only hands out
    candidates, or a worker.

    Args:
        space: The candidates.
        plan: How to search them.
        data_dir: Folder of the datasets.
        output_dir: Folder for `search.json`, `trials/`, `uniform/`, `trials.csv`, `frontier.png`,
            `results.json` and a zoo file for each winner.
        runtime: Devices and precision.
        source: The user's own file that the recipe comes from; `""` for none. A winner runs it
            first, because it may register names of the recipe.

    Returns:
        The content of `results.json`; `None` for a worker, which writes only its trials.

    Raises:
        RecipeError: Before anything is written, if the recipe does not fit the dataset, or the
            folder holds another run or search.
        TrainingError: If every trial failed, or the chief is gone.
        Interrupted: After SIGINT or SIGTERM.
    """
    runtime = runtime or Runtime()
    data_dir, output_dir = path_of(data_dir), path_of(output_dir)
    who = role()
    identity = _check(space, plan, data_dir, output_dir, runtime)
    metric = f"val_{task_of(space.recipe.model).headline}"
    oracle = make_oracle(
        plan.tuner, space, metric, plan.objective == "frontier", plan.max_trials,
        identity["random_trials"],
    )  # fmt: skip
    trainer = Trainer(data_dir, runtime)
    # Workers share the folder of their chief.
    held = contextlib.nullcontext() if who == "worker" else holding(output_dir, TOGETHER)
    with _explained(output_dir), held:
        _check_folder(identity, output_dir)  # Another process may have come first.
        write_json(output_dir / "search.json", identity)
        record_classes(output_dir, _classes(space, data_dir))
        print(f"Searching as {who} in {output_dir}", flush=True)
        SearchTuner(oracle, space, trainer, output_dir, who == "alone").search()
        if who == "worker":
            return None
        trials = trial_rows(oracle, metric, output_dir / TRIALS)
        results = _results(oracle, plan, trials)
        if any(row["winner"] for row in trials):
            results["uniform"] = _uniform(space, plan, trainer, output_dir)
            results["remarks"] = compare_with_uniform(results)
            print("\n".join(results["remarks"]), flush=True)
            results["recipes"] = list(map(str, write_winners(results, oracle, output_dir, source)))
        write_report(results, output_dir)
    if not results["recipes"]:
        first = next((row["failure"] for row in trials), "no trial ran")
        raise TrainingError(
            f"no trial of the search was completed; the first: {first or 'see its output'}. "
            f"Everything is in {output_dir}"
        )
    return results


def role() -> str:
    """`"alone"`, `"chief"` or `"worker"`, from keras-tuner's own environment variables.

    Raises:
        RecipeError: If only some of them are set, or the port is invalid.
    """
    given = {name: os.environ.get(name, "") for name in ENVIRONMENT}
    if not any(given.values()):
        return "alone"
    port = given["KERASTUNER_ORACLE_PORT"]
    if not all(given.values()) or not port.isdecimal() or not 0 < int(port) < 2**16:
        received = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise RecipeError(
            "tune: expected all three of a name such as chief or worker0, the chief's address and "
            f"its port in the environment, or none of them. Received: {received}"
        )
    return "chief" if "chief" in given["KERASTUNER_TUNER_ID"] else "worker"


def _check(
    space: SearchSpace, plan: Plan, data_dir: Path, output_dir: Path, runtime: Runtime
) -> dict[str, Any]:
    """Checks everything before anything is written; returns the identity of the search."""
    cluster = os.environ.get("TF_CONFIG", "")
    if runtime.strategy == "multi_worker" or cluster:
        raise RecipeError(
            "strategy: expected one_device or mirrored and no TF_CONFIG, because a search uses "
            "several hosts as keras-tuner's chief and workers. "
            f"Received: {runtime.strategy!r}, TF_CONFIG={cluster!r}"
        )
    if space.recipe.start_from:
        raise RecipeError(
            "start_from: expected none, because weights are of one structure; set it to nothing "
            f"(--set start_from= of a command). Received: {space.recipe.start_from!r}"
        )
    asked = {"tuner": plan.tuner, "objective": plan.objective, "uniform": plan.uniform}
    # Draws of the first format followed from keras-tuner's state.
    identity = {**space.describe(), **asked, "format": 2}
    earlier = read_json(output_dir / "search.json")
    first = _random_trials(plan, earlier, output_dir)
    identity |= {"random_trials": first, "runtime": runtime.arithmetic()}
    _check_folder(identity, output_dir)
    check_batch(space.recipe.batch_size, open_strategy(runtime.strategy))
    check_recipe(space.recipe, data_dir)
    before, whose = read_classes(output_dir), f"the search in {output_dir}"
    check_classes(before, _classes(space, data_dir), whose, space.recipe.dataset)
    recipe_source(space.recipe)  # The winner will have to be written down.
    return identity


def _check_folder(identity: dict[str, Any], output_dir: Path) -> None:
    """As `check_folder`; a search of an older version that says nothing of `LATE` goes on."""
    earlier = read_json(output_dir / "search.json")
    compared = {key: value for key, value in identity.items() if key in earlier or key not in LATE}
    check_folder(compared, output_dir, "search")


def _random_trials(plan: Plan, earlier: dict[str, Any], output_dir: Path) -> int:
    """How many trials a Bayesian search draws at random; `earlier` is the `search.json` there.

    It is as many as when the search began: with another number it would propose other trials, and
    `max_trials` may be raised. An older version did not write the number down.
    """
    results = read_json(output_dir / "results.json")
    ended = len(results["trials"]) if results.get("ended") == ALL_DONE else plan.max_trials
    found: int = earlier.get("random_trials", random_trials(ended))
    return found


def _classes(space: SearchSpace, data_dir: Path) -> list[str]:
    recipe = space.recipe
    return class_names(open_dataset(recipe.dataset, data_dir, recipe.on_bad_image))


def _results(oracle: RandomOracle, plan: Plan, trials: Rows) -> dict[str, Any]:
    """The content of `results.json` before uniform K is measured."""
    space = oracle.space
    task = task_of(space.recipe.model)
    ended = ALL_DONE
    if oracle.failed_in_a_row() >= FAILURES_IN_A_ROW:
        ended = f"{FAILURES_IN_A_ROW} trials in a row failed"
    elif oracle.exhausted:
        ended = "no further candidate was found within the budget"
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
        "ended": ended,
        "trials": trials,
        "uniform": [],
        "remarks": [],
        "recipes": [],
    }


def _uniform(space: SearchSpace, plan: Plan, trainer: Trainer, output_dir: Path) -> Rows:
    """Trains the recipe with one K in all stages, for each K within the budget."""
    rows = []
    for bases in sorted(set(plan.uniform)):
        recipe = space.uniform(bases)
        if excess := space.budget.excess(costs(recipe.model)):
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


@contextlib.contextmanager
def _explained(output_dir: Path) -> Iterator[None]:
    """Says in one line how a stopped search resumes."""
    again = f"Resume with the same arguments and output_dir {output_dir}"
    try:
        yield
    except keras_tuner.errors.FatalError as error:
        cause = error.__cause__
        if not isinstance(cause, Interrupted):
            raise (cause or error) from None
        where = str(cause).partition(";")[0]
        raise Interrupted(f"the search was {where}; it is saved. {again}", cause.signum) from error
    except KeyboardInterrupt as error:
        raise Interrupted(f"the search was stopped; it is saved. {again}", 2) from error
    except grpc.RpcError as error:
        raise TrainingError(
            f"the chief is gone, or cannot be reached: {error.details()}. Start it again, and this "
            "worker after it"
        ) from error
    except RuntimeError as error:
        if "address" not in str(error).lower():
            raise
        raise RecipeError(f"tune: the chief cannot listen. It says: {error}") from error
