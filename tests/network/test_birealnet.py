"""`birealnet18` is Bi-Real Net as larq-zoo publishes it, layer by layer."""

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from reference import random_images, randomise

from larq_groupnet import BiRealNet18, complexity
from larq_groupnet.deploy.audit import audit
from larq_groupnet.deploy.convert import ConversionWarning, convert
from larq_groupnet.deploy.fold import fold
from larq_groupnet.family import get_config

literature = pytest.importorskip("larq_zoo.literature.birealnet")

SHAPE = (96, 96, 3)
KINDS = (lq.layers.QuantConv2D, tf.keras.layers.Conv2D, tf.keras.layers.BatchNormalization)
KINDS += (tf.keras.layers.AveragePooling2D, tf.keras.layers.MaxPool2D, tf.keras.layers.Add)
KINDS += (tf.keras.layers.Dense, tf.keras.layers.Activation)


@pytest.fixture(scope="module")
def published():
    """Larq-zoo's network with eight channels after the stem, and random parameters."""
    model = literature.BiRealNetFactory(
        filters=8, weights=None, include_top=True, num_classes=5, input_shape=SHAPE
    ).build()
    randomise(model.weights)
    return model


@pytest.fixture(scope="module")
def ours(published):
    # Keras' own epsilon, as larq-zoo has it.
    model = BiRealNet18(input_shape=SHAPE, width=0.125, num_classes=5, batch_norm_epsilon=1e-3)
    model.set_weights(published.get_weights())
    return model


def layers_of(model):
    """Its layers but for what does nothing (input, mean of one base) and the global average."""
    found = [layer for layer in model.layers if isinstance(layer, KINDS)]
    return [layer for layer in found if layer.output_shape[1:3] != (1, 1)]


def test_layers_are_those_of_larq_zoo(published, ours):
    pairs = list(zip(layers_of(published), layers_of(ours), strict=True))
    for theirs, own in pairs:
        assert type(theirs) is type(own), (theirs.name, own.name)
        # A 1x1 kernel pads nothing.
        pads = () if getattr(own, "kernel_size", None) == (1, 1) else ("padding", "pad_values")
        for option in ("kernel_size", "strides", "pool_size", "use_bias", *pads):
            assert getattr(theirs, option, None) == getattr(own, option, None), own.name
    images = random_images(2, *SHAPE).astype("float32")
    both = [
        tf.keras.Model(model.input, [layer.output for layer in layers])(images)
        for model, layers in zip((published, ours), zip(*pairs, strict=True), strict=True)
    ]
    for (_, own), expected, output in zip(pairs, *both, strict=True):
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-4, err_msg=own.name)
    assert np.std(both[1][-1]) > 0


def test_counts_are_those_of_larq_zoo(published):
    config = get_config("birealnet18", input_shape=SHAPE, width=0.125, num_classes=5)
    total, profile = complexity(config).total, lq.models.ModelProfile(published)
    assert total.params == {b: profile.weight_count(b) for b in profile.unique_param_bidtwidths}
    assert total.macs == {b: profile.op_count("mac", b) for b in profile.unique_op_precisions}


def test_full_network_has_the_published_parameters():
    """11,699,112 by larq-zoo's table, which counts a moving mean and variance per channel too."""
    total = complexity(get_config("birealnet18")).total
    channels = 64 + 16 // 4 * (64 + 128 + 256 + 512) + 128 + 256 + 512
    assert sum(total.params.values()) + 2 * channels == 11_699_112


def test_folded_and_converted_it_computes_the_same(ours, tmp_path):
    """`convert` verifies the file against the model before it writes it."""
    images = random_images(2, *SHAPE).astype("float32")
    folded = fold(ours)
    np.testing.assert_allclose(folded(images), ours(images), rtol=1e-4, atol=1e-5)
    with pytest.warns(ConversionWarning, match="zero padding"):
        file = convert(ours, tmp_path / "birealnet18.tflite")
    assert {(f.severity, f.cause.partition(":")[0]) for f in audit(ours, file)} == {
        ("slow", "zero padding")
    }


def test_padded_with_ones_nothing_is_slow():
    options = {"input_shape": SHAPE, "width": 0.125, "stage_blocks": (1, 1, 1, 1)}
    assert audit(BiRealNet18(**options, padding="same")) == []
