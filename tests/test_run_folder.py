"""A run's folder: who holds it, what the run is, and how commands read the files it left."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from runs import command

from larq_groupnet.errors import DatasetError, MissingFileError, RecipeError, UserError
from larq_groupnet.files import replacing
from larq_groupnet.network.kinds import LAYOUTS
from larq_groupnet.recipes import load_recipe, only_phase, override
from larq_groupnet.runs.folders import new_folder, recipe_to_resume
from larq_groupnet.runs.guards import check_folder, claimed
from larq_groupnet.runs.identity import (
    changed_images,
    check_classes,
    describe_recipe,
    read_classes,
    read_temperature,
    record_classes,
)
from larq_groupnet.runs.judging import recipe_to_judge
from larq_groupnet.runs.lock import check_free, holding
from larq_groupnet.runs.source import find_source
from larq_groupnet.training.distribution import Runtime
from larq_groupnet.training.run import _other_numbers
from larq_groupnet.weights.metadata import Metadata

RECIPE = override(
    load_recipe("groupnet_resnet18"),
    [("width", "0.0625"), ("layout", "two_stages"), ("output_stride", "2"), ("num_bases", "1")],
)

HOLDER = """
import sys, pathlib
from larq_groupnet.runs.lock import holding
with holding(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def write_run(folder, recipe=RECIPE, *weights):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    for name in weights:
        (folder / name).touch()
    return folder


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder `run`."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_folder_in_use_names_its_holder_and_a_dead_one_is_taken_over(holder, tmp_path):
    folder = tmp_path / "run"
    for check in (check_free, lambda path: holding(path).__enter__()):
        with pytest.raises(RecipeError, match=rf"held by process {holder.pid} on .* since "):
            check(folder)
    assert json.loads((folder / ".holder.json").read_text())["pid"] == holder.pid
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    check_free(folder)
    with holding(folder):
        assert json.loads((folder / ".holder.json").read_text())["pid"] == os.getpid()


def test_folder_in_which_nothing_came_to_be_is_gone(tmp_path):
    with holding(tmp_path / "new"):
        assert check_folder(RECIPE.to_dict(), tmp_path / "new") == []
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    with holding(tmp_path / "mine"):
        assert list((tmp_path / "mine").iterdir())
    assert not list((tmp_path / "mine").iterdir())
    check_free(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_what_a_killed_run_left_half_written_is_gone_when_it_resumes(tmp_path):
    left = tmp_path / ".0123.partial.h5"
    left.touch()
    (tmp_path / "recipe.json").write_text(json.dumps(RECIPE.to_dict()))
    with claimed(RECIPE, tmp_path, [], 1000):
        assert not left.exists()


def test_runs_that_start_in_the_same_second_have_folders_of_their_own():
    script = "from larq_groupnet.runs.folders import new_folder; print(new_folder('x'))"
    other = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert other.stdout.strip().rpartition("-")[2] != str(new_folder("x")).rpartition("-")[2]


def test_last_phase_may_get_more_epochs_and_nothing_else(tmp_path):
    write_run(tmp_path)
    more = override(RECIPE, [("binary.epochs", "20")])
    (note,) = check_folder(more.to_dict(), tmp_path)
    assert "phases.binary.epochs was 15 and is 20" in note
    assert recipe_to_resume(tmp_path, [("epochs", "5,20")]) == more
    for changes in (
        [("binary.epochs", "14")],
        [("tanh.epochs", "6")],
        [("binary.epochs", "20"), ("seed", "1")],
    ):
        with pytest.raises(RecipeError, match="holds a run of another recipe"):
            check_folder(override(RECIPE, changes).to_dict(), tmp_path)
    other = dataclasses.replace(RECIPE, model=RECIPE.model.replace(num_classes=5))
    record_classes(tmp_path, ["ant", "bee"])
    with pytest.raises(RecipeError, match="is 5.*has learned the classes ant, bee"):
        check_folder(other.to_dict(), tmp_path)
    alone = only_phase(RECIPE, "tanh")
    write_run(tmp_path / "tanh", alone)
    assert check_folder(override(alone, [("tanh.epochs", "6")]).to_dict(), tmp_path / "tanh")


@pytest.fixture
def asked(monkeypatch):
    """Records the arguments of `run` instead of running it."""
    from larq_groupnet.training import run

    calls = []
    monkeypatch.setattr(run, "run", lambda *given, **named: calls.append((given, named)) or {})
    return calls


def test_run_that_is_resumed_is_computed_as_it_was(tmp_path, asked):
    write_run(tmp_path / "run")
    before = Runtime(precision="mixed_bfloat16", snapshot_steps=5)
    (tmp_path / "run" / "runtime.json").write_text(json.dumps(before.to_dict()))
    for more, runtime in (
        ([], before),
        (["--log_steps=3"], dataclasses.replace(before, log_steps=3)),
        (["--mixed_precision=float32"], dataclasses.replace(before, precision="float32")),
    ):
        assert command("train", "--resume", tmp_path / "run", *more).returncode == 0
        assert asked.pop()[1]["runtime"] == runtime
    (tmp_path / "run" / "runtime.json").write_text("{")
    damaged = command("train", "--resume", tmp_path / "run")
    assert damaged.returncode == 2
    assert "runtime.json: expected the runtime options" in damaged.stderr
    (note,) = _other_numbers(before, Runtime())
    assert "precision=float32 (was mixed_bfloat16)" in note
    assert _other_numbers(before, dataclasses.replace(before, log_steps=3)) == []
    assert _other_numbers(Runtime.of_run(tmp_path / "new"), before) == []  # Nothing resumes.


OWN = """
import dataclasses
from larq_groupnet.network.kinds import layout
from larq_groupnet.network.layouts import basic
from larq_groupnet.recipes import load_recipe, override

layout("of_a_user", blocks=(1, 1), channels=(64, 128))(basic)
changes = [("layout", "of_a_user"), ("output_stride", "2"), ("num_bases", "1")]
recipe = override(load_recipe("groupnet_resnet18"), changes)
RECIPES = (dataclasses.replace(recipe, name="mine"),)
"""


def test_run_with_names_of_a_users_file_is_resumed_with_that_file(tmp_path, asked):
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    write_run(tmp_path / "run", load_recipe(str(file)))
    LAYOUTS.remove("of_a_user")  # Unknown in another process.
    words = ["train", "--resume", tmp_path / "run"]
    done = command(*words)
    assert done.returncode == 2 and "First import the module that registers" in done.stderr
    done = command(*words, "--model", file)
    assert done.returncode == 0, done.stderr
    assert asked[0][0][0].name == "mine"
    assert done.stdout.endswith(f"train --resume {tmp_path / 'run'} --model {file}\n")
    LAYOUTS.remove("of_a_user")


def test_folder_without_a_run_is_not_resumed(tmp_path):
    with pytest.raises(RecipeError, match="with recipe.json"):
        recipe_to_resume(tmp_path, [])
    (tmp_path / "search.json").touch()
    with pytest.raises(RecipeError, match="It holds a search"):
        recipe_to_resume(tmp_path, [])


def test_classes_are_compared_by_name_and_order():
    check_classes(("cat", "dog"), ["cat", "dog"], "RUN", "DATA")
    check_classes((), ["cat"], "RUN", "DATA")  # Unknown classes.
    with pytest.raises(DatasetError, match=r"RUN, 'cat' as class 0\. Received: 'dog' in DATA"):
        check_classes(("cat", "dog"), ["dog", "cat"], "RUN", "DATA")
    with pytest.raises(DatasetError, match=r"2: cat, dog\. Received: 1: cat in DATA"):
        check_classes(("cat", "dog"), ["cat"], "RUN", "DATA")


def test_classes_of_a_run_are_known_from_its_first_step(tmp_path):
    assert read_classes(tmp_path) == ()
    (tmp_path / "results.json").write_text('{"keras": {"recall": {"b": 1, "a": 0}}}')
    assert read_classes(tmp_path) == ("b", "a")  # An older version's run.
    record_classes(tmp_path, ["c", "d"])
    assert read_classes(tmp_path) == ("c", "d")
    for damaged in ("{", "[]", '{"classes": null}'):
        (tmp_path / "run.json").write_text(damaged)
        assert read_classes(tmp_path) == ("b", "a")
    for damaged in ('{"keras": null, "temperature": null}', '{"keras": {"recall": 1}}', "[]"):
        (tmp_path / "results.json").write_text(damaged)
        assert read_classes(tmp_path) == () and read_temperature(tmp_path) == 1


def test_file_of_a_run_that_may_not_be_read_is_no_absent_one(tmp_path, monkeypatch):
    """Otherwise classes would not be compared, and the file would be overwritten."""
    monkeypatch.setattr(Path, "read_text", Mock(side_effect=PermissionError(13, "denied")))
    with pytest.raises(PermissionError):
        read_classes(tmp_path)


def test_folder_in_which_another_process_writes_its_first_file_is_new(tmp_path):
    """The chief and the workers of a search start together."""
    with replacing(tmp_path / "search.json") as temporary:
        temporary.write_text("{}")
        assert check_folder({}, tmp_path, "search") == []


@pytest.mark.parametrize("text", ["", "[]", '{"pid": 1}'])
def test_folder_in_use_whose_holder_is_not_known(tmp_path, text):
    with holding(tmp_path):
        (tmp_path / ".holder.json").write_text(text)
        with pytest.raises(RecipeError, match="held by another process"):
            check_free(tmp_path)


def test_other_files_or_labels_than_a_run_began_with_are_said(tmp_path):
    from larq_groupnet.data.folders import open_folder

    photos = tmp_path / "photos"
    for number in range(20):
        place = photos / ("ant", "bee")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.random.RandomState(number).randint(0, 256, (8, 8 + number % 2, 3), np.uint8)
        Image.fromarray(pixels).save(place / f"{number // 2}.png")

    def said():
        digest = open_folder(photos, tmp_path / "data").digest()
        return changed_images(tmp_path, "folder:photos", digest)

    assert said() == []  # An older version's run has no digest.
    digest = open_folder(photos, tmp_path / "data").digest()
    record_classes(tmp_path, ["ant", "bee"], digest)
    assert said() == []
    (photos / "ant").rename(photos / "old")
    (photos / "bee").rename(photos / "ant")
    (photos / "old").rename(photos / "bee")
    assert "files or labels of folder:photos have changed since this run began" in said()[0]
    record_classes(tmp_path, ["ant", "bee"], open_folder(photos, tmp_path / "data").digest())
    assert len(said()) == 1  # Resuming keeps the first digest.
    (photos / "ant").rename(photos / "old")
    (photos / "bee").rename(photos / "ant")
    (photos / "old").rename(photos / "bee")
    assert said() == []
    Image.new("RGB", (8, 8)).save(photos / "ant/more.png")
    assert len(said()) == 1


def test_run_is_its_last_phase_that_has_weights(tmp_path):
    write_run(tmp_path)
    with pytest.raises(RecipeError, match="tanh.h5 or binary.h5 in .*has not finished an epoch"):
        find_source(tmp_path)
    (tmp_path / "tanh.h5").touch()
    assert find_source(tmp_path).config == RECIPE.model.replace(binary=False)
    for name in ("binary.h5", "binary-last.h5"):
        (tmp_path / name).touch()
        source = find_source(tmp_path / name)
        assert (source.config, source.recipe) == (RECIPE.model, RECIPE)
    assert find_source(tmp_path).weights == tmp_path / "binary.h5"
    sized = find_source(tmp_path).sized((32, 24))
    assert sized.config.input_shape == (32, 24, 1)
    with pytest.raises(RecipeError, match=r"input_size: expected \(16, 16\)"):
        dataclasses.replace(source, integers=tmp_path).sized((32, 32))


@pytest.mark.parametrize("name", ["weights.h5", "weights.weights.h5"])
def test_weights_with_a_description_beside_them_say_what_they_are(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(RecipeError, match="a file without a description"):
        find_source(tmp_path / name)
    config = RECIPE.model.replace(layout="resnet18", input_shape=(16, 16, 3))
    reading = {"normalisation": "imagenet", "central_crop": 0.875, "size": [16, 16]}
    known = Metadata(config, "", tuple("0123456789"), reading, (), "none")
    (tmp_path / "weights.json").write_text(json.dumps(known.to_dict()))
    source = find_source(tmp_path / name)
    assert (source.config, source.classes[1], source.name) == (config, "1", "groupnet_resnet18")
    named = dataclasses.replace(known, model_name="birealnet18").to_dict()
    (tmp_path / "weights.json").write_text(json.dumps(named))
    assert find_source(tmp_path / name).name == "birealnet18"
    recipe = recipe_to_judge(tmp_path / name, None, "digits", [("batch_size", "7")])
    assert (recipe.normalisation, recipe.central_crop) == ("imagenet", 0.875)
    assert (recipe.dataset, recipe.batch_size) == ("digits", 7)
    with pytest.raises(RecipeError, match="Give --dataset"):
        recipe_to_judge(tmp_path / name, None)
    (tmp_path / "weights.json").write_text("{}")
    with pytest.raises(UserError, match="expected a description that larq_groupnet has written"):
        find_source(tmp_path / name)


def test_weights_file_says_what_it_is_wherever_it_lies(tmp_path):
    import tensorflow as tf

    from larq_groupnet.weights import keras_files

    description = describe_recipe(RECIPE, list("abcdefghij"))
    keras_files.save(tf.keras.Sequential(), tmp_path / "moved.h5", description)
    source = find_source(tmp_path / "moved.h5")
    assert source.config == RECIPE.model
    assert source.classes == tuple("abcdefghij")
    recipe = recipe_to_judge(tmp_path / "moved.h5", None)
    assert (recipe.dataset, recipe.normalisation) == ("digits", "symmetric")


def test_size_that_a_network_leaves_open_is_given(tmp_path):
    (tmp_path / "open.h5").touch()
    config = RECIPE.model.replace(input_shape=(None, None, 1))
    known = Metadata(config, "digits", (), {"normalisation": "symmetric"}, (), "none")
    (tmp_path / "open.json").write_text(json.dumps(known.to_dict()))
    recipe = recipe_to_judge(tmp_path / "open.h5", None, None, [("input_size", "24")])
    assert recipe.model.input_shape == (24, 24, 1)


def test_registered_weights_go_by_name():
    for name in ("digits", "groupnet_resnet18:digits"):
        source = find_source(name)
        assert source.classes[9] == "9"
        assert source.preprocessing["normalisation"] == "symmetric"
    assert recipe_to_judge("digits", None).dataset == "digits"
    with pytest.raises(MissingFileError, match="Did you mean 'digits'"):
        find_source("digit")


def test_weights_that_nothing_describes_are_described_by_a_recipe(tmp_path):
    (tmp_path / "mine.h5").touch()
    recipe = recipe_to_judge(tmp_path / "mine.h5", RECIPE, None, [("num_bases", "2")])
    assert recipe.model.num_bases == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([("num_bases", "2")], "num_bases is 1, not 2"),
        ([("seed", "2")], "seed is 0, not 2"),
        ([("binary.learning_rate", "2")], "binary.learning_rate is 0.003, not 2"),
    ],
)
def test_evaluation_refuses_an_option_that_changes_nothing(changes, message, tmp_path):
    folder = write_run(tmp_path / "run", RECIPE, "binary.h5")
    with pytest.raises(RecipeError, match=message):
        recipe_to_judge(folder, None, None, changes)
    same = [("num_bases", "1"), ("seed", "0"), ("epochs", "5,15")]
    reading = [("batch_size", "3"), ("central_crop", "0.5"), ("input_size", "24")]
    recipe = recipe_to_judge(folder, None, None, [*same, *reading])
    assert (recipe.batch_size, recipe.model.input_shape) == (3, (24, 24, 1))
    with pytest.raises(RecipeError, match="model: expected groupnet_resnet18"):
        recipe_to_judge(folder, load_recipe("resnet18"))


def test_weights_of_another_network_are_refused_before_anything_is_built(tmp_path):
    from larq_groupnet.runs.start import check_start

    folder = write_run(tmp_path / "run", RECIPE, "binary.h5", "tanh.h5")
    start = dataclasses.replace(RECIPE, start_from=str(folder))
    check_start(start)
    check_start(override(start, [("binary", "false"), ("num_classes", "3")]))
    with pytest.raises(RecipeError, match="width: 0.0625 in the file, 0.125 in the model"):
        check_start(override(start, [("width", "0.125")]))


def test_run_is_loaded_at_any_size(tmp_path):
    import tensorflow as tf

    from larq_groupnet import build
    from larq_groupnet.runs.saved import load_run

    folder = write_run(tmp_path / "run")
    tf.keras.utils.set_random_seed(0)
    model = build(RECIPE.model)
    model.save_weights(folder / "binary.h5")
    model.save_weights(tmp_path / "copy.weights.h5")
    known = {"config": RECIPE.model.to_dict(), "licence": "none"}  # The format before version 2.
    (tmp_path / "copy.json").write_text(json.dumps(known))
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 1)).astype("f4")
    expected = model.predict_on_batch(images)
    for source in (folder, folder / "binary.h5", tmp_path / "copy.weights.h5"):
        np.testing.assert_array_equal(load_run(source).predict_on_batch(images), expected)
    assert load_run(folder, size=(24, 32)).input_shape == (None, 24, 32, 1)


def test_options_beside_registered_weights_are_kept_or_refused():
    """Also an option given at its default; the shipped set has width 0.25."""
    from larq_groupnet.recipes.start import with_start

    whole = load_recipe("groupnet_resnet18")
    taken = with_start(override(whole, [("width", "1.0")]), "digits")
    assert taken.model.width == 0.25  # A default that was not given.
    kept = with_start(override(whole, [("width", "1.0")]), "digits", {"width"})
    assert kept.model.width == 1.0
