"""A recipe as a file: the same recipe comes back, and the file is one of this project."""

import dataclasses
import subprocess
import sys

import larq as lq
import pytest
from conftest import ROOT

from larq_groupnet.training import RecipeError, load_recipe
from larq_groupnet.tuning.zoo_file import recipe_source, write_zoo_file

RECIPES = [
    load_recipe(name, ROOT / "zoo", dataset)
    for name, dataset in [
        ("groupnet_dsp", None),
        ("groupnet_resnet18", "imagenet2012"),
        ("resnet18", "digits"),
    ]
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_recipe_that_is_written_is_the_one_that_is_read(tmp_path, recipe):
    recipe = dataclasses.replace(recipe, model=recipe.model.replace(stage_blocks=(1, 2, 1, 1)))
    path = tmp_path / "found.py"
    long = "A word that is repeated until the line is too long for the project. " * 3
    write_zoo_file(path, recipe, "What it is.", [long, 'C:\\path and """', "    python x.py"])
    assert load_recipe(str(path), ROOT / "zoo") == dataclasses.replace(recipe, name="found")
    for command in (["check"], ["format", "--check"]):
        subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--config", ROOT / "pyproject.toml", path],
            check=True,
        )


def test_quantizer_that_is_an_object_cannot_be_written():
    model = RECIPES[0].model.replace(kernel_quantizer=lq.quantizers.SteSign(clip_value=None))
    with pytest.raises(RecipeError, match="expected a recipe of plain values"):
        recipe_source(dataclasses.replace(RECIPES[0], model=model))


def test_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RecipeError, match="unknown model"):
        load_recipe(str(tmp_path / "found.py"), ROOT / "zoo")
