"""One trial of a search: a recipe trained to the best validation metric of its last phase."""

from __future__ import annotations

import csv
import dataclasses
import gc
import itertools
import shutil
import time
from pathlib import Path
from typing import Any

import keras_tuner
import tensorflow as tf

from larq_groupnet.errors import Interrupted, TrainingError
from larq_groupnet.files import path_of, plain, read_json, write_json
from larq_groupnet.recipes.recipe import Recipe
from larq_groupnet.runs.snapshots import Snapshots
from larq_groupnet.tasks.task import task_of
from larq_groupnet.training.distribution import Runtime
from larq_groupnet.training.run import train_weights
from larq_groupnet.tuning.space import SearchSpace

TRIALS = "trials"
"""Folder of the trials, next to the report."""

TRIAL = "trial.json"
"""File in a trial's folder with `recipe`, `starts`, and `value` or `failure`."""

ORACLE = "oracle"
"""Folder of keras-tuner's own state, next to the trials."""

STARTS = 3
"""Starts from the same point after which a trial counts as failed. A process that runs out of
memory is killed without a message, and would be killed again."""

IDLE_SECONDS = 0.5
"""Pause of a worker between requests to the chief."""


@dataclasses.dataclass(frozen=True)
class Trainer:
    """Trains recipes, each in its own folder, and resumes after a kill.

    Attributes:
        data_dir: Folder of the datasets.
        runtime: Devices and precision.
    """

    data_dir: str | Path
    runtime: Runtime = dataclasses.field(default_factory=Runtime)

    def measure(self, recipe: Recipe, folder: Path) -> float:
        """Trains a recipe, unless the folder has its result.

        Args:
            recipe: The recipe to train.
            folder: Folder for `trial.json` and `run/` (the files of a run before conversion). A
                trial of another recipe in it is kept next to it, under a longer name.

        Returns:
            The best validation metric of the last phase.

        Raises:
            TrainingError: If the trial fails or has failed before.
            Interrupted: After SIGINT or SIGTERM.
            OSError: For example, if the disk is full.
        """
        file, run = folder / TRIAL, folder / "run"
        known = read_json(file)
        if not _is_of(known, recipe):
            if known:  # For example, the chief lost its state.
                _put_aside(folder)
            known = {"recipe": recipe.to_dict(), "starts": {}}
        if "value" in known:
            return float(known["value"])
        if "failure" in known:
            raise TrainingError(known["failure"])
        try:
            write_json(file, {**known, "starts": _one_more(known["starts"], run)})
            value = self.train(recipe, run)
        except (Interrupted, KeyboardInterrupt, OSError):
            write_json(file, known)  # Not the candidate's fault.
            raise
        except Exception as error:
            failure = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            write_json(file, {**known, "failure": failure})
            raise TrainingError(failure) from error
        write_json(file, {**known, "value": value})
        shutil.rmtree(run / "snapshots", ignore_errors=True)
        return value

    def train(self, recipe: Recipe, folder: Path) -> float:
        """Trains a recipe; returns the best validation metric of its last phase."""
        # Frees the memory of earlier trials and makes trials independent of each other.
        tf.keras.backend.clear_session()
        gc.collect()
        weights = train_weights(recipe, path_of(self.data_dir), folder, self.runtime)
        assert weights is not None  # None only for a TF_CONFIG worker, which is refused.
        with (folder / "history.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["phase"] == weights.stem]
        return max(float(row[f"val_{task_of(recipe.model).headline}"]) for row in rows)


class SearchTuner(keras_tuner.Tuner):
    """Runs the trials of an oracle.

    A single process that restarts a search asks its oracle for all trials from the first one,
    without retraining finished trials, so it ends as if it had never stopped. A chief relies on the
    state saved by keras-tuner, because its trials are on the workers' disks.

    Args:
        oracle: Chooses the candidates; any keras-tuner oracle over
            `oracles.hyperparameters(space)`.
        space: Turns values into candidates.
        trainer: Trains candidates.
        output_dir: Folder of the search.
        alone: False for a chief or a worker.
    """

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        space: SearchSpace,
        trainer: Trainer,
        output_dir: str | Path,
        alone: bool = True,
    ) -> None:
        output_dir = path_of(output_dir).absolute()
        self.space = space
        self.trainer = trainer
        self.trials = output_dir / TRIALS
        self.alone = alone
        super().__init__(oracle, directory=str(output_dir), project_name=ORACLE, overwrite=alone)

    def pre_create_trial(self) -> None:
        """Pauses, so that an idle worker does not poll the chief continuously."""
        if not self.alone:
            time.sleep(IDLE_SECONDS)

    def run_trial(
        self, trial: keras_tuner.engine.trial.Trial, *_: Any, **__: Any
    ) -> dict[str, float]:
        """Trains a candidate. A failure ends the trial; a signal or a full disk the search."""
        values = trial.hyperparameters.values
        recipe = self.space.trial(self.space.candidate(values), values.get("tuner/epochs"))
        number = trial_number(trial.trial_id)
        try:
            value = self.trainer.measure(recipe, trial_folder(self.trials, number))
        except TrainingError as error:
            print(f"Trial {number} failed, and the search continues: {error}", flush=True)
            raise keras_tuner.errors.FailedTrialError(str(error)) from error
        except (Interrupted, OSError) as error:
            raise keras_tuner.errors.FatalError(str(error)) from error
        return {self.oracle.objective.name: value}


def trial_number(trial_id: str) -> str:
    """The name of a trial: its number without keras-tuner's zero padding."""
    return str(int(trial_id))


def trial_folder(trials: Path, number: str) -> Path:
    """Folder of a trial."""
    return trials / f"trial_{number}"


def _is_of(known: dict[str, Any], recipe: Recipe) -> bool:
    """True if a trial is of this recipe; fields that old files lack have their defaults."""
    try:
        return plain(Recipe.from_dict(known["recipe"]).to_dict()) == plain(recipe.to_dict())
    except (LookupError, TypeError, ValueError):
        return False


def _put_aside(folder: Path) -> None:
    """Renames the folder of a trial, because trained weights are never removed."""
    names = (folder.with_name(f"{folder.name}-before{number}") for number in itertools.count(1))
    beside = next(name for name in names if not name.exists())
    folder.rename(beside)
    print(f"{folder} held a trial of another recipe, which is kept in {beside}", flush=True)


def _one_more(starts: dict[str, int], run: Path) -> dict[str, int]:
    """Counts a start at the newest snapshot of a run.

    Raises:
        TrainingError: After `STARTS` starts at this point.
    """
    found = Snapshots(run / "snapshots").last() if run.is_dir() else None
    last = f"epoch {found[0].epoch}, step {found[0].step}" if found else "the beginning"
    count = starts.get(last, 0) + 1
    if count > STARTS:
        raise TrainingError(
            f"the process ended {STARTS} times without getting beyond {last}; out of memory?"
        )
    return {last: count}
