"""Structure search on keras-tuner. Importing it does not import TensorFlow."""

from larq_groupnet.tuning.space import Budget, Plan, SearchSpace, make_space

__all__ = ["Budget", "Plan", "SearchSpace", "make_space"]
