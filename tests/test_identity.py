"""Wherever weights are used, classes match by name and order and images are read as in training."""

import dataclasses
import json

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from larq_groupnet import build
from larq_groupnet.cli import main
from larq_groupnet.deploy.description import with_description
from larq_groupnet.errors import DatasetError, RecipeError
from larq_groupnet.network.names import is_of_head
from larq_groupnet.recipes import load_recipe, override
from larq_groupnet.runs.identity import describe_recipe, record_classes
from larq_groupnet.runs.source import find_source
from larq_groupnet.runs.start import learned_other_classes
from larq_groupnet.tasks.task import task_of
from larq_groupnet.training import fit
from larq_groupnet.training.callbacks import BestWeights
from larq_groupnet.training.distillation import load_teacher
from larq_groupnet.weights import keras_files
from larq_groupnet.weights.described import metadata_of

NAMES = ("cat", "dog")
SMALL = [("layout", "two_stages"), ("output_stride", "2"), ("num_bases", "1"), ("width", "0.0625")]
RECIPE = override(
    load_recipe("groupnet_resnet18", ROOT / "zoo"),
    [*SMALL, ("input_shape", "(16, 16, 3)"), ("num_classes", "2"), ("central_crop", "0.875"),
     ("normalisation", "imagenet")],
)  # fmt: skip
READ = {
    "size": [16, 16], "normalisation": "imagenet", "central_crop": 0.875, "scales": [],
    "flip": False,
}  # fmt: skip


def write_images(root, names=NAMES, count=4):
    rng = np.random.default_rng(0)
    for name in names:
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(
                root / name / f"{name}{i}.png"
            )
    return root


def write_run(folder, names=NAMES, dataset="nowhere"):
    folder.mkdir()
    recipe = dataclasses.replace(RECIPE, dataset=dataset)
    (folder / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    record_classes(folder, names)
    (folder / "binary.h5").touch()
    return folder


def content_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The weights file of one epoch, alone in a folder."""
    folder = tmp_path_factory.mktemp("weights")
    model = build(RECIPE.model)
    description = describe_recipe(RECIPE, NAMES)
    keeper = BestWeights(
        folder / "binary.h5", folder / "binary-last.h5", "accuracy", None, False, description
    )
    keeper.set_model(model)
    keeper.on_epoch_end(0, {"val_accuracy": 0.5})
    return folder / "binary.h5"


def test_weights_of_an_epoch_carry_classes_and_reading_and_keras_loads_them(weights):
    for path in (weights, weights.with_name("binary-last.h5")):
        known = metadata_of(path)
        assert (known.config, known.classes, known.preprocessing) == (RECIPE.model, NAMES, READ)
        build(RECIPE.model).load_weights(path)
    assert {path.name for path in weights.parent.iterdir()} == {"binary.h5", "binary-last.h5"}


REFUSED = {
    "another name": (("cat", "wolf"), "'dog' as class 1. Received: 'wolf'"),
    "another order": (("aardvark", "cat"), "'cat' as class 0. Received: 'aardvark'"),
    "one more": (("cat", "cow", "dog"), "2: cat, dog. Received: 3: cat, cow, dog"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("whose", ["run", "file"])
def test_evaluation_on_other_classes_is_refused(case, whose, weights, tmp_path, capsys):
    names, message = REFUSED[case]
    source = write_run(tmp_path / "run") if whose == "run" else weights
    images = write_images(tmp_path / "images", names)
    words = ["train", f"--evaluate={source}", f"--dataset=folder:{images}"]
    assert main([*words, f"--data_dir={tmp_path / 'data'}", f"--output_dir={tmp_path / 'e'}"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"classes: expected the classes of {source}" in line and message in line
    assert not (tmp_path / "e").exists()


def test_resuming_with_a_renamed_class_is_refused_and_changes_nothing(tmp_path, capsys):
    images = write_images(tmp_path / "images")
    run = write_run(tmp_path / "run", dataset=f"folder:{images}")
    (images / "dog").rename(images / "wolf")
    before = content_of(run)
    words = ["train", f"--resume={run}", f"--data_dir={tmp_path / 'data'}"]
    assert main(words) == 2
    assert "'dog' as class 1. Received: 'wolf'" in capsys.readouterr().err.splitlines()[-1]
    assert content_of(run) == before


def test_teacher_of_another_order_is_refused(tmp_path, capsys):
    images = write_images(tmp_path / "images")
    teacher = write_run(tmp_path / "teacher", ("dog", "cat"))
    student = write_run(tmp_path / "run", dataset=f"folder:{images}")
    recipe = json.loads((student / "recipe.json").read_text())
    recipe["teacher"] = str(teacher)
    recipe["phases"][-1]["soft_targets"] = 0.5
    (student / "recipe.json").write_text(json.dumps(recipe))
    assert main(["train", f"--resume={student}", f"--data_dir={tmp_path / 'data'}"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"the classes of the teacher {teacher}, 'dog' as class 0. Received: 'cat'" in said


def test_teacher_that_does_not_say_how_it_reads_is_refused(tmp_path):
    path = tmp_path / "teacher.h5"
    description = {**describe_recipe(RECIPE, NAMES), "preprocessing": {}}
    keras_files.save(build(RECIPE.model), path, description)
    with pytest.raises(RecipeError, match=r"states the normalisation\. Received: .*h5"):
        load_teacher(override(RECIPE, [("teacher", str(path)), ("binary.soft_targets", "0.5")]))


def test_converted_file_of_another_order_is_not_verified(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    file = tmp_path / "model.tflite"
    file.write_bytes(with_description(b"\0\0\0\0TFL3", {"classes": NAMES[::-1]}))
    assert main(["verify", str(run), str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"the classes of {run}, 'cat' as class 0. Received: 'dog' in {file}" in line


def test_start_that_has_learned_other_classes_gives_all_but_its_head(tmp_path):
    run = write_run(tmp_path / "run")
    recipe = dataclasses.replace(RECIPE, start_from=str(run))
    assert not learned_other_classes(recipe, ["cat", "dog"])
    assert learned_other_classes(recipe, ["dog", "cat"])
    assert not learned_other_classes(RECIPE, ["dog", "cat"])
    shipped = dataclasses.replace(RECIPE, start_from="digits")
    changes = [("normalisation", "symmetric"), ("input_shape", "(16, 16, 1)"), ("num_bases", "5")]
    changes += [("width", "0.25"), ("layout", "resnet18"), ("output_stride", "8")]
    changes += [("num_classes", "10")]
    shipped = override(shipped, changes)
    assert not learned_other_classes(shipped, list("0123456789"))
    assert learned_other_classes(shipped, list("1234567890"))
    integers = dataclasses.replace(
        recipe, phases=(dataclasses.replace(recipe.phases[-1], name="int8", int8=True),)
    )
    with pytest.raises(DatasetError, match="'cat' as class 0. Received: 'dog'"):
        learned_other_classes(integers, ["dog", "cat"])


def test_phase_that_starts_from_other_classes_has_a_new_head(tmp_path, capsys, monkeypatch):
    def keep(session, model, phase, *_):
        model.save_weights(session.weights(phase))

    monkeypatch.setattr(fit, "_fit", keep)
    session = fit.Session(None, 1, None, tmp_path, task_of(RECIPE.model), new_head=True)
    recipe = dataclasses.replace(RECIPE, phases=RECIPE.phases[-1:])
    start = build(RECIPE.model)
    found = build(RECIPE.model, weights=fit.train(recipe, session, start))
    assert "because the classes differ: " in capsys.readouterr().out
    ours, theirs = ({w.name: w.numpy() for w in m.weights} for m in (found, start))
    kernels = {name for name in ours if name.endswith("kernel:0")}
    same = {name for name in kernels if np.array_equal(ours[name], theirs[name])}
    assert kernels - same == {name for name in kernels if is_of_head(name)} != set()


def test_registered_weights_and_files_say_how_they_read(weights):
    assert find_source(weights).preprocessing == READ
    shipped = find_source("digits").preprocessing
    assert (shipped["size"], shipped["normalisation"]) == ([16, 16], "symmetric")
