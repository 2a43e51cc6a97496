"""Runs on one device, several GPUs, several hosts, or a TPU, with `tf.distribute`."""

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
"""Seconds without an answer after which a worker considers another one dead."""


@dataclasses.dataclass(frozen=True)
class Runtime:
    """How a recipe is computed. The recipe itself does not say.

    Attributes:
        strategy: One of `STRATEGIES`. `"auto"` is `"multi_worker"` if `TF_CONFIG` is set,
            `"mirrored"` with more than one GPU, else `"one_device"`.
        precision: One of `PRECISIONS`. Products of +1 and -1 are exact in 16 bits and are summed
            in 32, so mixed precision only rounds the outputs of convolutions.
        jit_compile: Compile the training step with XLA.
        nondeterministic: Allow operations whose bits differ from run to run. `jit_compile` implies
            it, because XLA has no deterministic gradient of max-pooling.
        steps_per_execution: Steps that TensorFlow runs before it returns to Python. Signals and
            losses that are not finite are noticed only then.
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
            RecipeError: If `profile` is not two steps.
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
        """Reads how a run was computed; `None` if it has no `runtime.json`.

        Raises:
            RecipeError: If `runtime.json` cannot be read.
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
                f"{file}: expected the runtime options of the run, as it wrote them. Received: "
                f"{error}. Remove the file to use the options of the command."
            ) from error

    def arithmetic(self) -> dict[str, Any]:
        """The options that change the computed numbers."""
        names = ("precision", "jit_compile", "nondeterministic")
        return {name: getattr(self, name) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as stored in `runtime.json`."""
        return {**dataclasses.asdict(self), "deterministic": self.deterministic}


def open_strategy(name: str, alone: bool = False) -> tf.distribute.Strategy:
    """The `tf.distribute` strategy with a name. Call it before TensorFlow does anything else.

    Args:
        name: One of `STRATEGIES`.
        alone: True for work on one machine, even if `TF_CONFIG` is set.

    Raises:
        RecipeError: If the name is unknown, or the TPU or a valid `TF_CONFIG` is missing.
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


# Only one of each per process: a second one would number its collective operations from the start
# again, and TensorFlow would confuse them with the operations of the first.
@functools.cache
def _mirrored() -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy()


@functools.cache
def _multi_worker() -> tf.distribute.Strategy:
    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=PEER_TIMEOUT)
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


def _check_cluster() -> None:
    """Raises RecipeError unless `TF_CONFIG` has all workers and the index of this one."""
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
    """True if this process writes the files of the run."""
    resolver = strategy.cluster_resolver
    return resolver is None or not resolver.task_type or resolver.task_id == 0


def gone(strategy: tf.distribute.Strategy) -> str:
    """Numbers and addresses of the workers that do not answer."""
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
    """Checks that the replicas can share the global batch; the learning rate does not change.

    Raises:
        RecipeError: If the batch size is not a multiple of the number of replicas.
    """
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise RecipeError(
            f"batch_size: expected a multiple of the {replicas} replicas, which share the images "
            f"of a step. Received: {batch_size}"
        )


def training_share(
    data: Pipeline, steps_per_epoch: int, epoch: int, step: int, context: InputContext
) -> tf.data.Dataset:
    """This worker's share of every batch, split among its replicas.

    Mixup and CutMix mix images within the worker's share, before it is split.
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
    """This worker's share of a validation set, in endless passes with every image once per pass.

    All replicas compute together, on batches of one size. If a worker runs out of images, it
    repeats one that does not count; see `test_step`. Each step counts the images that one process
    would.

    Args:
        batches: One pass, in batches of the global size.
        batch_size: The global batch size.
        context: Identifies this worker.

    Yields:
        Images, truths, and a mask `(batch,)` that is True for each image that counts.
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
    """Keras' own validation step, without the images that do not count."""
    images, truth, counted = tf.keras.utils.unpack_x_y_sample_weight(data)
    scores = model(images, training=False)
    if counted is not None:
        truth, scores = (tf.boolean_mask(each, counted) for each in (truth, scores))
    model.compute_loss(images, truth, scores)
    return model.compute_metrics(images, truth, scores, None)


def count_batches(batches: tf.data.Dataset) -> int:
    """Number of batches per pass, counted only if tf.data does not know it."""
    known = int(batches.cardinality())
    return known if known >= 0 else sum(1 for _ in batches)
