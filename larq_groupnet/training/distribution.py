"""Where a run computes: one device, several GPUs, several hosts, or a TPU, by `tf.distribute`."""

from __future__ import annotations

import dataclasses
import json
import os

import tensorflow as tf

from larq_groupnet.recipes.recipe import RecipeError, unknown

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker", "tpu")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")

PEER_TIMEOUT = 30
"""Seconds after which a worker takes another one, of which it hears nothing, for dead."""


@dataclasses.dataclass(frozen=True)
class Runtime:
    """How a recipe is computed, which is no part of what it says.

    Attributes:
        strategy: One of `STRATEGIES`. `"auto"` is `"multi_worker"` if `TF_CONFIG` is set,
            `"mirrored"` with more than one GPU, else `"one_device"`.
        precision: One of `PRECISIONS`. Products of +1 and -1 are exact in 16 bits and are summed
            in 32, so that mixed precision only rounds what leaves a convolution.
        jit_compile: Compile the training step with XLA.
    """

    strategy: str = "auto"
    precision: str = "float32"
    jit_compile: bool = False

    def __post_init__(self) -> None:
        for field, names in (("strategy", STRATEGIES), ("precision", PRECISIONS)):
            if getattr(self, field) not in names:
                raise RecipeError(unknown(field, getattr(self, field), names))


def open_strategy(name: str) -> tf.distribute.Strategy:
    """The `tf.distribute` strategy of a name; to be called before any other work of TensorFlow.

    Raises:
        RecipeError: If what the strategy needs is not there.
    """
    if name == "auto":
        several = len(tf.config.list_physical_devices("GPU")) > 1
        name = "mirrored" if several else "one_device"
        name = "multi_worker" if os.environ.get("TF_CONFIG") else name
    if name == "one_device":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if name == "multi_worker":
        _check_cluster()
        options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=PEER_TIMEOUT)
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
    except (ValueError, tf.errors.OpError) as error:
        raise RecipeError(f"strategy: expected a TPU. TensorFlow says: {error}") from error
    return tf.distribute.TPUStrategy(resolver)


def _check_cluster() -> None:
    """`TF_CONFIG` must name the workers, and which of them this is."""
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        workers, task = config["cluster"]["worker"], config["task"]
        right = task["type"] == "worker" and 0 <= task["index"] < len(workers)
    except (KeyError, TypeError, ValueError):
        right = False
    if not right:
        raise RecipeError(
            "strategy: expected TF_CONFIG with the addresses of all workers and the index of this "
            'one, such as {"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", '
            f'"index": 0}}}}. Received: TF_CONFIG={text!r}'
        )


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes."""
    resolver = strategy.cluster_resolver
    return resolver is None or not resolver.task_type or resolver.task_id == 0


def check_batch(batch_size: int, strategy: tf.distribute.Strategy) -> None:
    """The batch is the global one: each replica takes its share, and the learning rate stays.

    Raises:
        RecipeError: If it cannot be shared evenly.
    """
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise RecipeError(
            f"batch_size: expected a multiple of the {replicas} replicas, because it is the number "
            f"of images of a step on all of them. Received: {batch_size}"
        )
