"""Data extensions from outside the package: files of `tests/extending/`, shown in the docs."""

import runpy

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT

from larq_groupnet import build
from larq_groupnet.data import AUGMENTATIONS, DatasetError, dataset
from larq_groupnet.data.pipeline import prepare
from larq_groupnet.errors import RecipeError
from larq_groupnet.recipes.choose import adapted
from larq_groupnet.recipes.load import load_recipe
from larq_groupnet.recipes.overrides import override
from larq_groupnet.runs.saved import pipeline_of

FOLDER = ROOT / "tests" / "extending"
TINY = (("width", "0.0625"), ("layout", "two_stages"), ("output_stride", "2"), ("num_bases", "1"))
SIZE = ("input_shape", "(24, 24, 3)")


@pytest.fixture
def extended():
    """Runs files of `tests/extending/`, and removes what they register afterwards."""
    before = [(registry, set(registry)) for registry in (dataset, AUGMENTATIONS)]
    for name in ("dataset", "augmentation"):
        runpy.run_path(str(FOLDER / f"{name}.py"))
    yield
    for registry, names in before:
        for name in set(registry) - names:
            registry.remove(name)


@pytest.mark.usefixtures("extended", "eager")
def test_dataset_and_an_augmentation_from_outside_train(tmp_path):
    name = "shapes?side=24"
    recipe, _ = adapted(load_recipe("groupnet_resnet18"), name, tmp_path, [SIZE])
    changes = [
        *TINY,
        SIZE,
        ("augmentation", "night"),
        ("colour_jitter", "0.9"),
        ("batch_size", "8"),
    ]
    recipe = override(recipe, changes)
    assert recipe.model.num_classes == 2
    data = pipeline_of(recipe, prepare(name, tmp_path))
    assert data.dataset.classes == ("disc", "square")
    assert dict(data.dataset.sizes) == {"train": 80, "validation": 10, "test": 10}
    model = build(recipe.model)
    model.compile("adam", "sparse_categorical_crossentropy")
    history = model.fit(data.train_batches(2), steps_per_epoch=2, verbose=0)
    assert np.isfinite(history.history["loss"][0])

    (images, _), (plain, _) = (
        next(iter(data.train_batches(2))),
        next(iter(data.eval_batches("test"))),
    )
    assert images.shape == (8, 24, 24, 3)
    assert tf.reduce_mean(images) < tf.reduce_mean(plain), "it is darker at night"


def test_unregistered_weights_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="unknown dataset 'shapes'"):
        prepare("shapes", tmp_path)
    with pytest.raises(RecipeError, match="augmentation"):
        override(load_recipe("groupnet_resnet18"), [("augmentation", "night")])
