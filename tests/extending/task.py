"""A task: the depth of every pixel in metres, where 0 was not measured."""

import numpy as np
import tensorflow as tf

from larq_groupnet.network.heads import scores_of_pixels
from larq_groupnet.network.kinds import head
from larq_groupnet.tasks.losses import loss
from larq_groupnet.tasks.task import Task, task


@head("depth", task="depth", output="metres")
def depth_head(ops, stages):
    x = ops.conv(stages[max(stages)], ops.config.num_classes, 1, "head_metres", bias=True)
    return scores_of_pixels(ops, x)


@loss("absolute")
def absolute(task, target, metres):
    return tf.abs(target - metres[..., 0])


@task("depth")
class Depth(Task):
    targets, default_loss = ("depth",), "absolute"
    headline, labels = "within", {"within": "pixels within 25 %"}

    def target(self, truth, scores, label_smoothing):
        return truth

    def counted(self, truth, each):
        return tf.cast(truth > 0, each.dtype)

    def measure(self, truth, scores):
        right = tf.abs(truth - scores[..., 0]) <= 0.25 * truth
        return tf.cast(tf.boolean_mask(right, truth > 0), tf.float32)

    def same(self, one, other):
        return np.abs(one - other) <= 0.01
