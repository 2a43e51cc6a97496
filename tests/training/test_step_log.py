"""What is written between two epochs, and what the callbacks of a step cost."""

import contextlib
import dataclasses
import signal
import time

import numpy as np
import pytest
import tensorflow as tf
from runs import signal_after
from tiny import RECIPE, session

from larq_groupnet.errors import Interrupted, RecipeError
from larq_groupnet.training.distribution import Runtime
from larq_groupnet.training.fit import train
from larq_groupnet.training.step_log import Progress, log_gradient_norm


def entries(folder):
    """Tag -> step -> value of all events below a folder."""
    found = {}
    for record in tf.data.TFRecordDataset([str(file) for file in folder.glob("events*")]):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = tf.make_ndarray(value.tensor)
    return found


def test_norms_of_a_step_are_those_of_gradient_and_update(tmp_path):
    """Descent without momentum moves the weights by the rate times the gradient."""
    phase = dataclasses.replace(
        RECIPE.phases[0], optimizer="SGD", schedule="constant", warmup_epochs=0,
        learning_rate=0.01, epochs=2,
    )  # fmt: skip
    model = RECIPE.model.replace(dropout=0.0)
    recipe = dataclasses.replace(RECIPE, phases=(phase,), model=model)
    runtime = Runtime(log_steps=2, profile="2,2")
    train(recipe, dataclasses.replace(session(tmp_path, 3), runtime=runtime))
    found = entries(tmp_path / "logs/tanh/steps")
    norms = found["step/gradient_norm"]
    assert {*norms} == {1, 3, 4, 6}  # The first step of an epoch, and each second after it.
    assert found["step/learning_rate"][1] == pytest.approx(0.01)
    for step, norm in norms.items():
        assert found["step/update_norm"][step] == pytest.approx(0.01 * norm, rel=1e-4)
    assert {*found["step/images_per_second"]} == {3, 6}
    rows = np.genfromtxt(tmp_path / "history.csv", delimiter=",", names=True)
    np.testing.assert_allclose(rows["gradient_norm"][1], norms[6], rtol=1e-6)
    assert list(tmp_path.rglob("*.xplane.pb"))


@pytest.mark.parametrize("mirrored", [False, True])
def test_norm_is_logged_where_a_loss_is_scaled(mirrored):
    """Clipping is then in a branch, out of which no tensor comes."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0"]) if mirrored else None
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = tf.keras.Sequential([tf.keras.layers.Dense(1, use_bias=False, input_shape=(1,))])
        scaled = tf.keras.mixed_precision.LossScaleOptimizer(tf.keras.optimizers.SGD(1e-3))
        model.compile(scaled, "mse")
        log_gradient_norm(model)
    model.layers[0].set_weights([np.array([[2.0]])])
    found = model.fit(np.ones((4, 1)), np.zeros((4, 1)), batch_size=4, verbose=0).history
    assert found["gradient_norm"] == [pytest.approx(4.0)]  # Of (2 x)^2, at x = 1.


def test_stopped_run_ends_the_line_of_its_progress_bar(tmp_path, capsys):
    with signal_after(2, signal.SIGTERM), pytest.raises(Interrupted):
        train(RECIPE, session(tmp_path, 3))
    out = capsys.readouterr().out
    assert "loss: " in out and out.endswith("\n")


@pytest.mark.parametrize("text", ["10", "20,10", "0,5", "a,b"])
def test_profile_names_two_steps(text):
    with pytest.raises(RecipeError, match="profile: expected the first and the last step"):
        Runtime(profile=text)


@pytest.mark.parametrize(
    ("epochs", "left"), [(3, "1 minute"), (19, "9 minutes"), (1201, "10 hours")]
)
def test_progress_says_after_an_epoch_how_long_the_others_take(epochs, left, monkeypatch, capsys):
    bar, clock = Progress(), iter([900.0, 915.0, 930.0, 960.0])  # A first step of 900 s.
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    bar.set_params({"epochs": epochs, "steps": 2, "verbose": 0})
    bar.on_train_begin()
    for epoch in range(3):
        bar.on_epoch_begin(epoch)
        if epoch == 0:
            for batch in range(2):
                bar.on_train_batch_end(batch)
    assert capsys.readouterr().out.splitlines() == [f"About {left} more for these epochs."]
