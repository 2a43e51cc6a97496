"""Trains a tiny network on one device, or on several logical ones, in a process of its own.

    python tests/training/replicas.py OUTPUT_DIR '{"task": "segmentation", "devices": 2, ...}'

With `TF_CONFIG` set, one worker of several. Prints nothing but what Keras prints.
"""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np

VOID = 255


def main(output_dir, options):
    import tensorflow as tf

    devices = options.get("devices", 1)
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration() for _ in range(devices)]
    )
    from larq_groupnet.training.distribution import open_strategy
    from larq_groupnet.training.fit import Session, train

    local = "mirrored" if devices > 1 else "one_device"
    strategy = open_strategy("multi_worker" if options.get("workers") else local)
    assert strategy.num_replicas_in_sync == devices * options.get("workers", 1)
    tf.keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()
    tf.keras.backend.experimental.enable_tf_random_generator()
    recipe = recipe_of(options)
    data = Data(recipe, options.get("images", 20), options.get("order", 1))
    teacher = teacher_of(recipe, strategy) if recipe.teacher else None
    from larq_groupnet.tasks.task import task_of
    from larq_groupnet.training.distribution import is_chief

    folder = Path(output_dir)
    scratch = None if is_chief(strategy) else folder.with_name(f"{folder.name}-other")
    session = Session(
        data,
        recipe.steps_per_epoch,
        data.eval_batches("validation"),
        folder,
        task_of(recipe.model),
        strategy,
        teacher=teacher,
        scratch_dir=scratch,
    )
    train(recipe, session)


def recipe_of(options):
    from larq_groupnet import GroupNetConfig
    from larq_groupnet.recipes.recipe import Phase, Recipe

    dense = options["task"] == "segmentation"
    model = GroupNetConfig(
        head="fcn32s" if dense else "classifier",
        input_shape=(16, 16, 3),
        num_classes=7,
        num_bases=2,
        width=0.0625,
        stage_blocks=(1, 1, 1, 1),
        output_stride=8,
        stem_stride=2,
        dropout=0.0,
        kernel_quantizer="ste_sign",
        batch_norm_momentum=0.9,
    )
    common = {"learning_rate": options.get("rate", 1e-3), "warmup_epochs": 0, "schedule": "poly"}
    phases = [Phase("tanh", 2, binary=False, **common), Phase("binary", 2, binary=True, **common)]
    phases = tuple(
        dataclasses.replace(p, **options.get("phase", {}), **options.get(p.name, {}))
        for p in phases
    )
    return Recipe(
        "tiny", model, phases, "none", batch_size=8, steps_per_epoch=options.get("steps", 4),
        seed=3, mixup=options.get("mixup", 0.0), teacher="x" if options.get("taught") else "",
    )  # fmt: skip


class Data:
    """Images of noise and truths that can be learned, of which segmentation's are half void."""

    def __init__(self, recipe, validation, order):
        self.recipe, self.order = recipe, order
        rng = np.random.RandomState(0)
        self.images = rng.uniform(-1, 1, (64 + validation, 16, 16, 3)).astype("f4")
        dense = recipe.model.head != "classifier"
        # Classes by colour; void covers another share of every image.
        truth = np.digitize(
            self.images.mean(-1) if dense else self.images[:, 8, 8, 0], [-0.5, 0, 0.5]
        )
        if dense:
            truth = np.where(
                rng.uniform(size=truth.shape) < rng.uniform(size=(len(truth), 1, 1)), VOID, truth
            )
        self.truth = truth.astype("i4")

    def train_batches(self, steps_per_epoch, first_epoch=0, first_step=0, context=None):
        import tensorflow as tf

        from larq_groupnet.data.mixing import Mixing, mix

        batch = self.recipe.batch_size
        rng = np.random.RandomState(1)
        order = np.concatenate([rng.permutation(64) for _ in range(40)])
        order = order.reshape(-1, batch)
        if self.order != 1:  # The same sums, in another order.
            order = order[:, np.random.RandomState(self.order).permutation(batch)]
        first = (first_epoch * steps_per_epoch + first_step) * batch
        indices = np.arange(order.size)
        order = order.ravel()
        data = tf.data.Dataset.from_tensor_slices((order[first:], indices[first:])).repeat()
        if context is not None:
            data = data.shard(context.num_input_pipelines, context.input_pipeline_id)
            batch = context.get_per_replica_batch_size(batch)
        images, truth = tf.constant(self.images), tf.constant(self.truth)
        data = data.map(lambda i, n: (tf.gather(images, i), tf.gather(truth, i), n))
        mixing = Mixing(self.recipe.mixup, 0.0)
        if not mixing.mixup:
            return data.map(lambda x, y, n: (x, y)).batch(batch, drop_remainder=True)
        own = lambda x, y, n: (x, y, mixing.own((16, 16), tf.stack([7, n])))  # noqa: E731
        data = data.map(own).batch(batch, drop_remainder=True)
        return data.map(lambda x, y, o: mix(x, y, o, 7))

    def eval_batches(self, role):
        import tensorflow as tf

        data = tf.data.Dataset.from_tensor_slices((self.images[64:], self.truth[64:]))
        return data.batch(self.recipe.batch_size)


def teacher_of(recipe, strategy):

    from larq_groupnet.network.build import build
    from larq_groupnet.training.distillation import Teacher

    with strategy.scope():
        model = build(recipe.model.replace(binary=False), name="teacher")
    rng = np.random.RandomState(5)
    for weight in model.weights:
        if "kernel" in weight.name:
            weight.assign(rng.normal(size=weight.shape, scale=0.1).astype("f4"))
    model.trainable = False
    return Teacher(model, "symmetric")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main(sys.argv[1], json.loads(sys.argv[2]))
