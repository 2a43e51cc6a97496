"""Runs the code blocks of one page in a folder: `python tests/documents.py PAGE FOLDER`.

Blocks run in their order. Python blocks of a page share their names, and commands of this package
run by the function behind its console script, so that TensorFlow is imported once a page. A command
that trains is cut short by flags appended to it.
"""

import contextlib
import io
import re
import shlex
import subprocess
import sys
import traceback
from pathlib import Path

TINY = "--set=steps_per_epoch=2 --set=width=0.0625 --set=stage_blocks=(1,1,1,1) --batch_size=4"

SHORT = {
    "train": f"{TINY} --epochs=1",
    "--tune": f"{TINY} --trial_epochs=1 --max_trials=2 --uniform=1",
    "--resume": "",
    "--evaluate": "",
}
"""A word of a command of `train` -> what is appended; the last that fits counts."""

ELSEWHERE = {
    "make ": "installs into an environment of its own; .ci/run runs it",
    "pip install": "changes the environment that runs this test; .ci/run installs",
    "python3": "makes an environment; .ci/run does",
    ".venv/bin/": "needs the environment of `make venv`, in which this test runs",
    "python benchmarks/": "takes minutes to hours",
    "scp ": "needs a Raspberry Pi",
    "env/bin/larq-groupnet-run": "needs a Raspberry Pi; make test-arm runs it under emulation",
    "cmake -S runtime": "needs Android's NDK",
    "--strategy": "tests/training runs it on several replicas",
    "TF_CONFIG": "tests/training runs two workers",
    "KERASTUNER_": "tests/tuning runs a chief and two workers",
    "imagenet2012": "needs ImageNet",
    "voc2012_aug": "needs VOC 2012 and SBD",
    "voc2012_released": "needs VOC 2012 and SBD",
    "cifar10": "needs CIFAR-10",
    "TF_CPP_MIN_LOG_LEVEL=0": "trains in full, to show TensorFlow's log",
    '"task":': "is the end of the line of TF_CONFIG",
    "-TIME/": "tests/tuning runs the command of the recipe found",
    "runs/tuned": "follows the one before",
    "checkpoint.pth.tar": "needs PyTorch; tests/weights imports recordings of such files",
}
"""What a command contains -> why it does not run here."""


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of each fenced block."""
    found = re.findall(r"^```(\w+)[^\n]*\n(.*?)^```", page.read_text(), re.S | re.M)
    return [block for block in found if "--8<--" not in block[1]]  # A file that has its own test.


def commands(text: str) -> list[str]:
    """The commands of a block of shell, with continued lines joined and comments dropped."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in (re.sub(r"\s+#.*$", "", line).strip() for line in lines) if line]


def reason_elsewhere(command: str) -> str | None:
    """Why a command does not run here, or `None`."""
    return next((why for part, why in ELSEWHERE.items() if part in command), None)


def run_command(command: str) -> None:
    """Runs a command of this package by its function, any other by the shell."""
    if command.startswith(("pip", "python -m pip")):
        return
    words = shlex.split(command)
    if words[0] == "larq-groupnet-run":
        run = [sys.executable, "-m", "larq_groupnet_runtime.cli", *words[1:]]
        subprocess.run(run, check=True)
        return
    for start in (["python", "train.py"], ["python", "-m", "larq_groupnet"], ["larq-groupnet"]):
        if words[: len(start)] == start:
            words = words[len(start) :]
            if start[-1] == "train.py":
                words = ["train", *words]
            break
    else:
        subprocess.run(["bash", "-ec", command], check=True)
        return
    if words[0] == "train":
        fits = [more for part, more in SHORT.items() if any(w.startswith(part) for w in words)]
        words += shlex.split(fits[-1])
    from larq_groupnet.cli import main

    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        status = main(words)
    if status:
        raise RuntimeError(f"{' '.join(words)} ended with {status}: {said.getvalue()[-2000:]}")


def main(page: Path) -> int:
    """Runs every block; the number of those that failed."""
    names: dict[str, object] = {"__name__": "__main__"}
    failed = 0
    for language, text in blocks(page):
        parts = {"python": [text], "sh": commands(text), "bash": commands(text)}.get(language, [])
        for part in parts:
            if language != "python" and (part.startswith("--") or reason_elsewhere(part)):
                continue  # Flags alone are to be appended to a command.
            try:
                if language == "python":
                    exec(compile(text, str(page), "exec"), names)
                else:
                    run_command(part)
            except BaseException:
                failed += 1
                print(f"FAILED in {page.name}:\n{part}\n{traceback.format_exc()[-3000:]}")
    return failed


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
