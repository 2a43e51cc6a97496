"""The phases hand on weights, and a run that diverges says so."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT

from larq_groupnet import build, copy_weights
from larq_groupnet.training import load_recipe, override
from larq_groupnet.training.fit import TrainingError, train

RECIPE = override(
    load_recipe("groupnet_dsp", ROOT / "zoo"),
    [("num_bases", "1"), ("width", "0.0625"), ("input_shape", "(16, 16, 3)"), ("epochs", "1")],
)


def batches():
    rng = np.random.RandomState(0)
    images = rng.uniform(-1, 1, (4, 16, 16, 3)).astype("float32")
    masks = rng.randint(0, 11, (4, 16, 16))
    return tf.data.Dataset.from_tensors((images, masks))


def test_each_phase_starts_from_the_best_weights_of_the_one_before(tmp_path):
    """With a learning rate of almost nothing, phase 2 ends where phase 1 did."""
    phases = tuple(dataclasses.replace(p, learning_rate=1e-30) for p in RECIPE.phases)
    tf.keras.utils.set_random_seed(0)
    recipe = dataclasses.replace(RECIPE, phases=phases)
    model = train(recipe, batches().repeat(), 1, batches(), tmp_path)
    first = build(RECIPE.model.replace(binary=False), weights=tmp_path / "tanh.h5")
    kernels = [name for name in (w.name for w in model.weights) if name.endswith("kernel:0")]
    assert len(kernels) == 16 + 3 + 3
    values = [{w.name: w.numpy() for w in m.weights} for m in (model, first)]
    for name in kernels:
        np.testing.assert_array_equal(values[0][name], values[1][name])


def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path):
    phases = tuple(dataclasses.replace(p, learning_rate=1e38) for p in RECIPE.phases)
    recipe = dataclasses.replace(RECIPE, phases=phases)
    with pytest.raises(TrainingError, match=r"phase 'tanh': .* in epoch 1\. Lower tanh\.learning"):
        train(recipe, batches().repeat(), 5, batches(), tmp_path)


def test_weights_of_another_network_are_not_copied():
    one, two = (build(RECIPE.model.replace(num_bases=k)) for k in (1, 2))
    with pytest.raises(ValueError, match="differences in: .*base2_conv1"):
        copy_weights(one, two)


@pytest.mark.parametrize("text", [None, "not weights"])
def test_a_bad_weights_file_is_named(tmp_path, text):
    path = tmp_path / "weights.h5"
    if text:
        path.write_text(text)
    with pytest.raises((FileNotFoundError, ValueError), match="weights.h5"):
        build(RECIPE.model, weights=path)
