"""A network with more bases than its weights computes the same, and its new bases learn."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from reference import randomise
from tiny import RECIPE

from larq_groupnet import GroupNetConfig
from larq_groupnet.network.build import build
from larq_groupnet.runs.start import check_start
from larq_groupnet.training import RecipeError
from larq_groupnet.training.start import load_start
from larq_groupnet.weights.more_bases import grow, may_grow

CONFIG = GroupNetConfig(
    layout="two_stages", input_shape=(16, 16, 3), num_classes=4, num_bases=2, width=0.0625,
    stage_blocks=(2, 1), stem_stride=1, output_stride=2,
)  # fmt: skip


@pytest.mark.parametrize(
    ("few", "many", "options"),
    [
        (1, 3, {"decomposition": "group", "blocks_per_group": 2}),
        ((1, 2), (1, 4), {"gate": "base", "head": "deeplabv3"}),
    ],
)
def test_more_bases_compute_the_same(few, many, options):
    theirs = CONFIG.replace(num_bases=few, **options)
    ours = theirs.replace(num_bases=many)
    assert may_grow(theirs, ours) and not may_grow(ours, theirs) and not may_grow(ours, ours)
    source, target = build(theirs), build(ours)
    randomise(source.weights)
    grow(source, target, seed=0)
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("f4")
    np.testing.assert_array_equal(source(images), target(images))


def test_new_bases_differ_and_learn():
    source, target = build(CONFIG), build(CONFIG.replace(num_bases=4))
    grow(source, target, seed=0)
    kernels = [
        target.get_layer(f"stage2_block1_base{base}_conv1").kernel.numpy() for base in (2, 3, 4)
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        share = np.mean(np.sign(kernels[one]) != np.sign(kernels[other]))
        assert 0.05 < share < 0.25
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(target(tf.random.normal((4, 16, 16, 3)), training=True)))
    scales = target.get_layer("stage2_block1_aggregate").scales
    assert np.all(tape.gradient(loss, scales).numpy() != 0)


def test_means_and_fewer_bases_do_not_grow():
    for change in ({"aggregation": "mean"}, {"first_base_sums": True}):
        theirs = CONFIG.replace(**change)
        assert not may_grow(theirs, theirs.replace(num_bases=3))


def test_training_starts_from_a_run_of_fewer_bases(tmp_path):
    few = build(RECIPE.model.replace(num_bases=1))
    randomise(few.weights)
    recipe = dataclasses.replace(RECIPE, model=RECIPE.model.replace(num_bases=1))
    (tmp_path / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    few.save_weights(tmp_path / "binary.h5")
    more = dataclasses.replace(
        RECIPE, model=RECIPE.model.replace(num_bases=3), start_from=str(tmp_path)
    )
    check_start(more)
    images = np.random.default_rng(0).normal(size=(2, *RECIPE.model.input_shape)).astype("f4")
    np.testing.assert_array_equal(load_start(more)(images), few(images))
    (tmp_path / "recipe.json").write_text(json.dumps(more.to_dict()))
    with pytest.raises(RecipeError, match="num_bases: 3 in the file, 2 in the model"):
        check_start(dataclasses.replace(more, model=RECIPE.model.replace(num_bases=2)))
