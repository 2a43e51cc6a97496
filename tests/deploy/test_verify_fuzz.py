"""Random networks: no false alarm, and every fault that is built in is found.

`FUZZ_NETWORKS=1000 pytest tests/deploy/test_verify_fuzz.py` goes further than every run does, with
one fault and one image a network; `FUZZ_FIRST=500` begins with another seed.
"""

import os

import numpy as np
import pytest
import tensorflow as tf
from random_networks import random_config

from larq_groupnet.deploy import VerificationError, fold, verify
from larq_groupnet.deploy.export import to_tflite
from larq_groupnet.deploy.verify import OUTPUT_TOLERANCE
from larq_groupnet.network.build import build
from larq_groupnet.network.layers import SoftGate

NETWORKS = int(os.environ.get("FUZZ_NETWORKS", 0))
FIRST = int(os.environ.get("FUZZ_FIRST", 0))
SEEDS = range(FIRST, FIRST + NETWORKS) or (139, 810)
"""By default a trained classifier of several bases and a fresh one of one, with every fault."""
FEW = 10
"""Networks of which each gets every fault."""


def images_for(model, rng, count):
    return rng.randn(count, *model.input_shape[1:]).astype("f4")


def train(model, rng, steps):
    """A few steps on noise, so that statistics, gates and scales are no longer round numbers."""
    optimizer = tf.keras.optimizers.legacy.Adam(1e-2)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            output = model(images_for(model, rng, 4), training=True)
            target = rng.standard_normal(output.shape).astype("f4")
            loss = tf.reduce_mean(tf.square(output - target))
        gradients = tape.gradient(loss, model.trainable_weights)
        optimizer.apply_gradients(
            (g, w) for g, w in zip(gradients, model.trainable_weights, strict=True) if g is not None
        )


def binary_layers(model):
    return [x for x in model.layers if getattr(x, "kernel_quantizer", None) is not None]


def flipped_kernel(model, rng):
    """One output channel of one binary kernel has the opposite signs."""
    layer = binary_layers(model)[rng.randint(len(binary_layers(model)))]
    kernel = layer.kernel.numpy()
    kernel[..., rng.randint(kernel.shape[-1])] *= -1
    layer.kernel.assign(kernel)


def shifted_stem(model, rng):
    """The first normalisation adds half a standard deviation."""
    norm = model.get_layer("stem_bn")
    norm.beta.assign_add(0.5 * tf.ones_like(norm.beta))


def scaled_output(model, rng):
    """Every weight of the last layer that has any is 1.1 times as large."""
    layer = [x for x in model.layers if x.weights and "_base" not in x.name][-1]
    layer.set_weights([1.1 * value for value in layer.get_weights()])


def gates(model):
    """Those of several bases: the aggregate of one base is the base, times a scale."""
    return [x for x in model.layers if isinstance(x, SoftGate) and len(x.input) > 2]


def opened_gate(model, rng):
    """A gate lets through another share."""
    gate = gates(model)[0]
    gate.set_weights([value + 3.0 for value in gate.get_weights()])


FAULTS = (flipped_kernel, shifted_stem, scaled_output, opened_gate)


def has(fault, model):
    if fault is flipped_kernel:
        return bool(binary_layers(model))
    if fault is scaled_output:  # Without a head the last layer may be a gate, which changes little.
        return model.output_names[0] in ("logits", "probabilities")
    if fault is opened_gate:
        return bool(gates(model))
    return True


@pytest.mark.parametrize("seed", SEEDS)
def test_random_network_is_verified_and_its_faults_are_found(seed):
    rng = np.random.RandomState(seed)
    tf.keras.backend.clear_session()  # Or a thousand networks need 80 GB.
    tf.keras.utils.set_random_seed(seed)
    config = random_config(rng)
    model = build(config)
    train(model, rng, steps=seed % 3)
    content = to_tflite(fold(model))
    images = images_for(model, rng, 3 if NETWORKS <= FEW else 1)
    assert verify(model, content, images).verdict in ("equal", "rounding"), config
    faults = [fault for fault in FAULTS if has(fault, model)]
    one = images[:1]
    right, output = model.get_weights(), model(one).numpy()
    for fault in faults if NETWORKS <= FEW else [faults[seed % len(faults)]]:
        fault(model, rng)
        # Behind a dead ReLU, a saturated softmax or in one real layer of many it changes little.
        if np.abs(model(one) - output).max() > 2 * OUTPUT_TOLERANCE * np.abs(output).max():
            with pytest.raises(VerificationError):
                verify(model, content, one)
        model.set_weights(right)
