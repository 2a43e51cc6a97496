"""Structure search on keras-tuner. Importing this package imports neither it nor TensorFlow."""

from larq_groupnet.tuning.space import Budget, Plan, SearchSpace, make_space

__all__ = ["Budget", "Plan", "SearchSpace", "make_space"]
