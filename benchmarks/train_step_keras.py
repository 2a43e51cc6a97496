"""The contestants of `train_step.py` that run on TensorFlow."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from larq_groupnet._stack import quiet  # noqa: E402

quiet()

import larq as lq  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from train_step_worker import serve  # noqa: E402

layers = tf.keras.layers
SHAPE = (64, 64, 3)
CLASSES = 1000


def batch(size):
    """Noise, the same for all contestants."""
    rng = np.random.RandomState(0)
    return rng.normal(size=(size, *SHAPE)).astype("f4"), rng.randint(0, CLASSES, size)


def network(bases):
    """The library's network."""
    from larq_groupnet.family import get_config
    from larq_groupnet.network.build import build

    config = get_config(
        "groupnet_resnet18", input_shape=SHAPE, num_bases=bases, stem_stride=4, output_stride=32
    )
    return config, build(config)


def library(bases, size, precision):
    """The step of `train.py`."""
    from larq_groupnet.recipes.recipe import Phase
    from larq_groupnet.tasks.task import task_of
    from larq_groupnet.training.fit import Session, compile_model

    tf.config.experimental.enable_op_determinism()
    tf.keras.mixed_precision.set_global_policy(precision)
    config, model = network(bases)
    data = tf.data.Dataset.from_tensors(batch(size)).repeat()
    session = Session(None, 1, data, Path(), task_of(config))
    compile_model(model, session, Phase("binary", 1, 1e-3, True))
    function, iterator = model.make_train_function(), iter(data)
    return lambda: function(iterator), lambda: _operations(function, iterator)


def floor(bases, size, precision):
    """Only the convolutions and their two gradients, with the cheapest padding."""
    _, model = network(bases)
    convolutions = []
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D):
            x, y = (
                tf.Variable(tf.random.normal((size, *shape[1:])))
                for shape in (layer.input_shape, layer.output_shape)
            )
            convolutions.append((x, tf.Variable(layer.kernel), y, layer.strides[0]))

    @tf.function
    def step():
        done = []
        for x, kernel, y, stride in convolutions:
            options = {"strides": [1, stride, stride, 1], "padding": "SAME"}
            x, kernel, y = x.value(), kernel.value(), y.value()
            done += [
                tf.raw_ops.Conv2D(input=x, filter=kernel, **options),
                tf.raw_ops.Conv2DBackpropInput(
                    input_sizes=x.shape, filter=kernel, out_backprop=y, **options
                ),
                tf.raw_ops.Conv2DBackpropFilter(
                    input=x, filter_sizes=kernel.shape, out_backprop=y, **options
                ),
            ]
        # TensorFlow would prune outputs that nothing reads.
        return tf.add_n([tensor[0, 0, 0, 0] for tensor in done])

    return step, lambda: _operations(step)


def larq(bases, size, precision):
    """A model written as in the Larq tutorials."""
    model = plain(bases)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    images, labels = batch(size)
    iterator = iter(tf.data.Dataset.from_tensors((images, labels)))
    return (
        lambda: model.train_on_batch(images, labels),
        lambda: _operations(model.train_function, iterator),
    )


class Sum(layers.Layer):
    """Sum of tensors with learned factors."""

    def build(self, shapes):
        """One factor per tensor."""
        start = tf.keras.initializers.Constant(1 / len(shapes))
        self.scales = self.add_weight("scales", (len(shapes),), initializer=start)

    def call(self, inputs):
        """Adds up."""
        return tf.add_n([self.scales[k] * x for k, x in enumerate(inputs)])


class Gate(layers.Layer):
    """The inputs of the next block of every base."""

    def build(self, shapes):
        """One gate."""
        self.theta = self.add_weight("theta", (), initializer="zeros")

    def call(self, inputs):
        """Mixes."""
        x, *own = inputs
        gate = tf.sigmoid(self.theta)
        return [gate * o + (1 - gate) * x for o in own]


def plain(bases):
    """The same network built without the library."""
    quantized = {
        "input_quantizer": "ste_sign",
        "kernel_quantizer": "ste_sign",
        "kernel_constraint": "weight_clip",
        "padding": "same",
        "pad_values": 1.0,
        "use_bias": False,
    }

    def unit(x, filters, side, stride=1, relu=True):
        x = lq.layers.QuantConv2D(filters, side, stride, **quantized)(x)
        x = layers.ReLU()(x) if relu else x
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)

    def block(x, filters, stride):
        narrow = x.shape[-1] != filters
        shortcut = unit(x, filters, 1, stride, relu=False) if narrow else x
        x = layers.add([unit(x, filters, 3, stride), shortcut])
        return layers.add([unit(x, filters, 3), x])

    image = layers.Input(SHAPE)
    x = layers.Conv2D(64, 7, 2, "same", use_bias=False)(image)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(layers.MaxPool2D(3, 2, "same")(x))
    own = []
    for number, filters in enumerate((64, 64, 128, 128, 256, 256, 512, 512)):
        streams = Gate()([x, *own]) if own else [x] * bases
        stride = 2 if number in (2, 4, 6) else 1
        own = [block(stream, filters, stride) for stream in streams]
        x = Sum()(own)
    x = layers.Dense(CLASSES, "softmax")(layers.GlobalAvgPool2D()(x))
    return tf.keras.Model(image, x)


def _operations(function, *arguments):
    return len(function.get_concrete_function(*arguments).graph.get_operations())


if __name__ == "__main__":
    name, bases, size, precision = sys.argv[1:]
    contestants = {"library": library, "floor": floor, "larq": larq}
    serve(lambda: contestants[name](int(bases), int(size), precision))
