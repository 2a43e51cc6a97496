"""A run that is killed or stopped several times ends where an uninterrupted run ends."""

import dataclasses
import json
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import CAPPED, ROOT
from runs import assert_same_run, command, signal_after, write_teacher

from larq_groupnet.runs.snapshots import Position, Snapshots
from larq_groupnet.training import RecipeError, load_recipe, override

STEPS = 12
OPTIONS = (
    "--model=groupnet_resnet18 --set=num_bases=1 --set=width=0.0625"
    " --set=layout=two_stages --set=output_stride=2"
    f" --epochs=2,2 --set=steps_per_epoch={STEPS} --set=binary.average=0.5"
    " --set=mixup=0.2 --set=cutmix=1 --set=binary.soft_targets=0.5 --set=binary.attention=10"
    " --set=binary.attention_blocks=('stage2_block1',)"
).split()


def options(data_dir, output_dir):
    return [*OPTIONS, f"--data_dir={data_dir}", f"--output_dir={output_dir}"]


KILLED = """
import signal, sys
sys.path[:0] = [".", "tests"]
from runs import command, signal_after
with signal_after(int(sys.argv[1]), signal.SIGKILL, "binary"):
    command("train", *sys.argv[2:], judge=False)
"""


@pytest.mark.skipif(CAPPED, reason="oneDNN's kernels for AVX2 differ from run to run")
@pytest.mark.slow
def test_run_that_was_killed_ends_bit_for_bit_where_another_does(digits, tmp_path):
    two = [("layout", "two_stages"), ("stage_blocks", "(1,1)"), ("output_stride", "2")]
    taught = f"--set=teacher={write_teacher(tmp_path / 'teacher', *two)}"
    words = [*options(digits, tmp_path / "stopped"), taught]
    rng = random.Random()
    # In a first epoch after its last step there is no snapshot to look at.
    steps = {"tanh": rng.choice([*range(1, STEPS), *range(STEPS + 1, 2 * STEPS + 1)])}
    killed, steps["binary"] = rng.randrange(1, 2 * STEPS), rng.randrange(1, STEPS)
    asked = [signal.SIGTERM, signal.SIGINT]
    rng.shuffle(asked)
    for phase, signum in zip(steps, asked, strict=True):
        if phase == "binary":
            kill = [sys.executable, "-c", KILLED, str(killed), *words]
            done = subprocess.run(kill, cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == -signal.SIGKILL, done.stderr
        with signal_after(steps[phase], signum, phase):
            done = command("train", *words, judge=False)
        assert done.returncode == 128 + signum, (steps, killed, done.stderr)
        assert f"--output_dir {tmp_path / 'stopped'}" in done.stderr
        position = Snapshots(tmp_path / "stopped/snapshots").last()[0]
        assert position.phase == phase
        # A signal that comes during the validation finds the epoch's end not yet saved.
        assert position.step > 0 or "at the end of epoch" in done.stderr
    last = command("train", *words, judge=False)
    assert last.returncode == 0, last.stderr
    assert "Phase tanh" not in last.stdout
    whole = command("train", *options(digits, tmp_path / "whole"), taught, judge=False)
    assert whole.returncode == 0, whole.stderr

    assert_same_run(tmp_path / "whole", tmp_path / "stopped", "tanh", "binary")


def test_options_of_another_run_are_listed(digits, tmp_path):
    (tmp_path / "run").mkdir()
    words = [*options(digits, tmp_path / "run"), "--set=teacher=x"]
    assert (
        "nowhere: expected a run's folder" in command("train", *words, "--evaluate=nowhere").stderr
    )
    recipe = override(
        load_recipe("groupnet_resnet18", ROOT / "zoo"), [("width", "0.5"), ("epochs", "7,2")]
    )
    (tmp_path / "run/recipe.json").write_text(json.dumps(recipe.to_dict()))
    done = command("train", *words)
    assert done.returncode == 2
    assert "model.width was 0.5, is 0.0625" in done.stderr
    assert "phases.tanh.epochs was 7, is 2" in done.stderr


@pytest.fixture
def model():
    import tensorflow as tf

    model = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,), name="dense")])
    model.compile("adam", "mse")
    return model


def test_damaged_snapshot_is_named_and_the_one_before_it_used(model, tmp_path, capsys):
    snapshots = Snapshots(tmp_path)
    for epoch in (1, 2, 3):
        model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
        snapshots.save(model, Position("tanh", epoch, best=0.5, history=f"row {epoch}\n"))
        if epoch == 2:
            expected = [value.numpy() for value in (*model.weights, *model.optimizer.variables)]
    snapshots.wait()
    kinds = ("data-00000-of-00001", "index")
    kept = {f"snapshot-{epoch}000000.{kind}" for epoch in (2, 3) for kind in kinds}
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "checkpoint"}
    damaged = next(tmp_path.glob("snapshot-3000000.data*"))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)

    position, path = snapshots.last()
    assert "snapshot-3000000 is damaged (" in capsys.readouterr().err
    assert position == Position("tanh", 2, best=0.5, history="row 2\n")
    snapshots.restore(model, path)
    for value, wanted in zip((*model.weights, *model.optimizer.variables), expected, strict=True):
        np.testing.assert_array_equal(value, wanted)

    (tmp_path / "snapshot-2000000.index").unlink()
    with pytest.raises(RecipeError, match="2 in .* all damaged"):
        snapshots.last()


def test_dropout_goes_on_with_the_random_numbers_that_come_next(tmp_path):
    import tensorflow as tf

    def network():
        layers = [tf.keras.layers.Input((64,)), tf.keras.layers.Dropout(0.5, name="dropout")]
        model = tf.keras.Sequential([*layers, tf.keras.layers.Dense(1, name="dense")])
        model.compile("adam", "mse")
        model.fit(np.ones((4, 64)), np.ones((4, 1)), verbose=0)
        return model, model.get_layer("dropout")

    tf.keras.backend.experimental.enable_tf_random_generator()
    images = np.ones((4, 64), "f4")
    model, dropout = network()
    snapshots = Snapshots(tmp_path)
    snapshots.save(model, Position("tanh", 1))
    expected = dropout(images, training=True).numpy()
    other, again = network()
    snapshots.restore(other, snapshots.last()[1])
    np.testing.assert_array_equal(again(images, training=True), expected)
    assert not np.array_equal(again(images, training=True), expected)


def test_snapshot_of_an_earlier_version_is_read(model, tmp_path):
    """A folder with a checkpoint, the position and checksums, as it was before."""
    import tensorflow as tf

    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    folder = tmp_path / "00003-000007"
    folder.mkdir()
    state = tf.train.Checkpoint(model=model, optimizer=model.optimizer, random={})
    state.write(str(folder / "state"))
    expected = [value.numpy() for value in (*model.weights, *model.optimizer.variables)]
    position = Position("tanh", 3, 7, 0.5, "row", [[1.0, 2.0]])
    (folder / "position.json").write_text(json.dumps(dataclasses.asdict(position)))
    (folder / "sha256.json").write_text("{}")
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    found, path = Snapshots(tmp_path).last()
    assert found == position
    Snapshots(tmp_path).restore(model, path)
    for value, wanted in zip((*model.weights, *model.optimizer.variables), expected, strict=True):
        np.testing.assert_array_equal(value, wanted)


@pytest.mark.parametrize("content", [None, b"", b"model {", b"\xff\xfe\x00"])
def test_snapshots_whose_list_is_gone_or_garbled_are_found_and_go_on(model, tmp_path, content):
    snapshots = Snapshots(tmp_path)
    for epoch in (9, 10):
        snapshots.save(model, Position("tanh", epoch))
    snapshots.wait()
    (tmp_path / "checkpoint").unlink()
    if content is not None:
        (tmp_path / "checkpoint").write_bytes(content)
    assert Snapshots(tmp_path).last()[0].epoch == 10
    snapshots.save(model, Position("tanh", 11))
    snapshots.wait()
    assert Snapshots(tmp_path).last()[0].epoch == 11
    found = sorted(path.name for path in tmp_path.glob("*.index"))
    assert found == ["snapshot-10000000.index", "snapshot-11000000.index"]


def test_trained_weights_without_a_snapshot_are_not_written_over(tmp_path):
    from tiny import RECIPE, session

    from larq_groupnet.training import fit

    (tmp_path / "history.csv").write_text("epoch,loss\n0,2.0\n1,1.0\n")
    (tmp_path / "tanh.h5").write_bytes(b"weights")
    with pytest.raises(RecipeError, match="Received: none in .* has 2 epochs.*Put snapshots/ back"):
        fit.train(RECIPE, session(tmp_path))
    assert (tmp_path / "tanh.h5").read_bytes() == b"weights"


def test_damaged_weights_of_a_phase_are_named(model, tmp_path):
    from larq_groupnet.errors import WeightsError
    from larq_groupnet.training import fit

    file = tmp_path / "tanh.h5"
    model.save_weights(file)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="expected a whole .*Received: .*tanh.h5: "):
        fit._load(model, file)


def test_snapshot_that_was_not_finished_does_not_count(model, tmp_path):
    snapshots = Snapshots(tmp_path)
    snapshots.save(model, Position("tanh", 1))
    snapshots.wait()
    # What a kill leaves of a second one: its files are there, the list of snapshots is the old one.
    before = (tmp_path / "checkpoint").read_bytes()
    snapshots.save(model, Position("tanh", 2))
    snapshots.wait()
    (tmp_path / "checkpoint").write_bytes(before)
    assert Snapshots(tmp_path).last()[0].epoch == 1
    assert Snapshots(tmp_path / "new").last() is None


def test_epoch_depends_on_its_number_alone(digits):
    from larq_groupnet.data import augment
    from larq_groupnet.data.pipeline import Pipeline, prepare
    from larq_groupnet.data.reading import Reading

    def batches(count, *position, seed=3):
        data = Pipeline(
            prepare("digits", digits), Reading((16, 16)), 8, seed=seed, augmentation=augment.shift
        ).train_batches(5, *position)
        return list(data.take(count).as_numpy_iterator())

    whole = batches(15)
    for position, part in {(1, 0): whole[5:], (2, 0): whole[10:], (1, 3): whole[8:]}.items():
        for mine, expected in zip(batches(len(part), *position), part, strict=True):
            np.testing.assert_array_equal(mine[0], expected[0])
            np.testing.assert_array_equal(mine[1], expected[1])
    assert not np.array_equal(whole[0][0], whole[5][0])
    assert not np.array_equal(whole[0][0], batches(1, seed=4)[0][0])
