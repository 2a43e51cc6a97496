"""Snapshots within an epoch, and beside training."""

import dataclasses
import gc
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from runs import assert_same_run
from tensorflow.python.platform import tf_logging
from tiny import IMAGES, RECIPE, Data, session

from larq_groupnet.errors import RecipeError
from larq_groupnet.runs import saving
from larq_groupnet.runs.snapshots import Position, Snapshots
from larq_groupnet.training import fit
from larq_groupnet.training.distribution import Runtime


class Moving(Data):
    """Another batch at every step."""

    @staticmethod
    def train_batches(steps_per_epoch, first_epoch=0, first_step=0, context=None):
        first = first_epoch * steps_per_epoch + first_step
        steps = tf.data.Dataset.range(first, 1000)
        _, masks = next(iter(Data.train_batches(1)))
        return steps.map(lambda step: (IMAGES * 0.9 ** tf.cast(step, tf.float32), masks))


class Killed(Exception):
    """In place of SIGKILL."""


def run(folder, monkeypatch, killed_at=None, **options):
    """Two epochs of seven steps; killed before a step is looked at."""
    seen = [0]

    def on_train_batch_end(self, batch, logs=None):
        seen[0] += 1
        if seen[0] == killed_at:
            raise Killed

    monkeypatch.setattr(fit.StopOnNonFinite, "on_train_batch_end", on_train_batch_end)
    model = RECIPE.model.replace(dropout=0.0)
    recipe = dataclasses.replace(
        RECIPE, phases=(dataclasses.replace(RECIPE.phases[1], epochs=2),), model=model
    )
    tf.keras.utils.set_random_seed(0)
    runtime = Runtime(**options)
    fit.train(recipe, dataclasses.replace(session(folder, 7), data=Moving(), runtime=runtime))


def test_run_resumes_from_a_snapshot_between_two_epochs_with_the_same_bits(
    tmp_path, monkeypatch, capsys
):
    """The run that is not stopped makes three steps at once, and then the seventh."""
    save = Snapshots.save  # A kill that finds a snapshot half written is another test's.
    monkeypatch.setattr(Snapshots, "save", lambda self, *given: (save(self, *given), self.wait()))
    run(tmp_path / "whole", monkeypatch, steps_per_execution=3)
    with pytest.raises(Killed):
        run(tmp_path / "killed", monkeypatch, killed_at=13, snapshot_steps=2)
    run(tmp_path / "killed", monkeypatch, snapshot_steps=3)
    assert "Resuming in epoch 2, step 5" in capsys.readouterr().out
    assert_same_run(tmp_path / "whole", tmp_path / "killed", "binary")


@pytest.mark.usefixtures("eager")
def test_snapshot_comes_after_so_many_minutes(tmp_path, monkeypatch):
    saved, clock = [], iter(range(0, 10**6, 25))  # The clock is read once or twice a step.
    monkeypatch.setattr(saving, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(Snapshots, "save", lambda self, model, where: saved.append(where))
    run(tmp_path, monkeypatch, snapshot_minutes=1)
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
