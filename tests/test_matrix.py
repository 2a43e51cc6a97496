"""Every command on every kind of file works, or is refused in one line and writes nothing.

One network is built and one file converted. Each cell starts with zero weights and checks that the
command has loaded the file's weights.
"""

import json
import shutil

import numpy as np
import pytest
from test_identity import NAMES, READ, RECIPE, write_images, write_run

from larq_groupnet import deploy
from larq_groupnet.cli import main
from larq_groupnet.deploy.description import read_description
from larq_groupnet.network.build import build
from larq_groupnet.runs.identity import describe_recipe
from larq_groupnet.weights import keras_files, packed
from larq_groupnet.weights.metadata import Metadata
from larq_groupnet.weights.registry import list_weights, register
from larq_groupnet.weights.resolve import load_into
from tests.reference import randomise

COMMANDS = {
    "evaluate": "train --evaluate={file} --dataset=folder:{images} --output_dir={out}/judged",
    "predict": "predict {file} {images}/cat --output={out}/predicted",
    "convert": "convert {file} --output={out}/model.tflite",
    "audit": "audit {file}",
    "verify": "verify {file} {tflite} --samples=2",
    "summary": "summary {file}",
    "publish": "weights publish {file} mine CC0 --output={out}/published",
}

OBEYED = dict.fromkeys(COMMANDS, "")
UNDESCRIBED = dict.fromkeys(COMMANDS, "Received: a file without a description")
CHECKPOINT = dict.fromkeys(COMMANDS, "Convert it to weights: larq-groupnet import-checkpoint")
CONVERTED = {**dict.fromkeys(COMMANDS, "Received: a converted file"), "predict": "", "audit": ""}
NOTHING = dict.fromkeys(COMMANDS, "no such file, and no registered set")
STRANGE = {
    **dict.fromkeys(("evaluate", "predict", "verify"), "normalis"),
    **dict.fromkeys(("convert", "audit", "summary", "publish"), ""),
}

KINDS = {
    "run": {**OBEYED, "publish": "expected a finished run"},
    "run/binary.h5": OBEYED,
    "alone.h5": OBEYED,
    "ordered.weights.h5": OBEYED,
    "whole.keras": OBEYED,
    "release.safetensors": OBEYED,
    "mine": OBEYED,
    "groupnet_resnet18:mine": OBEYED,
    "strange.h5": STRANGE,
    "undescribed.h5": UNDESCRIBED,
    "undescribed.weights.h5": UNDESCRIBED,
    "undescribed.keras": {**UNDESCRIBED, "convert": "", "audit": ""},  # A whole Keras model.
    "state.npz": CHECKPOINT,
    "model.tflite": CONVERTED,
    "nothing.h5": NOTHING,
    "nothing": {**NOTHING, "summary": "unknown model 'nothing'"},
}
"""What the command line names -> what each command says; empty where it obeys."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a file of each kind, and the network whose weights they all contain."""
    folder = tmp_path_factory.mktemp("world")
    images = write_images(folder / "images")
    recipe = describe_recipe(RECIPE, NAMES)
    model = build(RECIPE.model)
    randomise(model.weights, seed=1)
    for weight in model.weights:  # Release files hold signs, so all files match.
        if "base" in weight.name and "kernel" in weight.name:
            weight.assign(np.sign(weight.numpy()))
    description = {**recipe, "dataset": f"folder:{images}"}
    run = write_run(folder / "run", dataset=f"folder:{images}")
    model.save_weights(run / "binary.h5")
    strange = {**description, "preprocessing": {"size": [16, 16]}, "dataset": "", "classes": []}
    for name, said in (("alone", description), ("strange", strange), ("undescribed", None)):
        keras_files.save(model, folder / f"{name}.h5", said)
    for name, json_name in (("ordered.weights.h5", "ordered"), ("whole.keras", "whole")):
        save = model.save if name.endswith(".keras") else model.save_weights
        save(folder / name)
        shutil.copy(folder / name, folder / f"undescribed{name[len(json_name) :]}")
        (folder / f"{json_name}.json").write_text(json.dumps(description))
    about = Metadata.from_dict({**description, "licence": "CC0"})
    packed.save(model, about, folder / "release.safetensors")
    np.savez(folder / "state.npz", a=1)
    deploy.convert(model, folder / "model.tflite", description={"classes": NAMES,
                   "preprocessing": READ, "output": "probabilities"})  # fmt: skip
    return folder, model, [weight.numpy() for weight in model.weights]


@pytest.fixture
def cell(world, eager, monkeypatch, tmp_path):
    """Makes commands share one network and skip the conversion itself."""
    folder, model, values = world
    monkeypatch.setenv("LARQ_GROUPNET_CACHE", str(tmp_path / "cache"))
    register(folder / "release.safetensors", "mine", "groupnet_resnet18")
    seen = []

    def built(config, weights=None, name=""):
        assert config.replace(binary=True) == RECIPE.model
        for weight in model.weights:
            weight.assign(np.zeros_like(weight))
        if weights is not None:
            load_into(model, config, weights)
        return model

    def convert(network, path, *, data=None, description=None, input_shape=None):
        seen.append(description or {"classes": []})
        path.parent.mkdir()
        shutil.copy(folder / "model.tflite", path)
        return path

    for place in ("family.build", "recipes.fitting.build"):
        monkeypatch.setattr(f"larq_groupnet.{place}", built)
    monkeypatch.setattr("larq_groupnet.recipes.fitting.audit", lambda network: [])
    monkeypatch.setattr(deploy, "convert", convert)
    monkeypatch.setattr(deploy, "verify", lambda network, *_: "verified")
    monkeypatch.chdir(folder)
    return seen


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", KINDS)
def test_command_obeys_or_says_in_one_line_why_not(
    kind, command, cell, world, tmp_path, capsys
):  # fmt: skip
    folder, model, values = world
    out = tmp_path / "out"
    where = {"file": kind, "images": folder / "images", "out": out}
    text = COMMANDS[command].format(**where, tflite=folder / "model.tflite")
    status, said = main([*text.split(), *data_dir(command, tmp_path)]), capsys.readouterr()
    expected = KINDS[kind][command]
    if expected:
        assert status == 2
        assert expected in said.err.splitlines()[-1], said.err
        assert "Traceback" not in said.err and not out.exists()
        return
    assert status == 0, said.err
    check_output(command, out, said.out, cell, kind)
    if command != "summary" and kind not in ("model.tflite", "undescribed.keras"):
        for weight, value in zip(model.weights, values, strict=True):
            np.testing.assert_array_equal(weight, value, err_msg=weight.name)


def data_dir(command, tmp_path):
    """The flag, for commands that take it."""
    return [] if command in ("audit", "publish") else [f"--data_dir={tmp_path / 'data'}"]


def check_output(command, out, printed, converted, kind):
    """Checks that a command's output names the classes if the file does."""
    names = ["class_0", "class_1"] if kind == "strange.h5" else list(NAMES)
    if command == "evaluate":
        results = json.loads((out / "judged/evaluation.json").read_text())
        assert list(results["keras"]["recall"]) == names
        assert results["preprocessing"]["central_crop"] == 0.875
    elif command == "predict":
        lines = (out / "predicted/predictions.csv").read_text().splitlines()
        assert {line.split(",")[2] for line in lines[1:]} == set(names)
    elif command == "convert":
        unknown = kind in ("strange.h5", "undescribed.keras")
        assert list(converted[0]["classes"]) == ([] if unknown else names)
        assert read_description(out / "model.tflite")
    elif command == "publish":
        (entry, *_) = (e for e in list_weights("*") if e.name == "mine")
        assert entry.metadata.config == RECIPE.model
        assert (out / "published/groupnet_resnet18-mine.md").is_file()
    elif command == "summary":
        assert "stage2" in printed
