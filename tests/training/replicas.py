"""Trains a tiny network in a process of its own, on one device or on several logical ones.

    python tests/training/replicas.py '[{"folder": "a", "devices": 2, "task": "segmentation"}, ...]'

Each item is a run. With `TF_CONFIG` set this is one worker of several.
"""

import contextlib
import dataclasses
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np

VOID, TRAINED, SIDE = 255, 64, 16


def main(runs):
    from larq_groupnet._stack import quiet

    quiet()
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = max(run.get("devices", 1) for run in runs)
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * devices
    )
    tf.config.experimental.enable_op_determinism()
    if "TF_CONFIG" not in os.environ:  # Optimizing the graphs takes longer than computing them.
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    tf.keras.backend.experimental.enable_tf_random_generator()
    for run in runs:
        tf.keras.backend.clear_session()
        # In float64 a difference of rounding flips no sign, so that binary phases can be compared.
        floats = run.pop("floats", "float64")
        tf.keras.backend.set_floatx(floats)
        tf.keras.mixed_precision.set_global_policy(floats)
        tf.keras.utils.set_random_seed(0)
        train_one(**run)


def train_one(folder, devices=1, stop=None, order=None, **options):
    """With `stop`, a signal comes after so many steps."""
    from runs import signal_after

    from larq_groupnet.errors import Interrupted
    from larq_groupnet.tasks.task import task_of
    from larq_groupnet.training.distribution import is_chief, open_strategy
    from larq_groupnet.training.fit import Session, train

    local = "mirrored" if devices > 1 else "one_device"
    strategy = open_strategy("multi_worker" if "TF_CONFIG" in os.environ else local)
    recipe = recipe_of(**options)
    data = Data(recipe, order)
    with contextlib.ExitStack() as stack:
        scratch = None if is_chief(strategy) else stack.enter_context(tempfile.TemporaryDirectory())
        session = Session(
            data,
            recipe.steps_per_epoch,
            data.eval_batches("validation"),
            Path(folder),
            task_of(recipe.model),
            strategy,
            teacher=teacher_of(recipe, strategy) if recipe.teacher else None,
            scratch_dir=scratch and Path(scratch),
        )
        if stop:
            stack.enter_context(signal_after(stop, signal.SIGTERM))
        try:
            weights = train(recipe, session)
        except Interrupted as error:
            print(error)
            return
    alone = strategy.cluster_resolver is None
    if devices > 1 and alone and not recipe.phases[-1].int8:
        judge_alike(recipe, strategy, weights, data.images[:7])


def judge_alike(recipe, strategy, weights, images):
    """An odd number of images is judged on two replicas as on one."""
    from larq_groupnet.inference.network import predicting
    from larq_groupnet.network.build import build

    config = recipe.model.replace(binary=recipe.phases[-1].binary)
    with strategy.scope():
        several = build(config)
    one = build(config)
    for model in (one, several):
        model.load_weights(weights)
    expected = one(images)
    found = predicting(several)(images)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    print(f"{strategy.num_replicas_in_sync} replicas judge {len(found)} images alike")


def recipe_of(task, steps=4, epochs=(2, 2), phase=None, mixup=0.0, taught=False, int8=0):
    import two_stages  # noqa: F401 (registers the layout)

    from larq_groupnet import GroupNetConfig
    from larq_groupnet.recipes.recipe import Phase, Recipe

    dense = task == "segmentation"
    model = GroupNetConfig(
        layout="two_stages",
        output_stride=4,
        head="fcn32s" if dense else "classifier",
        input_shape=(SIDE, SIDE, 3),
        num_classes=5,
        num_bases=1,
        width=0.0625,
        stem_stride=2,
        **({"dropout": 0.0} if dense else {}),
    )
    phases = [
        Phase(name, number, 1e-3, name == "binary", warmup_epochs=0, schedule="poly")
        for name, number in zip(("tanh", "binary"), epochs, strict=True)
    ]
    phases = tuple(dataclasses.replace(each, **(phase or {})) for each in phases)
    if int8:
        phases += (Phase("int8", int8, 1e-4, True, int8=True, warmup_epochs=0),)
    return Recipe(
        "tiny", model, phases, "none", batch_size=8, steps_per_epoch=steps, seed=3, mixup=mixup,
        teacher="in the test" if taught else "",
    )  # fmt: skip


class Data:
    """Images of noise, and truths that can be learned; of class maps a varying share is void.

    The validation set is 20 images: with batches of 8, the last one is half empty.
    """

    def __init__(self, recipe, order=None):
        self.recipe, self.order, self.batch_size = recipe, order, recipe.batch_size
        rng = np.random.RandomState(0)
        self.images = rng.uniform(-1, 1, (TRAINED + 20, SIDE, SIDE, 3)).astype("f4")
        if recipe.model.head == "classifier":
            truth = np.digitize(self.images.mean((1, 2))[:, 0], [-0.03, 0, 0.03])
        else:
            truth = np.digitize(self.images.mean(-1), [-0.5, 0, 0.5])
            share = rng.uniform(size=(len(truth), 1, 1))
            truth = np.where(rng.uniform(size=truth.shape) < share, VOID, truth)
        self.truth = truth.astype("i4")

    def train_batches(self, steps_per_epoch, first_epoch=0, first_step=0, context=None):
        import tensorflow as tf

        from larq_groupnet.data.mixing import Mixing, mix

        size = self.recipe.batch_size
        rng = np.random.RandomState(1)
        order = np.concatenate([rng.permutation(TRAINED) for _ in range(80)]).reshape(-1, size)
        if self.order is not None:  # The same sums, in another order.
            order = order[:, np.random.RandomState(self.order).permutation(size)]
        first = (first_epoch * steps_per_epoch + first_step) * size
        numbers = np.arange(order.size)
        data = tf.data.Dataset.from_tensor_slices((order.ravel()[first:], numbers[first:]))
        if context is not None:
            data = data.shard(context.num_input_pipelines, context.input_pipeline_id)
            size = context.get_per_replica_batch_size(size)
        images, truth = tf.constant(self.images), tf.constant(self.truth)
        mixing = Mixing(self.recipe.mixup)

        def example(index, number):
            own = mixing.own((SIDE, SIDE), tf.stack([7, number])) if mixing else number
            return tf.gather(images, index), tf.gather(truth, index), own

        data = data.map(example).batch(size, drop_remainder=True)
        if mixing:
            return data.map(lambda image, label, own: mix(image, label, own, 5))
        return data.map(lambda image, label, own: (image, label))

    def eval_batches(self, role):
        import tensorflow as tf

        whole = tf.data.Dataset.from_tensor_slices((self.images[TRAINED:], self.truth[TRAINED:]))
        return whole.batch(self.recipe.batch_size)


def teacher_of(recipe, strategy):
    from larq_groupnet.network.build import build
    from larq_groupnet.training.distillation import Teacher

    with strategy.scope():
        model = build(recipe.model.replace(binary=False), name="teacher")
    model.trainable = False
    return Teacher(model, "symmetric")


if __name__ == "__main__":
    sys.path[:0] = map(str, Path(__file__).resolve().parents[1:3])
    main(json.loads(sys.argv[1]))
