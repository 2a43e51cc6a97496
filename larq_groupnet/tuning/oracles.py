"""keras-tuner's oracles, kept within a budget, and saved so that a kill loses nothing."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle, RandomSearchOracle
from sklearn.exceptions import ConvergenceWarning

from larq_groupnet.files import write_json
from larq_groupnet.tuning.frontier import Point, gains
from larq_groupnet.tuning.space import SearchSpace, Values, costs
from larq_groupnet.tuning.trial import declare

DRAWS = 1000
"""How often a candidate is drawn before a search gives up to find one that is new, describes a
network and keeps to the budget."""

ACQUISITION_DRAWS = 100
"""Among how many such candidates the Gaussian process chooses."""

FAILURES_IN_A_ROW = 5
"""After so many failed trials a search ends: the fault is then hardly the candidate's."""


class SearchOracle(keras_tuner.Oracle):
    """What the three oracles below share.

    Args:
        space: What is searched.
        frontier: Score a trial by what it adds to the frontier, instead of by its metric.
        max_trials: After how many trials to stop; `None` leaves it to the oracle.
        **options: Arguments of the oracle.
    """

    def __init__(
        self, space: SearchSpace, frontier: bool, max_trials: int | None, **options: Any
    ) -> None:
        hyperparameters = keras_tuner.HyperParameters()
        declare(space, hyperparameters)
        super().__init__(
            hyperparameters=hyperparameters,
            allow_new_entries=False,
            tune_new_entries=False,
            # keras-tuner would raise in the chief's server, which would then wait for ever.
            max_consecutive_failed_trials=None,
            **options,
        )
        self.max_trials = max_trials
        self.space = space
        self.frontier = frontier
        self.exhausted = False
        self._max_collisions = DRAWS

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """A new candidate, unless too many have failed."""
        if self.failed_in_a_row() >= FAILURES_IN_A_ROW:
            return {"status": "STOPPED", "values": None}
        return super().populate_space(trial_id)

    def failed_in_a_row(self) -> int:
        """How many trials have failed since one was completed."""
        count = 0
        for trial_id in reversed(self.end_order):
            if self.trials[trial_id].status != "FAILED":
                break
            count += 1
        return count

    def _random_values(self) -> Values | None:
        """Draws again while a candidate is over budget or no network."""
        for _ in range(DRAWS):
            values = super()._random_values()
            if values is None:
                break
            if self.space.fault(values) is None:
                return values
        self.exhausted = True
        return None

    def score_trial(self, trial: keras_tuner.engine.trial.Trial) -> None:
        """The metric; for a frontier, of all trials anew, because each may have moved it."""
        super().score_trial(trial)
        if not self.frontier:
            return
        # A trial of fewer epochs, as Hyperband gives, is compared with its like.
        by_epochs: dict[Any, list[Any]] = {}
        for done in self.trials.values():
            if done.status == "COMPLETED":
                epochs = done.hyperparameters.values.get("tuner/epochs")
                by_epochs.setdefault(epochs, []).append(done)
        for alike in by_epochs.values():
            points = [self._point(done) for done in alike]
            for done, gain in zip(alike, gains(points), strict=True):
                done.score = gain

    def _point(self, trial: keras_tuner.engine.trial.Trial) -> Point:
        model = self.space.candidate(trial.hyperparameters.values).model
        return Point(costs(model)["ops"], float(trial.metrics.get_best_value(self.objective.name)))

    # Two files say where a search stands, written one after the other, by keras-tuner in place.

    def save(self) -> None:
        """Whole or not at all."""
        write_json(Path(self._get_oracle_fname()), self.get_state())

    def _save_trial(self, trial: keras_tuner.engine.trial.Trial) -> None:
        folder = Path(self._get_trial_dir(trial.trial_id))
        write_json(folder / "trial.json", trial.get_state())

    def reload(self) -> None:
        """Puts right what a kill between the two files leaves: the trials' own are newer."""
        super().reload()
        self._retry_queue = []
        for trial_id in sorted(self.trials, reverse=True):
            if self.trials[trial_id].status in ("COMPLETED", "FAILED"):
                continue
            self._retry_queue.append(trial_id)
            trial = self.trials[trial_id]
            trial.metrics = type(trial.metrics)()  # What it has reported it will report again.
        ended = [id for id in sorted(self.trials) if id not in self._retry_queue]
        self.start_order += [id for id in sorted(self.trials) if id not in self.start_order]
        self.end_order += [id for id in ended if id not in self.end_order]


class RandomOracle(SearchOracle, RandomSearchOracle):
    """Draws evenly."""


class HyperbandSearchOracle(SearchOracle, HyperbandOracle):
    """Gives many candidates few epochs, and the best of them more.

    A candidate that is promoted is trained from the start in its new epochs, as in the paper (Li et
    al., JMLR 2018), because the learning rate follows a schedule over all of them.
    """


class BayesianOracle(SearchOracle, BayesianOptimizationOracle):
    """Chooses by the upper confidence bound of a Gaussian process, among candidates within budget.

    keras-tuner's own maximises that bound over the whole cube, where the best are over budget.
    """

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The candidate of the highest bound, of `ACQUISITION_DRAWS`; the first ones at random."""
        completed = sum(trial.status == "COMPLETED" for trial in self.trials.values())
        response = {"status": "STOPPED", "values": None}
        if completed < self.num_initial_points or self.failed_in_a_row() >= FAILURES_IN_A_ROW:
            return super().populate_space(trial_id)
        drawn = [self._random_values() for _ in range(ACQUISITION_DRAWS)]
        candidates = [values for values in drawn if values is not None]
        if not candidates:
            return response
        x, y = self._vectorize_trials()
        with warnings.catch_warnings():
            # A length scale at its bound means a dimension that does not matter.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.gpr.fit(x, y)
        mean, deviation = self.gpr.predict(
            np.array([self._vector(values) for values in candidates]), return_std=True
        )
        # y is to be minimised.
        best = candidates[int(np.argmin(mean - self.beta * deviation))]
        return {"status": "RUNNING", "values": best}

    def _vector(self, values: Values) -> list[float]:
        """As `_vectorize_trials` does it."""
        return [hp.value_to_prob(values.get(hp.name, hp.default)) for hp in self._nonfixed_space()]


def make_oracle(
    tuner: str, space: SearchSpace, metric: str, frontier: bool, max_trials: int | None
) -> SearchOracle:
    """The oracle of a name.

    Args:
        tuner: `"random"`, `"hyperband"` or `"bayesian"`.
        space: What is searched.
        metric: What a trial reports, the larger the better.
        frontier: Whether the frontier is searched.
        max_trials: After how many trials to stop; `None` for one sweep of Hyperband.
    """
    options = {
        "objective": keras_tuner.Objective(metric, "max"),
        # keras-tuner takes 0 for no seed.
        "seed": space.recipe.seed + 1,
    }
    if tuner == "hyperband":
        options["max_epochs"] = sum(space.trial_epochs)
        options["hyperband_iterations"] = None if max_trials else 1
        return HyperbandSearchOracle(space, frontier, max_trials, **options)
    if tuner == "bayesian":
        # keras-tuner's three per dimension would be all trials of a search that people run.
        options["num_initial_points"] = max((max_trials or 0) // 3, 3)
        return BayesianOracle(space, frontier, max_trials, **options)
    return RandomOracle(space, frontier, max_trials, **options)
