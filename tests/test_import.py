"""Importing is cheap, and one sentence names an unsupported stack."""

import os
import subprocess
import sys
from importlib import metadata

import pytest
from conftest import ROOT

from larq_groupnet import _stack


def run_python(code, **environment):
    clean = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.parametrize(
    "code",
    [
        "import larq_groupnet, larq_groupnet.training, larq_groupnet.data",
        "import runpy\nsys.argv = ['train.py', '--help']\n"
        "try: runpy.run_path('train.py', run_name='__main__')\nexcept SystemExit: pass",
        "import runpy\nsys.argv = ['larq-groupnet', 'summary', 'groupnet_dsp']\n"
        "try: runpy.run_module('larq_groupnet', run_name='__main__')\nexcept SystemExit: pass",
        "import runpy\nsys.argv = ['larq-groupnet', 'summary', 'resnet18', '--dataset=cifar10']\n"
        "try: runpy.run_module('larq_groupnet', run_name='__main__')\nexcept SystemExit: pass",
        "import runpy\nsys.argv = ['', 'summary', 'groupnet_dsp', '--dataset=camvid']\n"
        "try: runpy.run_module('larq_groupnet', run_name='__main__')\nexcept SystemExit: pass",
    ],
)
def test_nothing_large_is_imported(code):
    large = "{'tensorflow', 'tensorflow_datasets', 'larq', 'keras', 'matplotlib', 'sklearn'}"
    found = run_python(f"import sys\n{code}\nprint({large} & set(sys.modules))")
    assert found.stdout.splitlines()[-1] == "set()"


def test_command_builds_a_model_without_chatter_and_collects_garbage_but_not_among_tensorflow():
    found = run_python(
        "import gc, larq_groupnet as g\nfrom larq_groupnet import _stack\n_stack.quiet()\n"
        "g.GroupNetDSP(input_shape=(32, 32, 3), num_bases=1, width=0.0625, num_classes=2)\n"
        "print(gc.isenabled(), gc.get_freeze_count() > 100_000)"
    )
    assert (found.stdout, found.stderr) == ("True True\n", "")


def test_failing_import_of_tensorflow_shows_what_it_said(tmp_path):
    broken = tmp_path / "tensorflow.py"
    broken.write_text("import os\nos.write(2, b'said before')\nraise ImportError('broken')\n")
    found = run_python(
        "from larq_groupnet import _stack\n_stack.quiet()\n"
        "try: import tensorflow\nexcept ImportError as error: print(error)\n"
        "import gc; print(gc.isenabled())",
        PYTHONPATH=str(tmp_path),
    )
    assert (found.stdout, found.stderr) == ("broken\nTrue\n", "said before")


KNOWN = """
for name in ("digits", "digit_scenes", "voc2012", "voc2012_aug"):
    tensorflow_datasets.builder_cls(name)
"""


def test_tfds_knows_our_datasets_whichever_is_imported_first(tensorflow_first):
    assert tensorflow_first[2] == "known"
    run_python(f"import tensorflow_datasets, larq_groupnet{KNOWN}")


def test_stock_tuner_of_keras_tuner_takes_a_model_of_tf_keras(tmp_path):
    import keras_tuner
    import numpy as np
    import tensorflow as tf

    def build(hp):
        layers = [tf.keras.layers.Dense(hp.Int("units", 1, 4), input_shape=(3,))]
        model = tf.keras.Sequential(layers)
        model.compile("sgd", "mse", run_eagerly=True)
        return model

    tuner = keras_tuner.Hyperband(build, "val_loss", max_epochs=2, directory=tmp_path)
    x, y = np.zeros((4, 3)), np.zeros(4)
    tuner.search(x, y, validation_data=(x, y), verbose=0)
    assert len(tuner.oracle.trials) == 2
    assert {trial.status for trial in tuner.oracle.trials.values()} == {"COMPLETED"}


CLOCK = "import time; t = time.process_time(); import {}; print(time.process_time() - t)\n"


def test_keras_3_in_the_process_is_named_in_one_line():
    code = "import tensorflow\ntry: import larq_groupnet\nexcept ImportError as error: print(error)"
    (line,) = run_python(code).stdout.splitlines()
    assert "Received: TensorFlow already imported with Keras 3. Restart Python" in line


@pytest.fixture(scope="module")
def tensorflow_first():
    """Output of a process that imports TensorFlow with legacy Keras, this package, then TFDS."""
    code = (
        f"{CLOCK.format('tensorflow as tf')}import larq_groupnet; print(tf.keras.Model.__module__)"
        f"\nimport tensorflow_datasets{KNOWN}print('known')"
    )
    return run_python(code, TF_USE_LEGACY_KERAS="1").stdout.splitlines()


def test_tensorflow_with_legacy_keras_may_come_first_and_takes_ten_times_as_long(tensorflow_first):
    theirs, module, _ = tensorflow_first
    assert module.startswith("tf_keras.")
    ours = min(float(run_python(CLOCK.format("larq_groupnet")).stdout) for _ in range(3))
    assert ours < 0.1 * float(theirs)


def test_user_who_has_chosen_keras_3_is_told():
    code = "try: import larq_groupnet\nexcept ImportError as error: print(error)"
    found = run_python(code, TF_USE_LEGACY_KERAS="0")
    assert "Received: TF_USE_LEGACY_KERAS=0. Unset it." in found.stdout


@pytest.mark.parametrize(
    "versions",
    [
        {"tensorflow": "2.15.1", "tf_keras": "2.15.1"},
        {"tensorflow": "2.22.0", "tf_keras": "2.22.0"},
        {"tensorflow": "2.21.0", "tf_keras": "2.20.1"},
    ],
)
def test_stack_that_is_not_supported_is_named(monkeypatch, versions):
    monkeypatch.setattr(metadata, "version", versions.__getitem__)
    with pytest.raises(
        ImportError, match=r"Received: tensorflow [\d.]+ with tf_keras [\d.]+\. Run"
    ):
        _stack.use_legacy_keras()


def test_train_py_says_it_in_one_line(tmp_path):
    """A real installation record of another tf_keras comes first on the path."""
    record = tmp_path / "tf_keras-2.14.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: tf_keras\nVersion: 2.14.0\n")
    done = subprocess.run(
        [sys.executable, "train.py", "--model=groupnet_dsp"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1
    assert "expected TensorFlow 2.16 to 2.21 with tf_keras of the same" in done.stderr


def test_tensorflow_under_another_name_is_left_to_its_import(monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    _stack.use_legacy_keras()


def test_older_tensorflow_is_told_to_trace_keras_as_it_is_written(monkeypatch):
    import tensorflow as tf
    from tensorflow.python.autograph.core import config
    from tensorflow.python.autograph.impl.conversion import is_allowlisted

    def spares_keras():
        return is_allowlisted(tf.keras.layers.Dense.call)

    assert spares_keras()
    rules = [rule for rule in config.CONVERSION_RULES if rule._prefix != "tf_keras"]
    monkeypatch.setattr(config, "CONVERSION_RULES", rules)
    assert not spares_keras()
    _stack._trace_keras_as_written(config)
    assert spares_keras()


def test_import_changes_only_the_choice_of_keras():
    """It leaves log levels and seeds to the rest of the process."""
    found = run_python(
        "import os, random\nbefore, state = dict(os.environ), random.getstate()\n"
        "import larq_groupnet\n"
        "print(set(os.environ.items()) ^ set(before.items()), random.getstate() == state)"
    )
    assert found.stdout.strip() == "{('TF_USE_LEGACY_KERAS', '1')} True"
