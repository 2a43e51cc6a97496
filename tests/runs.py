"""Helpers for tests of whole runs: watching a process, and reading the weights it saved."""

import contextlib
import io
import json
import os
import re
import subprocess
import warnings

import h5py
import numpy as np
from conftest import ROOT

from larq_groupnet.cli import main
from larq_groupnet.training import load_recipe, override


def command(*words, judge=True):
    """Runs `larq-groupnet WORDS` in this process, where TensorFlow is already imported.

    Returns the same result as a process of its own. Without `judge`, training ends as in
    `tests/train_only.py`.
    """
    import tensorflow as tf

    from larq_groupnet.training import run

    tf.keras.backend.clear_session()
    out, err = io.StringIO(), io.StringIO()
    shown, judged = warnings.formatwarning, run.judge
    if not judge:
        run.judge = lambda *given: None
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", UserWarning)  # pytest would raise them.
        warnings.showwarning = lambda message, *_: err.write(warnings.formatwarning(message))
        try:
            status = main(list(map(str, words)))
        finally:
            warnings.formatwarning, run.judge = shown, judged
    return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def signal_after(steps, signum, phase=None):
    """Sends this process a signal once, after `steps` training steps (of `phase`, if given)."""
    from larq_groupnet.runs.saving import SnapshotCallback

    original, left = SnapshotCallback.on_train_batch_end, steps

    def on_train_batch_end(self, batch, logs=None):
        nonlocal left
        left -= phase in (None, self.start.phase)
        if left == 0:
            left = -1
            os.kill(os.getpid(), signum)
        original(self, batch, logs)

    SnapshotCallback.on_train_batch_end = on_train_batch_end
    try:
        yield
    finally:
        SnapshotCallback.on_train_batch_end = original


def wait_for(process, pattern):
    """Reads a process's output until it matches; the progress bar arrives by character."""
    seen = ""
    while not re.search(pattern, seen):
        character = process.stdout.read(1)
        assert character, seen + process.stderr.read()
        seen += character


def read_weights(path):
    """All arrays of an `.h5` file by name."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: found.update({name: item[()]}) if hasattr(item, "shape") else None
        )
    return found


def assert_same_run(one, two, *phases):
    """Checks that two folders have bit-identical weights for these phases, and the same history."""
    for name in [f"{phase}{end}.h5" for phase in phases for end in ("", "-last")]:
        first, second = read_weights(one / name), read_weights(two / name)
        assert first.keys() == second.keys()
        assert len(first) > 30
        for key, value in first.items():
            np.testing.assert_array_equal(value, second[key], err_msg=f"{name} {key}")
    assert (one / "history.csv").read_text() == (two / "history.csv").read_text()


def write_teacher(folder, *changes):
    """Writes a folder like one from a run of the real-valued `resnet18`, with random weights."""
    import tensorflow as tf

    from larq_groupnet import build

    small = {"width": "0.0625", "stage_blocks": "(1,1,1,1)"}
    recipe = override(
        load_recipe("resnet18", ROOT / "zoo"), list({**small, **dict(changes)}.items())
    )
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    tf.keras.utils.set_random_seed(1)
    build(recipe.model).save_weights(folder / "real.h5")
    return folder


def without_description(file):
    """The bytes of a `.tflite` with its description removed."""
    content = file.read_bytes()
    return content[: content.index(b"PK\x03\x04")]
