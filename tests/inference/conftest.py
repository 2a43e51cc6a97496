"""Tiny untrained networks, as run folders and as a converted file."""

import json

import numpy as np
import pytest

from larq_groupnet import GroupNetConfig
from larq_groupnet.training import Phase, Recipe

CLASSES = ["background", "cat", "dog", "cat and dog"]


@pytest.fixture(scope="session")
def dense_run(tmp_path_factory):
    """A run folder of a network that classifies pixels."""
    return write_run(tmp_path_factory.mktemp("runs") / "dense", "fcn32s", (32, 32, 3))


@pytest.fixture(scope="session")
def dense_file(dense_run):
    """The converted file of `dense_run`, outside the run's folder."""
    return write_file(dense_run)


@pytest.fixture(scope="session")
def label_run(tmp_path_factory):
    """A run folder of a network that classifies grey images."""
    return write_run(tmp_path_factory.mktemp("runs") / "label", "classifier", (24, 24, 1))


def write_run(folder, head, shape):
    import tensorflow as tf

    from larq_groupnet import build

    config = GroupNetConfig(
        head=head,
        input_shape=shape,
        num_classes=len(CLASSES),
        layout="two_stages",
        num_bases=1,
        width=0.125,
        output_stride=8,
    )
    folder.mkdir()
    recipe = Recipe(
        "tiny",
        config,
        (Phase("binary", 1, 1e-3, True),),
        "nowhere",
        normalisation="imagenet" if head == "fcn32s" else "symmetric",
        central_crop=1.0 if head == "fcn32s" else 0.75,
        eval_scales=(1.0,),
    )
    (folder / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    kind = "iou" if head == "fcn32s" else "recall"
    results = {"keras": {kind: dict.fromkeys(CLASSES, 0.5)}}
    (folder / "results.json").write_text(json.dumps(results))
    tf.keras.utils.set_random_seed(0)
    model = build(config)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "kernel" not in weight.name:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    model.save_weights(folder / "binary.h5")
    return folder


def write_file(run):
    from larq_groupnet.deploy import convert
    from larq_groupnet.runs.saved import describe_run, load_run

    description = describe_run(run, "nowhere")
    return convert(load_run(run), run.parent / "file.tflite", description=description)
