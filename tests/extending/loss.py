"""A loss in which rare classes count as much as frequent ones, with an argument of its own."""

import tensorflow as tf

from larq_groupnet.tasks.losses import loss

# In a recipe: Phase(..., loss={"class_name": "balanced", "config": {"shares": (0.9, 0.1)}}).
# On the command line: --set loss=balanced --set loss.shares="(0.9, 0.1)"


@loss("balanced")
def balanced(task, target, scores, shares=()):
    rarity = 1 / tf.constant(shares or [1.0] * task.num_classes, scores.dtype)
    return -tf.reduce_sum(rarity * target * task.log_probabilities(scores), -1)
