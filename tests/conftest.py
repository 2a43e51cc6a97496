"""Shared fixtures."""

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from pathlib import Path

import pytest

import larq_groupnet  # noqa: F401 (before TensorFlow: it chooses legacy Keras)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A folder with `digit_scenes` in it, written once for the whole session."""
    from larq_groupnet.data.pipeline import prepare

    folder = tmp_path_factory.mktemp("data")
    prepare("digit_scenes", folder)
    return folder


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """A folder with the dataset `digits` in it."""
    from larq_groupnet.data.pipeline import prepare

    folder = tmp_path_factory.mktemp("digits")
    prepare("digits", folder)
    return folder


@pytest.fixture
def float64():
    """Keras computes in float64, so that it can be compared to the last digits."""
    import tensorflow as tf

    before = tf.keras.backend.floatx()
    tf.keras.backend.set_floatx("float64")
    # A policy that was once set hides floatx from the layers.
    tf.keras.mixed_precision.set_global_policy("float64")
    yield
    tf.keras.backend.set_floatx(before)
    tf.keras.mixed_precision.set_global_policy(before)
    tf.keras.backend.clear_session()
