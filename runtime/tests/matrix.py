"""Runs the same files in every TFLite interpreter that pip installs, each in its own environment.

    python matrix.py WHEEL FOLDER [--all]

WHEEL is this package's, FOLDER what networks.py has written. CI runs the small interpreters on its
own Python; --all adds TensorFlow and every Python from 3.9 to 3.13 that is found (python3.X on the
path, or under pyenv), which takes some gigabytes.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent

# Interpreter, backend, Python versions that have a wheel of it, what it needs besides.
SMALL = [
    ("ai-edge-litert==1.0.1", "ai-edge-litert", ("3.9", "3.10", "3.11"), ["numpy<2"]),
    ("ai-edge-litert==1.4.0", "ai-edge-litert", ("3.10", "3.11", "3.12"), []),
    ("ai-edge-litert", "ai-edge-litert", ("3.10", "3.11", "3.12", "3.13"), []),
    ("tflite-runtime==2.14.0", "tflite-runtime", ("3.9", "3.10", "3.11"), ["numpy<2"]),
]
LARGE = [
    ("tensorflow-cpu==2.13.1", "tensorflow", ("3.9", "3.10", "3.11"), []),
    ("tensorflow-cpu==2.15.1", "tensorflow", ("3.11",), []),
    ("tensorflow-cpu", "tensorflow", ("3.11", "3.13"), []),
]


def main() -> int:
    """Prints what each environment computed; status 1 if one differs or does not install."""
    parser = argparse.ArgumentParser()
    parser.add_argument("wheel", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--all", action="store_true")
    flags = parser.parse_args()
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    failed, ran = [], 0
    for requirement, backend, versions, besides in SMALL + LARGE * flags.all:
        for version in versions if flags.all else [own] if own in versions else []:
            python = find_python(version)
            if python is None:
                print(f"{requirement} on Python {version}: not run, there is no such Python")
                continue
            ran += 1
            if not runs_in(
                python, [requirement, *besides, str(flags.wheel)], flags.folder, backend
            ):
                failed.append(f"{requirement} on Python {version}")
    print(f"{ran} environments, {len(failed)} failed{': ' * bool(failed)}{'; '.join(failed)}")
    return int(bool(failed) or not ran)


def find_python(version: str) -> str | None:
    """A Python of a version: this one, pyenv's (whose commands on the path may not run), any."""
    if sys.version.startswith(f"{version}."):
        return sys.executable
    under_pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    return str(under_pyenv[-1]) if under_pyenv else shutil.which(f"python{version}")


def runs_in(python: str, requirements: list[str], folder: Path, backend: str) -> bool:
    """True if same.py finds no difference in a new environment."""
    with tempfile.TemporaryDirectory() as environment:
        own = Path(environment) / "bin" / "python"
        commands = [
            [python, "-m", "venv", environment],
            [str(own), "-m", "pip", "install", "-q", "--disable-pip-version-check", *requirements],
            [str(own), "-W", "ignore", str(HERE / "same.py"), str(folder), backend],
        ]
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(
                    f"{' '.join(requirements[:-1])}: {done.stdout}{done.stderr[-2000:]}", flush=True
                )
                return False
        print(done.stdout, end="", flush=True)
        return True


if __name__ == "__main__":
    sys.exit(main())
