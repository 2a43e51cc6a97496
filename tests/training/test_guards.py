"""What would lose hours: a full disk, a folder that cannot be written, files that go bad."""

import dataclasses
import json
import resource
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT
from PIL import Image

from larq_groupnet.data import augment
from larq_groupnet.data.folders import open_folder
from larq_groupnet.data.layouts import FolderError
from larq_groupnet.data.pipeline import Pipeline
from larq_groupnet.data.reading import Reading
from larq_groupnet.errors import OutputError
from larq_groupnet.runs.guards import check_folder, check_room, naming_bad_files
from larq_groupnet.runs.snapshots import Position, Snapshots
from larq_groupnet.runs.stopping import StopSignal
from larq_groupnet.training import Interrupted, RecipeError, load_recipe, only_phase, override
from larq_groupnet.training.distribution import Runtime
from larq_groupnet.training.run import run, train_weights
from larq_groupnet.weights import packed

RECIPE = load_recipe("groupnet_resnet18", ROOT / "zoo")
SMALL = [("width", "0.0625"), ("num_bases", "1"), ("stage_blocks", "(1,1,1,1)")]


def test_disk_that_will_be_full_is_known_before(tmp_path, monkeypatch):
    """A disk of a known size cannot be mounted everywhere, so what it says of itself is made up."""
    usage = shutil.disk_usage(tmp_path)
    asked = []

    def small(path):
        asked.append(path)
        return usage._replace(free=200 * 2**20)

    monkeypatch.setattr(shutil, "disk_usage", small)
    check_room(RECIPE, tmp_path / "run", parameters=10**6)
    # Three snapshots of three values a parameter, two files of each phase, one being written.
    with pytest.raises(RecipeError, match=r"expected 1132 MiB free.*Received: 200 MiB in "):
        check_room(RECIPE, tmp_path / "new" / "run", parameters=20 * 10**6)
    assert asked[-1] == tmp_path
    assert not (tmp_path / "new").exists()
    written = tmp_path / "run" / "snapshots"
    written.mkdir()
    with (written / "state").open("wb") as file:
        file.truncate(1000 * 2**20)  # What is there already needs no more room.
    check_room(RECIPE, tmp_path / "run", parameters=20 * 10**6)


@pytest.mark.parametrize(
    ("changes", "runtime", "message"),
    [
        (
            [("input_quantizer", "{'class_name': 'Nope', 'config': {}}")],
            {},
            "model: this network cannot be built. Keras says: .*Nope",
        ),
        ([("binary.optimizer.beta_2", "abc")], {}, "binary.optimizer: expected arguments that it"),
        (
            [("epochs", "1,2")],
            {"profile": "10,20"},
            "profile: expected steps .*from 1 to 6",
        ),
    ],
)
def test_what_cannot_be_trained_is_known_before_anything_is_written(
    digits, tmp_path, changes, runtime, message
):
    recipe = override(RECIPE, [*SMALL, ("steps_per_epoch", "3"), *changes])
    with pytest.raises(RecipeError, match=message):
        train_weights(recipe, digits, tmp_path / "run", Runtime(**runtime))
    assert not (tmp_path / "run").exists()


def test_paths_of_a_run_may_be_texts(digits, tmp_path):
    recipe = override(RECIPE, [*SMALL, ("binary.optimizer.beta_2", "abc")])
    with pytest.raises(RecipeError, match="binary.optimizer: expected arguments"):
        run(recipe, str(digits), str(tmp_path / "run"))


def test_folder_that_cannot_be_written_is_known_before(tmp_path):
    """Root may write anywhere, but nobody into a file."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"expected a folder that can be written.*file/run"):
        check_room(RECIPE, tmp_path / "file" / "run", parameters=10)


def test_folder_of_a_run_that_cannot_be_read_is_left_alone(tmp_path):
    (tmp_path / "recipe.json").write_text('{"name": ')
    with pytest.raises(RecipeError, match="which it cannot read"):
        check_folder(RECIPE.to_dict(), tmp_path)


def test_run_of_an_older_version_can_be_gone_on_with(tmp_path):
    values = json.loads(json.dumps(RECIPE.to_dict()))
    del values["mixup"], values["phases"][0]["soft_targets"]
    (tmp_path / "recipe.json").write_text(json.dumps(values))
    check_folder(RECIPE.to_dict(), tmp_path)
    with pytest.raises(RecipeError, match=r"mixup was 0.0, is 0.2"):
        check_folder(dataclasses.replace(RECIPE, mixup=0.2).to_dict(), tmp_path)


def test_snapshot_that_does_not_fit_leaves_those_before(tmp_path):
    model = tf.keras.Sequential([tf.keras.layers.Dense(200, input_shape=(300,), name="dense")])
    model.compile("adam", "mse")
    snapshots = Snapshots(tmp_path)
    snapshots.save(model, Position("tanh", 1))
    snapshots.wait()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))  # As if the disk were full.
    try:
        snapshots.save(model, Position("tanh", 2))
        with pytest.raises(OSError, match="snapshot .*snapshot-2000000 cannot be written"):
            snapshots.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    kept = {"checkpoint", "snapshot-1000000.index", "snapshot-1000000.data-00000-of-00001"}
    assert {path.name for path in tmp_path.iterdir()} == kept
    assert snapshots.last()[0].epoch == 1


def delete(file):
    file.unlink()
    return "it is gone"


def cut(file):
    file.write_bytes(file.read_bytes()[:60])
    return "it cannot be decoded"


@pytest.mark.parametrize("spoil", [delete, cut])
def test_file_that_goes_bad_while_training_is_named(tmp_path, spoil):
    root = tmp_path / "set"
    for name in ("cat", "dog"):
        (root / "train" / name).mkdir(parents=True)
        for number in range(40):
            pixels = np.random.RandomState(number).randint(0, 256, (8, 8, 3), "u1")
            Image.fromarray(pixels).save(root / "train" / name / f"{number}.png")
    builder = open_folder(root, tmp_path / "data")
    data = Pipeline(builder, Reading((8, 8)), 4, augmentation=augment.cifar)
    batches = iter(data.train_batches(1000))
    next(batches)
    said = spoil(root / "train" / "dog" / "7.png")

    def read():
        with naming_bad_files(builder):
            list(zip(range(300), batches, strict=False))

    with pytest.raises(FolderError, match=f"1 bad file in .*: train/dog/7.png: {said}. Mend"):
        read()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signal_outside_training_ends_the_run_with_a_line(tmp_path, signum):
    before = signal.getsignal(signum)
    with (
        pytest.raises(Interrupted, match=f"Resume with.*--output_dir {tmp_path}") as error,
        StopSignal(tmp_path).at_once(),
    ):
        signal.raise_signal(signum)
    assert error.value.signum == signum
    assert signal.getsignal(signum) is before


@pytest.fixture
def foreground():
    """What is started in the background, as tests may be, ignores SIGINT from the start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("foreground")
def test_second_interrupt_leaves_the_process_of_a_notebook_alive(tmp_path):
    with StopSignal(tmp_path).watching() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.signum == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with StopSignal(tmp_path).at_once(), StopSignal(tmp_path).watching():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted, match="at once; what was saved before stays"):
            signal.raise_signal(signal.SIGTERM)


def test_later_phase_starts_from_the_phase_before_it(monkeypatch, tmp_path):
    from larq_groupnet.runs import start
    from larq_groupnet.training.start import load_start

    taken = []
    whole = dataclasses.replace(RECIPE, start_from=str(tmp_path))
    source = SimpleNamespace(recipe=RECIPE, config=RECIPE.model, load=tf.keras.Sequential)
    monkeypatch.setattr(start, "find_source", lambda path, recipe: taken.append(path) or source)
    for name in ("tanh", "binary"):
        (tmp_path / f"{name}.h5").touch()
    load_start(only_phase(whole, "binary"))
    load_start(whole)
    (tmp_path / "tanh.h5").unlink()
    load_start(only_phase(whole, "binary"))
    assert taken == [tmp_path / "tanh.h5", tmp_path, tmp_path]
    (tmp_path / "tanh.h5").touch()
    third = dataclasses.replace(RECIPE.phases[1], name="third", weights_from="tanh")
    load_start(only_phase(dataclasses.replace(whole, phases=(*RECIPE.phases, third)), "third"))
    assert taken[-1] == tmp_path / "tanh.h5"


def test_release_file_is_evaluated_as_it_was_trained():
    from larq_groupnet.runs.judging import recipe_to_judge

    (file,) = (ROOT / "larq_groupnet/weights/files").glob("groupnet_resnet18-digits-*")
    other = override(RECIPE, [("input_shape", "(16, 16, 3)"), ("central_crop", "0.5")])
    other = dataclasses.replace(other, normalisation="imagenet")
    recipe = recipe_to_judge(file, other)
    assert (recipe.normalisation, recipe.central_crop) == ("symmetric", 1.0)
    assert recipe.model == packed.read_metadata(file).config


def test_signal_while_keras_builds_a_layer_is_no_error_of_the_layer(tmp_path):
    class Slow(tf.keras.layers.Layer):
        def call(self, inputs):
            signal.raise_signal(signal.SIGTERM)
            return inputs

    with pytest.raises(Interrupted, match="stopped by SIGTERM"), StopSignal(tmp_path).at_once():
        Slow()(tf.keras.Input((2,)))
