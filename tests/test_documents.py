"""Every command and code block of README.md and docs/ runs as written; see tests/documents.py."""

import json
import re
import shlex
import subprocess
import sys
from collections import Counter

import pytest
from conftest import ROOT
from documents import blocks, commands, own_command, pages

from larq_groupnet import cli

NOT_RUN = {
    "README.md": 1,  # `make demo`
    "docs/devices.md": 5,  # a Pi, Android, figures
    "docs/distributed.md": 2,  # several devices
    "docs/evidence.md": 1,  # hours
    "docs/gpu.md": 2,
    "docs/imagenet.md": 4,  # ImageNet
    "docs/install.md": 3,  # pip
    "docs/photos-to-pi.md": 2,  # a Pi
    "docs/search.md": 2,  # several processes
    "docs/segmentation.md": 2,  # the authors' files, VOC
    "docs/training.md": 2,  # downloads
    "docs/weights.md": 2,  # the authors' files
}
"""How many blocks of a page may be marked `<!-- not run: REASON -->`."""

NAMES = [page.relative_to(ROOT).as_posix() for page in pages()]

LANGUAGES = {"python", "sh", "bash", "c", "text"}


@pytest.fixture(scope="module")
def failures():
    """Page -> its failed blocks; all pages run in one process."""
    done = subprocess.run(
        [sys.executable, ROOT / "tests/documents.py"], cwd=ROOT, capture_output=True, text=True
    )
    last = done.stdout.splitlines()[-1:]
    assert last and last[0].startswith("{"), done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(last[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_block_of_a_page_runs(name, failures):
    assert not failures[name], "\n".join(failures[name])


def test_few_blocks_are_marked_as_not_run_and_each_says_why():
    marked = [block for page in pages() for block in blocks(page) if block.not_run]
    assert Counter(block.page for block in marked) == NOT_RUN


def test_python_imports_the_package_before_tensorflow_and_larq():
    for block in (b for page in pages() for b in blocks(page) if b.language == "python"):
        names = re.findall(r"^(?:import|from) (\w+)", block.text, re.M)
        others = [names.index(name) for name in ("tensorflow", "larq") if name in names]
        if others and "larq_groupnet" in names:
            assert names.index("larq_groupnet") < min(others), block


def test_languages_of_blocks_are_those_that_the_runner_knows():
    assert {block.language for page in pages() for block in blocks(page)} <= LANGUAGES


def test_block_of_c_is_in_the_example():
    example = (ROOT / "runtime/examples/predict.c").read_text()
    found = [b for page in pages() for b in blocks(page) if b.language == "c"]
    assert found
    for block in found:
        assert all(line.strip() in example for line in block.text.splitlines())


def spans(page):
    """Inline code of a page, outside blocks."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.S | re.M)
    return [" ".join(span.split()).replace("\\|", "|") for span in re.findall(r"`([^`]+)`", text)]


@pytest.mark.parametrize("name", NAMES)
def test_command_within_a_text_names_what_there_is(name):
    """Includes commands in blocks that do not run here."""
    page = ROOT / name
    marked = [c for b in blocks(page) if b.not_run for c in commands(b.text)]
    for command in [*spans(page), *marked]:
        try:
            words = shlex.split(command)
        except ValueError:  # Not a whole command.
            continue
        check_words(words[1:] if words and words[0].startswith(("KERASTUNER", "TF_CPP")) else words)


def check_words(words):
    own = own_command(words)
    if own and own[0] != "COMMAND":
        command = cli.COMMANDS[own[0]]
        known = set(command.flags())
        flags = [word[2:].partition("=")[0] for word in own if word.startswith("--")]
        assert set(flags) <= known, words
    elif words[:1] == ["make"] and len(words) > 1:
        target = next(word for word in words[1:] if "=" not in word)
        assert re.search(rf"^(\.PHONY:.* )?{target}\b", (ROOT / "Makefile").read_text(), re.M), (
            words
        )
    elif words[:1] == ["python"] and words[1].endswith(".py"):
        assert (ROOT / words[1]).is_file(), words
