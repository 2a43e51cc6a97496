"""keras-tuner's oracles over the candidates within a budget.

Each draw follows from the seed and the number of the trial, and from nothing else. A search that
starts again therefore proposes the same trials, as long as their results are the same.
"""

from __future__ import annotations

import itertools
import random
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial
from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from larq_groupnet.tuning.frontier import Point, gains
from larq_groupnet.tuning.space import PARENTS, SearchSpace, Values, costs

DRAWS = 1000
"""Draws without a new candidate within the budget after which a search ends."""

ACQUISITION_DRAWS = 100
"""Candidates among which the Gaussian process chooses."""

FAILURES_IN_A_ROW = 5
"""Failed trials in a row after which a search ends: the candidates are hardly at fault."""


def hyperparameters(space: SearchSpace) -> keras_tuner.HyperParameters:
    """The space as keras-tuner's hyper-parameters, for any of its oracles.

    All choices are texts: keras-tuner sends numbers to its workers in 32 bits, and 0.1 would come
    back as another number.
    """
    hp = keras_tuner.HyperParameters()
    for key, texts in space.choices.items():
        parent, value = PARENTS.get(key, ("", ""))
        given = {"parent_name": parent, "parent_values": [value]} if parent in space.choices else {}
        hp.Choice(key, list(texts), **given)
    return hp


class RandomOracle(keras_tuner.Oracle):
    """Draws evenly among the candidates within the budget; the other oracles build on it.

    Args:
        space: The candidates.
        frontier: Score a trial by what it adds to the frontier, instead of by its metric.
        **options: Arguments of keras-tuner's oracle.
    """

    def __init__(self, space: SearchSpace, frontier: bool, **options: Any) -> None:
        super().__init__(
            hyperparameters=hyperparameters(space),
            allow_new_entries=False,
            tune_new_entries=False,
            # keras-tuner would raise in the chief's server, and the chief would wait for ever.
            max_consecutive_failed_trials=None,
            **options,
        )
        self.space = space
        self.frontier = frontier
        self.exhausted = False

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The next candidate; none after too many failures, or if no draw finds one."""
        if self.exhausted or self.failed_in_a_row() >= FAILURES_IN_A_ROW:
            return {"status": "STOPPED"}
        return self.propose(trial_id)

    def propose(self, trial_id: str) -> dict[str, Any]:
        """A response for `populate_space` with what `choose` finds."""
        values = self.choose(trial_id)
        self.exhausted = values is None
        return {"status": "STOPPED" if values is None else "RUNNING", "values": values}

    def choose(self, trial_id: str) -> Values | None:
        """The values of a trial, or `None`."""
        return next(self.draws(trial_id), None)

    def draws(self, trial_id: str) -> Iterator[Values]:
        """Candidates within the budget that no trial has had."""
        generator = random.Random(f"{self.seed} {int(trial_id)}")
        tried = [self.space.values_of(t.hyperparameters.values) for t in self.trials.values()]
        for _ in range(DRAWS):
            values = self.space.draw(generator)
            if values not in tried and self.space.fault(values) is None:
                yield values

    def failed_in_a_row(self) -> int:
        """Failed trials since the last completed one."""
        ended = (self.trials[trial_id].status for trial_id in reversed(self.end_order))
        return sum(1 for _ in itertools.takewhile(lambda status: status == "FAILED", ended))

    def score_trial(self, trial: Trial) -> None:
        """Scores a trial by its metric. With a frontier it scores all trials again."""
        super().score_trial(trial)
        if not self.frontier:
            return
        # Hyperband's trials of fewer epochs are compared among themselves.
        by_epochs: dict[Any, list[Trial]] = {}
        for done in self.trials.values():
            if done.status == "COMPLETED":
                epochs = done.hyperparameters.values.get("tuner/epochs")
                by_epochs.setdefault(epochs, []).append(done)
        for alike in by_epochs.values():
            points = [self._point(done) for done in alike]
            for done, gain in zip(alike, gains(points), strict=True):
                done.score = gain

    def _point(self, trial: Trial) -> Point:
        model = self.space.candidate(trial.hyperparameters.values).model
        return Point(costs(model)["ops"], float(trial.metrics.get_best_value(self.objective.name)))


class HyperbandSearchOracle(RandomOracle, HyperbandOracle):
    """Gives many candidates few epochs, and the best of them more.

    A promoted candidate trains from the start in its new epochs, as in the paper (Li et al., JMLR
    2018), because its learning rate follows a schedule over all of them.
    """

    def propose(self, trial_id: str) -> dict[str, Any]:
        """keras-tuner's bracket and round, with a candidate within the budget where one begins."""
        response = HyperbandOracle.populate_space(self, trial_id)
        values = response.get("values") or {}
        if response["status"] != "RUNNING" or "tuner/trial_id" in values:
            return response
        chosen = self.choose(trial_id)
        self.exhausted = chosen is None
        if chosen is None:
            return {"status": "STOPPED"}
        of_bracket = {key: value for key, value in values.items() if key.startswith("tuner/")}
        return {**response, "values": {**of_bracket, **chosen}}


class BayesianOracle(RandomOracle, BayesianOptimizationOracle):
    """The upper confidence bound of keras-tuner's Gaussian process, within the budget.

    keras-tuner itself maximises this bound over the whole space, where the best are over budget.
    """

    def choose(self, trial_id: str) -> Values | None:
        """The candidate of the highest bound among `ACQUISITION_DRAWS`; the first at random."""
        done = [trial for trial in self.trials.values() if trial.status == "COMPLETED"]
        if len(done) < self.num_initial_points:
            return super().choose(trial_id)
        candidates = list(itertools.islice(self.draws(trial_id), ACQUISITION_DRAWS))
        if not candidates:
            return None
        with warnings.catch_warnings():
            # A length scale at its bound means a dimension without influence.
            warnings.simplefilter("ignore", ConvergenceWarning)
            tried = self._vectors(trial.hyperparameters.values for trial in done)
            self.gpr.fit(tried, [-trial.score for trial in done])  # To be minimised.
        mean, deviation = self.gpr.predict(self._vectors(candidates), return_std=True)
        return candidates[int(np.argmin(mean - self.beta * deviation))]

    def _vectors(self, many: Iterable[Values]) -> NDArray:
        dimensions = self.hyperparameters.space
        return np.array(
            [[hp.value_to_prob(v.get(hp.name, hp.default)) for hp in dimensions] for v in many]
        )


def random_trials(max_trials: int | None) -> int:
    """Trials that a Bayesian search draws at random before it fits anything: a third, at least 3.

    keras-tuner's three per dimension would be all the trials of a search that people run.
    """
    return max((max_trials or 0) // 3, 3)


def make_oracle(
    tuner: str,
    space: SearchSpace,
    metric: str,
    frontier: bool,
    max_trials: int | None,
    first: int | None = None,
) -> RandomOracle:
    """Makes the oracle of a name.

    Args:
        tuner: `"random"`, `"hyperband"` or `"bayesian"`.
        space: The candidates.
        metric: The metric that a trial reports; larger is better.
        frontier: Search the frontier of this metric against OPs.
        max_trials: Trials after which to stop; `None` for one sweep of Hyperband.
        first: Of a Bayesian search, the trials at random; `random_trials(max_trials)` by default.
            Another number proposes other trials.
    """
    options = {
        "objective": keras_tuner.Objective(metric, "max"),
        # keras-tuner takes 0 for no seed.
        "seed": space.recipe.seed + 1,
    }
    if tuner == "hyperband":
        options["max_epochs"] = sum(space.trial_epochs)
        options["hyperband_iterations"] = None if max_trials else 1
        oracle = HyperbandSearchOracle(space, frontier, **options)
        oracle.max_trials = max_trials  # Not an argument of keras-tuner's Hyperband.
        return oracle
    options["max_trials"] = max_trials
    if tuner == "bayesian":
        options["num_initial_points"] = first or random_trials(max_trials)
        return BayesianOracle(space, frontier, **options)
    return RandomOracle(space, frontier, **options)
