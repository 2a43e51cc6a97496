"""Where a run computes: one device, several GPUs, several hosts, or a TPU, by `tf.distribute`."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import socket
from pathlib import Path
from typing import Any, TypeAlias

import tensorflow as tf

from larq_groupnet.autograph import as_written
from larq_groupnet.data.pipeline import Pipeline
from larq_groupnet.recipes.recipe import RecipeError, unknown

InputContext: TypeAlias = tf.distribute.InputContext

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
        nondeterministic: Allow operations whose bits differ from run to run. `jit_compile` does,
            because XLA has no other gradient of max-pooling.
        steps_per_execution: Steps that TensorFlow runs before it returns to Python. A signal, and
            a loss that is not finite, is noticed after them.
        snapshot_steps: Steps between two snapshots within an epoch; 0 for none.
        snapshot_minutes: Minutes between two snapshots within an epoch; 0 for none.
        log_steps: Steps between two entries of loss, learning rate and norms in TensorBoard; 0 for
            none.
        profile: First and last step of each phase to profile for TensorBoard, such as `"10,20"`.
    """

    strategy: str = "auto"
    precision: str = "float32"
    jit_compile: bool = False
    nondeterministic: bool = False
    steps_per_execution: int = 1
    snapshot_steps: int = 0
    snapshot_minutes: float = 0.0
    log_steps: int = 0
    profile: str = ""

    def __post_init__(self) -> None:
        for field, names in (("strategy", STRATEGIES), ("precision", PRECISIONS)):
            if getattr(self, field) not in names:
                raise RecipeError(unknown(field, getattr(self, field), names))
        least = {
            "steps_per_execution": 1,
            "snapshot_steps": 0,
            "snapshot_minutes": 0,
            "log_steps": 0,
        }
        for field, value in least.items():
            if not value <= getattr(self, field) < math.inf:
                raise RecipeError(
                    f"{field}: expected at least {value}. Received: {getattr(self, field)}"
                )

        self.profiled()

    def profiled(self) -> tuple[int, int] | None:
        """First and last step to profile; `None` for none.

        Raises:
            RecipeError: If `profile` names none.
        """
        first, _, last = self.profile.partition(",")
        if not self.profile:
            return None
        if not (
            first.strip().isdecimal() and last.strip().isdecimal() and 0 < int(first) <= int(last)
        ):
            raise RecipeError(
                f"profile: expected the first and the last step, such as 10,20. "
                f"Received: {self.profile!r}"
            )
        return int(first), int(last)

    @property
    def deterministic(self) -> bool:
        """True if the same run gives the same bits."""
        return not (self.nondeterministic or self.jit_compile)

    @classmethod
    def of_run(cls, folder: Path) -> Runtime | None:
        """How a run was computed; `None` where it does not say.

        Raises:
            RecipeError: If `runtime.json` there cannot be read.
        """
        file = folder / "runtime.json"
        if not file.is_file():
            return None
        fields = [field.name for field in dataclasses.fields(cls)]
        try:
            known = json.loads(file.read_text())
            return cls(**{name: known[name] for name in fields if name in known})
        except (TypeError, ValueError) as error:
            raise RecipeError(
                f"{file}: expected how the run was computed, as it was written. Received: {error}. "
                "Remove it to go on with what the command says."
            ) from error

    def arithmetic(self) -> dict[str, Any]:
        """The options that change what is computed, and not only where or how often it is saved."""
        names = ("precision", "jit_compile", "nondeterministic")
        return {name: getattr(self, name) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they stand beside a run."""
        return {**dataclasses.asdict(self), "deterministic": self.deterministic}


def open_strategy(name: str, alone: bool = False) -> tf.distribute.Strategy:
    """The `tf.distribute` strategy of a name; to be called before any other work of TensorFlow.

    Args:
        name: One of `STRATEGIES`.
        alone: True for work that one machine does, whatever `TF_CONFIG` says.

    Raises:
        RecipeError: If what the strategy needs is not there.
    """
    if name == "auto":
        several = len(tf.config.list_physical_devices("GPU")) > 1
        name = "mirrored" if several else "one_device"
        name = "multi_worker" if os.environ.get("TF_CONFIG") and not alone else name
    if name not in STRATEGIES or (alone and name == "multi_worker"):
        choices = [each for each in STRATEGIES if not (alone and each == "multi_worker")]
        raise RecipeError(unknown("strategy", name, choices))
    if name == "one_device":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        return _mirrored()
    if name == "multi_worker":
        _check_cluster()
        return _multi_worker()
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
    except (ValueError, tf.errors.OpError) as error:
        raise RecipeError(f"strategy: expected a TPU. TensorFlow says: {error}") from error
    return tf.distribute.TPUStrategy(resolver)


# One of each in a process: the collective operations of a second one would be numbered like those
# of the first, and TensorFlow takes them for the same.
@functools.cache
def _mirrored() -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy()


@functools.cache
def _multi_worker() -> tf.distribute.Strategy:
    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=PEER_TIMEOUT)
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


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


def gone(strategy: tf.distribute.Strategy) -> str:
    """The workers that do not answer any more, by number and address."""
    resolver = strategy.cluster_resolver
    workers = resolver.cluster_spec().as_dict().get("worker", []) if resolver else []
    silent = []
    for index, address in enumerate(workers):
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
        except OSError:
            silent.append(f"worker {index} ({address})")
    return " and ".join(silent) or "another worker"


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


def training_share(
    data: Pipeline, steps_per_epoch: int, epoch: int, step: int, context: InputContext
) -> tf.data.Dataset:
    """This worker's share of every batch, cut into parts for its replicas.

    Images are mixed within the share of a worker, before it is cut.
    """
    workers = context.num_input_pipelines
    whole = InputContext(workers, context.input_pipeline_id, workers)
    share = data.train_batches(steps_per_epoch, epoch, step, whole)
    replicas = context.num_replicas_in_sync // workers
    if replicas == 1:
        return share
    return share.rebatch(share.element_spec[0].shape[0] // replicas, drop_remainder=True)


def validation_share(
    batches: tf.data.Dataset, batch_size: int, context: InputContext
) -> tf.data.Dataset:
    """This worker's share of a validation set, pass after pass, every image once a pass.

    All replicas compute together, on batches of one size. Where a worker runs out of images it
    gets one again and again, which does not count; see `test_step`. Each step counts the images
    that one process would.

    Args:
        batches: One pass, in batches of the size of a step on all replicas.
        batch_size: That size.
        context: Which worker this is.

    Yields:
        Images, truths, and True `(batch,)` for each image that counts.
    """
    workers, replicas = context.num_input_pipelines, context.num_replicas_in_sync
    images, share = batches.unbatch(), -(-batch_size // replicas)
    own = images.shard(workers, context.input_pipeline_id)
    own = own.map(as_written(lambda image, truth: (image, truth, True)))
    repeated = as_written(lambda image, truth: (image, truth, False))
    again = images.take(1).map(repeated).cache().repeat()
    whole = own.concatenate(again).take(count_batches(batches) * share * replicas // workers)
    return whole.batch(share, drop_remainder=True).repeat()


def test_step(model: tf.keras.Model, data: tuple[tf.Tensor, ...]) -> dict[str, tf.Tensor]:
    """Keras' own step of a validation, without the images that do not count."""
    images, truth, counted = tf.keras.utils.unpack_x_y_sample_weight(data)
    scores = model(images, training=False)
    if counted is not None:
        truth, scores = (tf.boolean_mask(each, counted) for each in (truth, scores))
    model.compute_loss(images, truth, scores)
    return model.compute_metrics(images, truth, scores, None)


def count_batches(batches: tf.data.Dataset) -> int:
    """How many batches a pass has, counted only where tf.data does not know."""
    known = int(batches.cardinality())
    return known if known >= 0 else sum(1 for _ in batches)
