"""A recipe as a file: the same recipe comes back, and the file is one of this project."""

import contextlib
import dataclasses
import re
import shutil
import subprocess
import sys

import larq as lq
import pytest
from conftest import ROOT
from runs import command

from larq_groupnet.network.kinds import DECOMPOSITIONS
from larq_groupnet.recipes import load_recipes
from larq_groupnet.training import RecipeError, load_recipe
from larq_groupnet.tuning.trial import Trainer
from larq_groupnet.tuning.zoo_file import recipe_source, write_zoo_file

RECIPES = [
    load_recipe(name, ROOT / "zoo", dataset)
    for name, dataset in [
        ("groupnet_dsp", None),
        ("groupnet_resnet18", "imagenet2012"),
        ("resnet18", "digits"),
    ]
]


@contextlib.contextmanager
def registering(registry):
    """Afterwards, all is as it was."""
    before = set(registry)
    yield
    for name in set(registry) - before:
        registry.remove(name)


def assert_tidy(path):
    """Ruff has nothing to say of a file, by this project's rules."""
    for words in (["check"], ["format", "--check"]):
        config = ["--config", ROOT / "pyproject.toml", path]
        subprocess.run([sys.executable, "-m", "ruff", *words, *config], check=True)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_recipe_that_is_written_is_the_one_that_is_read(tmp_path, recipe):
    recipe = dataclasses.replace(recipe, model=recipe.model.replace(stage_blocks=(1, 2, 1, 1)))
    path = tmp_path / "found.py"
    long = "A word that is repeated until the line is too long for the project. " * 3
    write_zoo_file(path, recipe, "What it is.", [long, 'C:\\path and """', "    python x.py"])
    assert load_recipe(str(path), ROOT / "zoo") == dataclasses.replace(recipe, name="found")
    assert_tidy(path)


@pytest.mark.slow
def test_winner_of_a_file_that_registers_names_is_read_by_a_new_process(
    digits, tmp_path, monkeypatch
):
    """As docs/extending.md has it: the file of --model imports the decomposition beside it."""
    shutil.copy(ROOT / "tests/extending/decomposition.py", tmp_path / "rings.py")
    mine, out = tmp_path / "mine.py", tmp_path / "out"
    write_zoo_file(mine, RECIPES[1], "Mine.", [])
    mine.write_text(f"{mine.read_text()}\nimport rings\n")
    monkeypatch.setattr(Trainer, "train", lambda *_: 0.5)
    options = ["--set=decomposition=ring", "--set=num_bases=1|2", "--max_trials=1", "--uniform="]
    folders = [f"--data_dir={digits}", f"--output_dir={out}"]
    with registering(DECOMPOSITIONS):
        done = command("train", f"--model={mine}", "--dataset=digits", "--tune", *options, *folders)
    assert done.returncode == 0, done.stderr
    (found,) = re.findall("^    larq-groupnet train --model (.*)$", done.stdout, re.MULTILINE)
    assert_tidy(found)
    code = f"from larq_groupnet.recipes import load_recipe as r; print(r({found!r}).model)"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT, text=True, capture_output=True)
    assert "decomposition='ring'" in done.stdout, done.stderr


def test_file_of_the_package_registers_nothing_and_another_may(tmp_path, monkeypatch):
    (tmp_path / "zoo").mkdir()
    shutil.copy(ROOT / "zoo/resnet18.py", tmp_path / "zoo/mine.py")
    shutil.copy(ROOT / "zoo/resnet18.py", tmp_path / "zoo/resnet18.py")
    monkeypatch.chdir(tmp_path)
    assert load_recipes("groupnet_dsp").own_file == ""
    for name in ("mine", "resnet18"):  # The second hides that of the package.
        assert load_recipes(name).own_file == str(tmp_path / "zoo" / f"{name}.py")


def test_quantizer_that_is_an_object_cannot_be_written():
    model = RECIPES[0].model.replace(kernel_quantizer=lq.quantizers.SteSign(clip_value=None))
    with pytest.raises(RecipeError, match="expected a recipe of plain values"):
        recipe_source(dataclasses.replace(RECIPES[0], model=model))


def test_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RecipeError, match="unknown model"):
        load_recipe(str(tmp_path / "found.py"), ROOT / "zoo")
