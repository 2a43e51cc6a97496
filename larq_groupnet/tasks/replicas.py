"""The mean over the replicas of a `tf.distribute` strategy."""

from __future__ import annotations

import tensorflow as tf


def mean(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """The weighted mean over all replicas; 0 if all weights are 0.

    The number of pixels that count differs between replicas, so the mean of their means is not the
    overall mean. Here every replica divides by the weights of all replicas. Its result is the
    overall mean, and the gradients of the replicas add up to the gradient of the mean, after Keras
    has divided the loss by the number of replicas.

    Args:
        values: Values of this replica, of any shape, possibly empty.
        weights: 0 or more, of the same shape.
    """
    total, weight = tf.reduce_sum(values * weights), tf.reduce_sum(weights)
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return tf.math.divide_no_nan(total, weight)
    sums = context.all_reduce(
        tf.distribute.ReduceOp.SUM, [tf.stop_gradient(total), tf.stop_gradient(weight)]
    )
    own = context.num_replicas_in_sync * tf.math.divide_no_nan(total, sums[1])
    return own + tf.stop_gradient(tf.math.divide_no_nan(*sums) - own)
