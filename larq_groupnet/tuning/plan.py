"""How a space is searched. Knows nothing of TensorFlow or keras-tuner."""

from __future__ import annotations

import dataclasses

from larq_groupnet.recipes.recipe import RecipeError, unknown

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
