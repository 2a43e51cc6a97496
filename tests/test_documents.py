"""Every command and code block of README.md and docs/ runs as it stands."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from documents import ELSEWHERE, blocks, commands
from PIL import Image

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
NAMES = {page: page.relative_to(ROOT).as_posix() for page in PAGES}


def run(folder, *words):
    commands = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "PATH": commands},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="session")
def world(tmp_path_factory, data_dir):
    """A folder with what the pages take for granted: two runs, their files, and pictures."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "data").symlink_to(data_dir)
    (folder / "zoo").symlink_to(ROOT / "zoo")
    rng = np.random.RandomState(0)
    (folder / "pictures").mkdir()
    for name in ("pictures/scene.png", "photo.jpg"):
        Image.fromarray(rng.randint(0, 256, (96, 96, 3), np.uint8)).save(folder / name)
    Image.fromarray(rng.randint(0, 256, (16, 16), np.uint8)).save(folder / "digit.png")
    for name, model in (("mine", "groupnet_dsp"), ("teacher", "resnet18")):
        done = run(
            folder,
            "-c",
            "import sys; from documents import run_command; run_command(sys.argv[1])",
            f"python train.py --model {model} --output_dir runs/{name}",
        )
        assert done.returncode == 0, done.stdout + done.stderr
    for alias in ("runs/NAME", "runs/k5", "RUN", "RUN_OR_FILE"):
        (folder / alias).symlink_to(folder / "runs/mine")
    (folder / "runs/real").symlink_to(folder / "runs/teacher")
    for file in ("model.tflite", "other.tflite"):
        (folder / file).symlink_to(folder / "runs/mine/model.tflite")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_every_block_of_a_page_runs(page, world):
    if not any(language in ("python", "sh", "bash") for language, _ in blocks(page)):
        pytest.skip("no code on this page")
    done = run(world, ROOT / "tests/documents.py", page)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


def test_every_reason_to_leave_a_command_out_is_needed():
    found = [c for page in PAGES for kind, text in blocks(page) if kind != "python"
             for c in commands(text)]  # fmt: skip
    assert not [part for part in ELSEWHERE if not any(part in command for command in found)]
