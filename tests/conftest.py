"""Shared fixtures."""

import contextlib
import gc
import os
import resource
import sys

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from pathlib import Path

import pytest
import two_stages  # noqa: F401 (registers a layout)

import larq_groupnet  # noqa: F401 (before TensorFlow: it chooses legacy Keras)

gc.disable()  # Until tests begin: imported modules, TensorFlow above all, stay alive.

ROOT = Path(__file__).resolve().parent.parent

CAPPED = "ONEDNN_MAX_CPU_ISA" in os.environ
"""True if oneDNN was told to use fewer instructions than the processor has."""

NO_BFLOAT16 = "TensorFlow asks the processor for bfloat16; oneDNN was told that it has none"

needs_bfloat16 = pytest.mark.skipif(CAPPED, reason=NO_BFLOAT16)

KINDS = {
    "process": (
        "smoke/", "legacy/", "test_train.py", "data/test_voc.py",
        "training/test_distribution.py", "training/test_guards.py", "training/test_int8_phase.py",
        "training/test_replicas.py", "training/test_resume.py", "tuning/test_search.py",
    ),
    "unit": (
        "recipes/", "tasks/", "tuning/", "test_registries.py", "data/test_augment.py",
        "data/test_images.py", "data/test_masks.py", "data/test_mixing.py",
        "network/test_config.py", "network/test_given.py", "network/test_names.py",
        "weights/test_download.py", "deploy/test_audit.py", "inference/test_results.py",
    ),
}  # fmt: skip
"""Marker -> path prefixes of its tests. All other tests are "network"."""

QUICK = (
    "deploy/test_verify.py::test_right_file",
    "deploy/test_fold.py::test_nested_model_is_folded_as_if_it_stood_outside",
    "deploy/test_hostile.py::test_flatbuffer_with_any_byte_changed_is_audited_or_refused",
    "inference/test_full_image.py",
    "test_cli.py",
    "test_files.py",
    "test_run_folder.py",
    "network/test_identities.py::test_order_of_the_bases_is_free",
    "training/test_fit.py::test_first_layer_that_is_not_finite_is_found",
    "weights/test_packed.py::test_release_file_has_one_bit_per_binary_weight",
)
"""One test of each module that has no unit tests."""


def pytest_collection_modifyitems(items):
    """Marks each test by its file. Long files come first, so that no worker finishes late."""
    for item in items:
        path = item.nodeid.removeprefix("tests/")
        kinds = [kind for kind, starts in KINDS.items() if path.startswith(starts)]
        item.add_marker((kinds or ["network"])[0])
        if path.startswith(QUICK):
            item.add_marker("quick")
    items.sort(key=lambda item: item.get_closest_marker("process") is None)


def pytest_collection_finish():
    """Collects garbage less often, and never scans TensorFlow's half million objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(7_000, 10, 10)
    gc.enable()


@pytest.fixture(autouse=True)
def _same_weights_every_time():
    """In one of forty random networks of few channels, a step leaves a gate unchanged."""
    if "tensorflow" in sys.modules:
        from tensorflow import keras

        keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def _determinism_ends_with_its_test():
    """A command run in a test's process switches it on, and XLA then refuses max-pools."""
    yield
    if "tensorflow" in sys.modules:
        from tensorflow.python.framework import config

        config.disable_op_determinism()


def prepared(dataset, tmp_path_factory):
    """A folder with a dataset, shared by all pytest workers; `prepare` makes them take turns."""
    from larq_groupnet.data.pipeline import prepare

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder = folder / f"data-{dataset}"
    folder.mkdir(exist_ok=True)
    prepare(dataset, folder)
    return folder


SCENES = {"train": (160, 1), "validation": (20, 2), "test": (400, 3)}
"""Of `digit_scenes` in `data_dir`: split -> (number of scenes, seed). All those for testing."""


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A folder with the dataset `digit_scenes`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("larq_groupnet.data.digit_scenes.SPLITS", SCENES)
        return prepared("digit_scenes", tmp_path_factory)


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """A folder with the dataset `digits`."""
    return prepared("digits", tmp_path_factory)


@contextlib.contextmanager
def eagerly():
    """Keras runs eagerly, for tests that need no graph: tracing takes longer than a step."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


@pytest.fixture
def eager():
    """Keras runs `eagerly` for the whole test."""
    with eagerly():
        yield


@pytest.fixture
def largest_file():
    """Limits the bytes of a file, so that writing more fails like on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def float64():
    """Keras computes in float64, so that results can be compared to the last digits."""
    import tensorflow as tf

    before = tf.keras.backend.floatx()
    tf.keras.backend.set_floatx("float64")
    # Once a policy is set, layers ignore floatx.
    tf.keras.mixed_precision.set_global_policy("float64")
    yield
    tf.keras.backend.set_floatx(before)
    tf.keras.mixed_precision.set_global_policy(before)
    tf.keras.backend.clear_session()
