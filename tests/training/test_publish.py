"""From a finished run to what others can use, and what is said of one that cannot be published."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil

import numpy as np
import pytest
from conftest import ROOT
from runs import command

from larq_groupnet.errors import UserError
from larq_groupnet.family import get_config, get_model
from larq_groupnet.network.build import build
from larq_groupnet.recipes.overrides import override, split_option
from larq_groupnet.training import Phase, Recipe, load_recipe
from larq_groupnet.training.publish import PublishError, _command, publish
from larq_groupnet.weights import packed
from larq_groupnet.weights.registry import Entry, RegistryError
from tests.reference import random_images, randomise

NAMES = ("a|b", "c", "d")
CONFIG = get_config(
    "groupnet_resnet18",
    input_shape=(16, 16, 1),
    stage_blocks=(1, 1, 1, 1),
    width=0.0625,
    num_bases=2,
    num_classes=3,
)
PHASES = (Phase("tanh", 1, 0.1, False), Phase("binary", 2, 0.01, True), Phase("after", 0, 1, True))
RECIPE = Recipe(
    "groupnet_resnet18", CONFIG, PHASES, "digits", normalisation="symmetric", central_crop=0.875
)
RESULTS = {
    "name": RECIPE.name,
    "dataset": "digits",
    "headline": "accuracy",
    "unit": "images",
    "keras": {
        "accuracy": 0.71875,
        "top5": 0.96875,
        "recall": {"a|b": float("nan"), "c": 0.25, "d": 0.5},
        "bytes": 3 * 2**20,
    },
    "lce": {
        "accuracy": 0.6875,
        "top5": 0.9375,
        "recall": {"a|b": float("nan"), "c": 0.125, "d": 0.5},
        "bytes": 2**19,
    },
    "agreement": 0.9,
    "engine": "larq-groupnet-runtime",
    "parameters": 1234567,
    "macs": {"1": 7654321, "32": 98765},
}
PUBLISHED = "python train.py --model groupnet_resnet18 --set tiny"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a finished run, and its network."""
    folder = tmp_path_factory.mktemp("finished")
    model = build(CONFIG)
    randomise(model.weights, seed=1)
    model.save_weights(folder / "binary.h5")
    (folder / "recipe.json").write_text(json.dumps(RECIPE.to_dict()))
    (folder / "results.json").write_text(json.dumps(RESULTS))
    for picture in ("curves", "predictions", "confusion"):
        (folder / f"{picture}.png").write_bytes(picture.encode())
    return folder, model


@pytest.fixture
def run(tmp_path, finished):
    """A copy of it that may be broken."""
    return shutil.copytree(finished[0], tmp_path / "run")


@pytest.fixture(scope="module")
def published(tmp_path_factory, finished):
    """The folder that it was published to, and the entry."""
    folder = tmp_path_factory.mktemp("published")
    entry = publish(finished[0], "tiny", folder, licence="CC0\nand more", command=PUBLISHED)
    return folder, entry


def test_all_of_it_is_written(published):
    folder, entry = published
    assert {path.name for path in folder.iterdir()} == {
        entry.file,
        "groupnet_resnet18-tiny.md",
        "groupnet_resnet18-tiny-confusion.png",
        "groupnet_resnet18-tiny-curves.png",
        "groupnet_resnet18-tiny-predictions.png",
        "registry.json",
        "registry.lock",
    }
    for picture in ("curves", "predictions", "confusion"):
        path = folder / f"groupnet_resnet18-tiny-{picture}.png"
        assert path.read_bytes() == picture.encode()
    assert json.loads((folder / "registry.json").read_text()) == [
        json.loads(json.dumps(entry.to_dict()))
    ]


def test_entry_is_that_of_the_run(published):
    folder, entry = published
    metadata = entry.metadata
    assert (entry.name, entry.model) == ("tiny", "groupnet_resnet18")
    assert metadata == packed.read(folder / entry.file)[0]
    assert (metadata.config, metadata.dataset, metadata.classes) == (CONFIG, "digits", NAMES)
    assert metadata.licence == "CC0\nand more"
    assert metadata.preprocessing == {
        "size": [16, 16],
        "normalisation": "symmetric",
        "central_crop": 0.875,
        "scales": [],
        "flip": False,
    }
    assert {metric.command for metric in metadata.metrics} == {PUBLISHED}
    assert {metric.name: metric.value for metric in metadata.metrics} == {
        "accuracy (top-1), Keras": 0.71875,
        "accuracy (top-1), larq-groupnet-runtime": 0.6875,
        "accuracy (top-5), Keras": 0.96875,
        "accuracy (top-5), larq-groupnet-runtime": 0.9375,
    }


def test_folder_serves_as_a_cache(published, finished, monkeypatch):
    monkeypatch.setenv("LARQ_GROUPNET_CACHE", str(published[0]))
    model = get_model("groupnet_resnet18", weights="tiny")
    images = random_images(2, 16, 16, 1).astype("float32")
    np.testing.assert_array_equal(model(images), finished[1](images))


def test_card_says_everything(published):
    folder, entry = published
    card = (folder / "groupnet_resnet18-tiny.md").read_text()
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", card, re.MULTILINE)
    for row in (
        ("accuracy (top-1)", "0.7188 | 0.6875"),
        ("accuracy (top-5)", "0.9688 | 0.9375"),
        ("recall, a\\|b", "nan | nan"),
        ("recall, c", "0.2500 | 0.1250"),
        ("recall, d", "0.5000 | 0.5000"),
        ("parameters", "1,234,567"),
        ("MACs, 1-bit", "7,654,321"),
        ("MACs, 32-bit", "98,765"),
        ("weights as Keras saves them", "3.00 MiB"),
        ("`.tflite`", "0.50 MiB"),
        ("release file", f"{entry.size / 2**20:.2f} MiB (`{entry.file}`)"),
        ("tanh", "False | 1 | adam | 0.1 | cosine"),
        ("binary", "True | 2 | adam | 0.01 | cosine"),
        ("`num_bases`", "2"),
        ("`padding`", "same"),
    ):
        assert row in rows
    for text in (
        '# groupnet_resnet18, weights "tiny"',
        "images of 16 x 16 pixels, 1 channel,",
        "1,797 handwritten digits",
        "https://archive.ics.uci.edu",
        "central square whose side is 0.875 of its",
        "pixels of 0 to 255 become -1 to 1",
        PUBLISHED,
        "was run by larq-groupnet-runtime. Keras and larq-groupnet-runtime give the same class to "
        "90.000 % of the images",
        entry.sha256,
        "lowest for class c: 0.2500",
        "disagrees with Keras, do not deploy it",
        "CC0\nand more",
        "](groupnet_resnet18-tiny-predictions.png)",
        "](groupnet_resnet18-tiny-curves.png)",
        "](groupnet_resnet18-tiny-confusion.png)",
        'get_model("groupnet_resnet18", weights="tiny")',
    ):
        assert text in card
    assert "after" not in dict(rows)


def test_test_images_stay_behind_when_asked(run, tmp_path):
    entry = publish(run, "mine", tmp_path / "out", command=PUBLISHED, test_images=False)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert f"{entry.model}-mine-curves.png" in names
    assert not [name for name in names if "predictions" in name]
    assert "predictions.png" not in (tmp_path / "out" / f"{entry.model}-mine.md").read_text()


def test_run_of_before_has_no_confusion_and_says_no_engine(run, tmp_path):
    (run / "confusion.png").unlink()
    before = {key: value for key, value in RESULTS.items() if key != "engine"}
    (run / "results.json").write_text(json.dumps(before))
    publish(run, "mine", tmp_path, command=PUBLISHED)
    card = (tmp_path / "groupnet_resnet18-mine.md").read_text()
    assert "confusion" not in card.lower()
    assert "was run by LCE. Keras and LCE give" in card


def test_card_has_a_column_for_each_engine(run, tmp_path):
    other = {**RESULTS["lce"], "accuracy": 0.65625}
    (run / "results.json").write_text(json.dumps({**RESULTS, "interpreter": other}))
    entry = publish(run, "mine", tmp_path, command=PUBLISHED)
    card = (tmp_path / "groupnet_resnet18-mine.md").read_text()
    assert "| | Keras | larq-groupnet-runtime | LCE |\n|---|---|---|---|\n" in card
    assert "| accuracy (top-1) | 0.7188 | 0.6875 | 0.6562 |\n" in card
    assert "| recall, c | 0.2500 | 0.1250 | 0.1250 |\n" in card
    assert "was run by larq-groupnet-runtime and by LCE's interpreter. Keras and larq" in card
    found = {metric.name: metric.value for metric in entry.metadata.metrics}
    assert found["accuracy (top-1), LCE"] == 0.65625


def test_publishing_again_replaces_and_another_name_is_added(published, run, tmp_path):
    folder = shutil.copytree(published[0], tmp_path / "again")
    changed = {**RESULTS, "keras": {**RESULTS["keras"], "accuracy": 0.75}, "agreement": 1}
    changed["lce"] = changed["keras"]
    (run / "results.json").write_text(json.dumps(changed))
    second = publish(run, "tiny", folder, licence="CC0", command="measured again")
    third = publish(run, "other", folder, licence="CC0", command="measured again")
    entries = json.loads((folder / "registry.json").read_text())
    assert [entry["file"] for entry in entries] == [third.file, second.file]
    assert {path.name for path in folder.glob("*.safetensors")} == {third.file, second.file}
    card = (folder / "groupnet_resnet18-tiny.md").read_text()
    assert "| 0.7500 | 0.7500 |" in card and "disagrees" not in card


def test_run_that_ends_real_valued_is_published_as_such(run, tmp_path):
    phases = (PHASES[0], dataclasses.replace(PHASES[1], epochs=0))
    recipe = dataclasses.replace(RECIPE, name="my_network", phases=phases)
    (run / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    (run / "binary.h5").rename(run / "tanh.h5")
    entry = publish(run, "real", tmp_path / "out", licence="CC0", command="x")
    assert entry.metadata.config == CONFIG.replace(binary=False)
    card = (tmp_path / "out" / "my_network-real.md").read_text()
    assert "A real-valued network" in card
    # No function of the package has this name, so the card shows how to load the file.
    assert f'build(metadata.config, weights="{entry.file}")' in card


# What is refused, with nothing written.


@pytest.mark.parametrize("missing", ["results.json", "binary.h5", "predictions.png", "curves.png"])
def test_unfinished_run_says_what_is_missing_and_how_to_go_on(run, tmp_path, missing):
    (run / missing).unlink()
    (run / "tanh.h5").touch()  # An earlier phase is no substitute.
    with pytest.raises(PublishError, match=f"expected a finished run.*has no {missing}") as error:
        publish(run, "tiny", tmp_path / "out", licence="CC0", command="x")
    assert f"larq-groupnet train --resume {run}" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(PublishError, match="expected the folder of a run.*no recipe.json"):
        publish(tmp_path, "tiny", tmp_path / "out", licence="CC0")


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("results.json", '{"headline": 1}', "Received none of: unit, keras, lce"),
        ("results.json", '{"head', "Received none of: headline, unit, keras, lce"),
        ("recipe.json", "{}", "expected a recipe that this version can read.*recipe.json: 'phases"),
        ("recipe.json", "[]", "expected a recipe that this version can read.*list indices"),
    ],
    ids=["old", "cut", "empty", "list"],
)
def test_files_of_another_kind_are_named(run, tmp_path, file, text, expected):
    (run / file).write_text(text)
    with pytest.raises(UserError, match=expected):
        publish(run, "tiny", tmp_path / "out", licence="CC0", command="x")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "error"), [({"name": "A b"}, RegistryError), ({"licence": " "}, ValueError)]
)
def test_wrong_name_or_licence_writes_nothing(run, tmp_path, arguments, error):
    arguments = {"name": "tiny", "licence": "CC0", "command": "x", **arguments}
    with pytest.raises(error, match="lower-case letters|licence: expected a text"):
        publish(run, output_dir=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_nothing_is_registered_without_its_card(run, tmp_path, monkeypatch):
    def full(*paths):
        raise OSError("no space left")

    monkeypatch.setattr("larq_groupnet.training.publish.shutil.copyfile", full)
    with pytest.raises(OSError, match="no space left"):
        publish(run, "tiny", tmp_path / "out", licence="CC0", command="x")
    assert not list((tmp_path / "out").iterdir())


# The command that a recipe stands for.


CHANGES = {
    "none": [],
    "all phases": [("epochs", "2,3"), ("seed", "7")],
    "a phase": [("binary.optimizer", "adamw"), ("binary.weight_decay", "0.01")],
    "options": [("num_bases", "(1, 2, 3, 4)"), ("input_shape", "(32, 32, 3)"), ("gate", "base")],
    "real": [("binary", "false")],
    "tuple": [("binary.schedule", "steps"), ("binary.drops", "(3, 5)")],
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("dataset", ["digits", "imagenet2012"])
def test_command_has_the_recipe(changes, dataset):
    base = load_recipe("groupnet_resnet18", ROOT / "zoo", dataset)
    recipe = override(base, changes)
    words = shlex.split(_command(recipe, ROOT / "zoo"))
    start = ["python", "train.py", "--model", "groupnet_resnet18"]
    start += ["--dataset", dataset] if dataset != "digits" else []
    assert words[: len(start)] == start
    options, values = words[len(start) :: 2], words[len(start) + 1 :: 2]
    assert set(options) <= {"--set"} and bool(values) == bool(changes)
    assert override(base, map(split_option, values)) == recipe


def test_command_has_the_precision():
    recipe = load_recipe("groupnet_resnet18", ROOT / "zoo")
    assert "precision" not in _command(recipe, ROOT / "zoo")
    words = shlex.split(_command(recipe, ROOT / "zoo", "mixed_bfloat16"))
    assert words[-2:] == ["--mixed_precision", "mixed_bfloat16"]


def test_recipe_that_no_options_make_needs_the_command(tmp_path):
    recipe = load_recipe("groupnet_resnet18", ROOT / "zoo")
    phases = (*recipe.phases, Phase("third", 1, 0.1, True))
    with pytest.raises(PublishError, match="groupnet_resnet18.py has different phases"):
        _command(dataclasses.replace(recipe, phases=phases), ROOT / "zoo")
    with pytest.raises(PublishError, match=rf"there is no {tmp_path}/groupnet_resnet18.py"):
        _command(recipe, tmp_path)


def test_command_line_publishes(run, tmp_path, monkeypatch):
    run = run.rename(tmp_path / "a run")
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "groupnet_resnet18.py").write_text(
        "import json, pathlib\nfrom larq_groupnet.training import Recipe\n"
        f"text = pathlib.Path({str(run / 'recipe.json')!r}).read_text()\n"
        "RECIPES = [Recipe.from_dict(json.loads(text))]\n"
    )
    monkeypatch.chdir(tmp_path)
    done = command("weights", "publish", run, "tiny", "CC BY 4.0", "--output", "out")
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "out").glob("*.safetensors")
    size = f"{path.stat().st_size / 2**20:.2f} MiB"
    assert done.stdout == f"out/{path.name}: {size}, with its card\n"
    (entry,) = map(Entry.from_dict, json.loads((tmp_path / "out" / "registry.json").read_text()))
    assert entry.metadata.licence == "CC BY 4.0"
    assert entry.metadata.metrics[0].command == "python train.py --model groupnet_resnet18"


def test_run_of_a_recipe_elsewhere_is_published_with_its_command(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["weights", "publish", "run", "tiny", "CC0", "--output=out"]
    done = command(*words)
    assert done.returncode == 2 and not (tmp_path / "out").exists()
    assert "Received: none. Give it as command" in done.stderr
    made = "python train.py --model elsewhere/mine.py"
    done = command(*words, f"--command={made}")
    assert done.returncode == 0, done.stderr
    (entry,) = map(Entry.from_dict, json.loads((tmp_path / "out" / "registry.json").read_text()))
    assert {metric.command for metric in entry.metadata.metrics} == {made}
    (card,) = (tmp_path / "out").glob("*.md")
    assert made in card.read_text()
