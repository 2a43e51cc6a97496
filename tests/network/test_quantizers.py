"""The sign of a training step against Larq's own."""

import larq as lq
import numpy as np
import pytest
import tensorflow as tf

from larq_groupnet import GroupNetConfig, build
from larq_groupnet.network.quantizers import CLASSES, FastSteSign, of_clipped_kernels, of_inputs

# Around what its gradient is asked, as close as float32 and bfloat16 can be to it.
EDGES = [sign * x for sign in (1, -1) for x in (0, 1e-30, 0.5, 1, 1 + 2**-23, 1 + 2**-7, 1.5)]


def outcome(quantizer, x):
    """Value and gradient."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = quantizer(x)
    dy = tf.cast(tf.range(1, len(x) + 1), x.dtype)
    return y.numpy(), tape.gradient(y, x, dy).numpy()


@pytest.mark.parametrize("clip_value", [1.0, 0.5, None])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_values_and_gradients_are_larqs(dtype, clip_value):
    x = tf.cast(tf.constant(EDGES), dtype)
    options = {"clip_value": clip_value, "dtype": dtype}
    ours, theirs = FastSteSign(**options), lq.quantizers.SteSign(**options)
    for received, expected in zip(outcome(ours, x), outcome(theirs, x), strict=True):
        np.testing.assert_array_equal(received, expected)


def test_flip_ratio_is_counted_as_larq_does():
    sign = FastSteSign(metrics=["flip_ratio"])
    for values in ([1.0, -1.0], [-1.0, -1.0]):
        sign(tf.constant(values))
    assert sign.flip_ratio.result().numpy() > 0


@pytest.mark.usefixtures("eager")
def test_no_clipped_kernel_is_outside_of_where_the_gradient_passes():
    """So that the kernels' quantizer, which does not ask, is `ste_sign` exactly."""
    model = build(
        GroupNetConfig(
            layout="two_stages", output_stride=4, input_shape=(32, 32, 1), num_bases=2, width=0.0625
        )
    )
    model.compile(tf.keras.optimizers.SGD(1000.0), "sparse_categorical_crossentropy")
    binary = [x for x in model.layers if getattr(x, "kernel_quantizer", None)]
    kernels = [layer.kernel.latent_variable for layer in binary]
    assert len(kernels) == 2 * (4 + 1)
    assert max(np.abs(kernel).max() for kernel in kernels) < 1
    model.fit(tf.random.normal((4, 32, 32, 1)), tf.constant([0, 1, 2, 3]), verbose=0)
    assert max(np.abs(kernel).max() for kernel in kernels) == 1
    for layer in binary:
        assert layer.kernel_quantizer.clip_value is None
        assert layer.input_quantizer.clip_value == 1


def test_other_quantizers_are_left_alone():
    own = lq.quantizers.SteSign(clip_value=1.2)
    assert of_inputs("approx_sign") == of_clipped_kernels("approx_sign") == "approx_sign"
    assert of_inputs(own) is of_clipped_kernels(own) is own


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_table_says_what_a_quantizer_computes(kind):
    x = np.random.RandomState(0).normal(size=(3, 3, 8, 8)).astype("f4")
    values, of_multiple = kind()(x).numpy(), kind()(7 * x).numpy()
    facts = CLASSES[kind]
    assert facts.scale_free == np.array_equal(values, of_multiple)
    assert facts.signs == (set(np.unique(values)) == {-1.0, 1.0})
    levels = len(
        np.unique(np.abs(values).reshape(-1, 8)[:, 0] * np.sign(values.reshape(-1, 8)[:, 0]))
    )
    assert levels <= 2**facts.bits
