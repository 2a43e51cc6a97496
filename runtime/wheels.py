"""Builds this package's wheels for x86 and ARM on any Linux machine that has pip.

    python wheels.py [x86_64] [aarch64]

The compiler is zig's, which pip installs (`pip install ziglang wheel`), so that the wheels need no
newer C library than glibc 2.17's. They are written to `dist/`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROCESSORS = ("x86_64", "aarch64")
GLIBC = (2, 17)


def build(processor: str, output: Path) -> Path:
    """Builds the wheel of one processor."""
    glibc = "{}.{}".format(*GLIBC)
    with tempfile.TemporaryDirectory() as folder:
        compiler = Path(folder) / "c++"
        compiler.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" -m ziglang c++ '
            f'-target {processor}-linux-gnu.{glibc} "$@"\n'
        )
        compiler.chmod(0o755)
        system = f"-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR={processor}"
        # scikit-build-core takes the wheel's platform from the second.
        own = {"CXX": str(compiler), "_PYTHON_HOST_PLATFORM": f"linux-{processor}"}
        own["CMAKE_ARGS"] = system
        pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, str(HERE)]
        subprocess.run(pip, env={**os.environ, **own}, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        tag = "manylinux_{}_{}_{}".format(*GLIBC, processor)
        tags = ["--remove", "--platform-tag", tag, str(wheel)]
        subprocess.run(
            [sys.executable, "-m", "wheel", "tags", *tags], check=True, stdout=subprocess.DEVNULL
        )
        (wheel,) = Path(folder).glob("*.whl")
        output.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(wheel, output))


if __name__ == "__main__":
    for processor in sys.argv[1:] or PROCESSORS:
        print(build(processor, HERE / "dist"))
