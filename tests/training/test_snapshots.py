"""Snapshots by the clock, and beside training; `test_int8_phase` resumes from one by steps."""

import dataclasses
import gc
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.platform import tf_logging
from tiny import RECIPE, session

from larq_groupnet.errors import RecipeError
from larq_groupnet.runs import saving
from larq_groupnet.runs.snapshots import Position, Snapshots
from larq_groupnet.training import fit
from larq_groupnet.training.distribution import Runtime


@pytest.mark.usefixtures("eager")
def test_snapshot_comes_after_so_many_minutes(tmp_path, monkeypatch):
    """Two epochs of seven steps."""
    saved, clock = [], iter(range(0, 10**6, 25))  # The clock is read once or twice a step.
    monkeypatch.setattr(saving, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(Snapshots, "save", lambda self, model, where: saved.append(where))
    phase = dataclasses.replace(RECIPE.phases[1], epochs=2)
    recipe = dataclasses.replace(RECIPE, phases=(phase,))
    runtime = Runtime(snapshot_minutes=1)
    fit.train(recipe, dataclasses.replace(session(tmp_path, 7), runtime=runtime))
    within = [(where.epoch, where.step) for where in saved]
    assert within == [(0, 3), (0, 6), (1, 0), (1, 3), (1, 6), (2, 0)]


def test_snapshot_is_written_beside_training_as_the_weights_were(tmp_path, monkeypatch):
    model = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,), name="dense")])
    model.compile("adam", "mse")
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    values = [each.numpy() for each in (*model.weights, *model.optimizer.variables)]
    free, write = threading.Event(), Snapshots._write

    def slowly(*given):
        assert free.wait(30)
        write(*given)

    monkeypatch.setattr(Snapshots, "_write", slowly)
    snapshots = Snapshots(tmp_path)
    snapshots.save(model, Position("tanh", 1))
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    assert not list(tmp_path.iterdir())
    free.set()
    position, path = snapshots.last()
    assert position == Position("tanh", 1)
    snapshots.restore(model, path)
    for value, wanted in zip((*model.weights, *model.optimizer.variables), values, strict=True):
        np.testing.assert_array_equal(value, wanted)


def test_restoring_leaves_no_value_of_a_snapshot_unread(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(tf_logging, "warning", lambda text, *given: said.append(text))

    def model():
        made = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,))])
        made.compile("adam", "mse")
        made.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
        return made

    snapshots = Snapshots(tmp_path)
    snapshots.save(model(), Position("tanh", 1))
    snapshots.wait()
    snapshots.restore(model(), snapshots.last()[1])
    gc.collect()
    # Of how often functions of earlier tests were traced, it may say something.
    assert not [text for text in said if "retracing" not in text]


@pytest.mark.parametrize("option", ["snapshot_steps", "snapshot_minutes"])
def test_snapshots_of_less_than_nothing_are_refused(option):
    with pytest.raises(RecipeError, match=f"{option}: expected at least 0. Received: -1"):
        Runtime(**{option: -1})
