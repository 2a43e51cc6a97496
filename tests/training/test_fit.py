"""The phases hand on weights, and a run that diverges says so."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from runs import read_weights
from tiny import IMAGES, RECIPE, Data, session

from larq_groupnet import build, copy_weights
from larq_groupnet.recipes import Phase
from larq_groupnet.training.callbacks import (
    BestWeights,
    StructureLog,
    TrainingError,
    first_non_finite,
)
from larq_groupnet.training.fit import compile_model, train


def changed(**values):
    phases = tuple(dataclasses.replace(phase, **values) for phase in RECIPE.phases)
    return dataclasses.replace(RECIPE, phases=phases)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The best weights of two phases, whose learning rate is almost nothing."""
    tf.keras.utils.set_random_seed(0)
    return train(changed(learning_rate=1e-30), session(tmp_path_factory.mktemp("trained")))


def test_each_phase_starts_from_the_best_weights_of_the_one_before(trained):
    """Phase 2 ends where phase 1 did."""
    model = build(RECIPE.model, weights=trained)
    first = build(RECIPE.model.replace(binary=False), weights=trained.with_name("tanh.h5"))
    kernels = [name for name in (w.name for w in model.weights) if name.endswith("kernel:0")]
    assert len(kernels) == 4 + 1 + 3
    values = [{w.name: w.numpy() for w in m.weights} for m in (model, first)]
    for name in kernels:
        np.testing.assert_array_equal(values[0][name], values[1][name])


@pytest.mark.usefixtures("eager")
def test_phase_may_start_from_another_than_the_one_before(tmp_path):
    """The third starts where the first ended; the second, of binary activations, moves on."""
    still = {"learning_rate": 1e-30, "warmup_epochs": 0}
    phases = (
        Phase("tanh", 1, binary=False, **still),
        Phase("half", 1, 1e-2, "activations", warmup_epochs=0),
        Phase("binary", 1, binary=True, weights_from="tanh", **still),
    )
    train(dataclasses.replace(RECIPE, phases=phases), session(tmp_path))
    first, second, third = (read_weights(tmp_path / f"{phase.name}.h5") for phase in phases)
    kernels = [key for key in first if "kernel" in key]
    assert len(kernels) == 4 + 1 + 3
    for key in kernels:
        np.testing.assert_array_equal(third[key], first[key])
        assert not np.array_equal(second[key], first[key])


def test_of_epochs_with_the_same_metric_the_last_is_kept(tmp_path):
    dense = tf.keras.layers.Dense(1, use_bias=False, input_shape=(1,))
    model = tf.keras.Sequential([dense])
    keeper = BestWeights(tmp_path / "best.h5", tmp_path / "last.h5", "miou", None, False, {})
    keeper.set_model(model)
    for epoch, metric in enumerate((0.25, 0.5, 0.5, 0.375)):
        dense.set_weights([np.full((1, 1), epoch)])
        keeper.on_epoch_end(epoch, {"val_miou": metric})
    kept = []
    for name in ("best.h5", "last.h5"):
        model.load_weights(tmp_path / name)
        kept.append(dense.get_weights()[0].item())
    assert kept == [2, 3]


def test_finished_run_says_that_it_is(trained, capsys):
    before = trained.read_bytes()
    assert train(changed(learning_rate=1e-30), session(trained.parent)) == trained
    assert "All 2 epochs are trained" in capsys.readouterr().out
    assert trained.read_bytes() == before


def test_run_that_was_killed_before_the_snapshot_of_an_epoch_repeats_its_row(trained):
    """The first epoch of a phase: the snapshot to go on from is of the phase before."""
    folder = trained.parent
    before = (folder / "history.csv").read_text()
    for file in (folder / "snapshots").glob("snapshot-2*"):
        file.unlink()
    tf.keras.utils.set_random_seed(0)
    train(changed(learning_rate=1e-30), session(folder))
    after = (folder / "history.csv").read_text()
    assert [line.split(",")[0] for line in after.splitlines()] == ["epoch", "0", "1"]
    assert after.splitlines()[:2] == before.splitlines()[:2]


def test_training_step_is_traced_once(tmp_path):
    model = build(RECIPE.model)
    compile_model(model, session(tmp_path), RECIPE.phases[-1])
    traces = []
    step = model.train_step
    model.train_step = lambda data: traces.append(data) or step(data)
    model.fit(Data.train_batches(1), steps_per_epoch=2, epochs=1, verbose=0)
    assert len(traces) == 1


def test_loss_that_is_not_a_number_stops_the_run_and_saves_nothing(tmp_path):
    with pytest.raises(
        TrainingError, match=r"phase 'tanh': .* epoch 1, step \d+; first in layer '"
    ) as e:
        train(changed(learning_rate=1e38), session(tmp_path, steps=5))
    assert "Lower tanh.learning_rate" in str(e.value)
    assert not list(tmp_path.rglob("state*"))


@pytest.mark.usefixtures("eager")
def test_full_disk_under_tensorboard_names_its_file(tmp_path, monkeypatch):
    def full(*_):
        raise tf.errors.OutOfRangeError(None, None, "{{node x}} logs/a b/events.1; File too large")

    monkeypatch.setattr("larq_groupnet.training.step_log.StepLog._write", full)
    with pytest.raises(OSError, match="File too large: 'logs/a b/events.1'"):
        train(RECIPE, session(tmp_path))


def test_tensorboard_shows_gates_scales_and_what_flipped(tmp_path):
    model = build(RECIPE.model.replace(num_bases=2, gate="base"))
    log = StructureLog(tmp_path)
    log.set_model(model)
    log.on_epoch_begin(0)
    kernel = model.get_layer("stage2_block1_base1_conv1").kernel
    turned = np.ones(kernel.shape, "f4")
    turned[0, 0, 0, :2] = turned[1, 0, 1, 1] = -1
    kernel.assign(kernel * turned)
    log.on_epoch_end(4)
    log.on_train_end()
    values = {}
    for record in tf.data.TFRecordDataset([str(path) for path in tmp_path.iterdir()]):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            assert event.step == 4
            values[value.tag] = tf.make_ndarray(value.tensor)
    np.testing.assert_allclose(
        values["flip_ratio/stage2_block1_base1_conv1"], 3 / turned.size, rtol=1e-6
    )
    assert values["flip_ratio/stage2_block1_base2_conv1"] == 0
    # Histograms: rows of left, right, count.
    filters = values["flip_ratios/stage2_block1_base1_conv1"]
    assert filters[:, 2].sum() == turned.shape[-1]
    assert filters[:, 1].max() == pytest.approx(2 / turned[..., 0].size)
    gates = values["gates/stage2_block1_gate"]
    assert gates[:, 2].sum() == 2
    assert 0.5 <= gates[0, 0] <= gates[-1, 1] < 0.74
    assert values["scales/stage2_block1_aggregate"][:, 2].sum() == 2
    kinds = {tag.partition("/")[0] for tag in values}
    assert kinds == {"gates", "scales", "flip_ratio", "flip_ratios"}


def test_first_layer_that_is_not_finite_is_found():
    model = build(RECIPE.model)
    assert first_non_finite(model, IMAGES) == "loss"
    layer = model.get_layer("stage2_block1_base1_conv2_bn")
    layer.gamma.assign(layer.gamma * np.nan)
    assert first_non_finite(model, IMAGES) == layer.name


def test_weights_of_another_network_are_not_copied():
    one, two = (build(RECIPE.model.replace(num_bases=k)) for k in (1, 2))
    with pytest.raises(ValueError, match="has different .*base2_conv"):
        copy_weights(one, two)


@pytest.mark.parametrize("text", [None, "not weights"])
def test_bad_weights_file_is_named(tmp_path, text):
    path = tmp_path / "weights.h5"
    if text:
        path.write_text(text)
    with pytest.raises((FileNotFoundError, ValueError), match="weights.h5"):
        build(RECIPE.model, weights=path)
