"""keras-tuner's oracles, restricted to candidates within a budget.

Each draw depends only on the seed and the number of the trial. A restarted search therefore
proposes the same trials, as long as their results are the same.
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
"""Number of candidates that the Gaussian process ranks."""

FAILURES_IN_A_ROW = 5
"""Failed trials in a row after which a search ends: the cause is unlikely to be the candidates."""


def hyperparameters(space: SearchSpace) -> keras_tuner.HyperParameters:
    """The space as keras-tuner's hyper-parameters, for any of its oracles.

    All choices are texts: keras-tuner sends numbers to its workers in 32 bits, which would change
    0.1.
    """
    hp = keras_tuner.HyperParameters()
    for key, texts in space.choices.items():
        parent, value = PARENTS.get(key, ("", ""))
        given = {"parent_name": parent, "parent_values": [value]} if parent in space.choices else {}
        hp.Choice(key, list(texts), **given)
    return hp


class RandomOracle(keras_tuner.Oracle):
    """Draws uniformly among the candidates within the budget; base of the other oracles.

    Args:
        space: The candidates.
        frontier: Score a trial by its contribution to the frontier instead of by its metric.
        **options: Arguments of keras-tuner's oracle.
    """

    def __init__(self, space: SearchSpace, frontier: bool, **options: Any) -> None:
        super().__init__(
            hyperparameters=hyperparameters(space),
            allow_new_entries=False,
            tune_new_entries=False,
            # keras-tuner would raise in the chief's server, and the chief would wait forever.
            max_consecutive_failed_trials=None,
            **options,
        )
        self.space = space
        self.frontier = frontier
        self.exhausted = False

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The next candidate; stops after too many failures or if no draw finds one."""
        if self.exhausted or self.failed_in_a_row() >= FAILURES_IN_A_ROW:
            return {"status": "STOPPED"}
        return self.propose(trial_id)

    def propose(self, trial_id: str) -> dict[str, Any]:
        """The response of `populate_space` for the result of `choose`."""
        values = self.choose(trial_id)
        self.exhausted = values is None
        return {"status": "STOPPED" if values is None else "RUNNING", "values": values}

    def choose(self, trial_id: str) -> Values | None:
        """The values of a trial, or `None` if no candidate is left."""
        return next(self.draws(trial_id), None)

    def draws(self, trial_id: str) -> Iterator[Values]:
        """New candidates within the budget."""
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
        """Scores a trial by its metric; for a frontier, scores all trials again."""
        super().score_trial(trial)
        if not self.frontier:
            return
        # Trials are compared only with trials of the same number of epochs.
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
    """Trains many candidates for few epochs, and the best of them for more.

    A promoted candidate is trained from scratch for its new number of epochs, as in the paper (Li
    et al., JMLR 2018), because its learning rate follows a schedule over all epochs.
    """

    def propose(self, trial_id: str) -> dict[str, Any]:
        """keras-tuner's bracket and round; new candidates are within the budget."""
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
    """Maximises the upper confidence bound of keras-tuner's Gaussian process within the budget.

    keras-tuner itself maximises it over the whole space, where the best candidates are over budget.
    """

    def choose(self, trial_id: str) -> Values | None:
        """The candidate with the highest bound of `ACQUISITION_DRAWS`; at first random."""
        done = [trial for trial in self.trials.values() if trial.status == "COMPLETED"]
        if len(done) < self.num_initial_points:
            return super().choose(trial_id)
        candidates = list(itertools.islice(self.draws(trial_id), ACQUISITION_DRAWS))
        if not candidates:
            return None
        with warnings.catch_warnings():
            # A length scale at its bound only means that a dimension has no influence.
            warnings.simplefilter("ignore", ConvergenceWarning)
            tried = self._vectors(trial.hyperparameters.values for trial in done)
            self.gpr.fit(tried, [-trial.score for trial in done])  # Minimised.
        mean, deviation = self.gpr.predict(self._vectors(candidates), return_std=True)
        return candidates[int(np.argmin(mean - self.beta * deviation))]

    def _vectors(self, many: Iterable[Values]) -> NDArray:
        dimensions = self.hyperparameters.space
        return np.array(
            [[hp.value_to_prob(v.get(hp.name, hp.default)) for hp in dimensions] for v in many]
        )


def random_trials(max_trials: int | None) -> int:
    """Random trials of a Bayesian search before the first fit: a third, at least 3.

    keras-tuner's default of three per dimension would use up all the trials of a typical search.
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
    """Makes the oracle of a tuner.

    Args:
        tuner: `"random"`, `"hyperband"` or `"bayesian"`.
        space: The candidates.
        metric: The metric that a trial reports; larger is better.
        frontier: True to search the frontier of this metric against OPs.
        max_trials: Trials after which to stop; `None` for one sweep of Hyperband.
        first: Random trials of a Bayesian search; `random_trials(max_trials)` by default. Another
            number leads to other trials.
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
