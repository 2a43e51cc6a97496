"""Builds the wheels for x86-64 and for 64-bit ARM, on any machine with pip and network access.

    python build_wheels.py [FOLDER]

Both are compiled by ziglang for glibc 2.17, so they are manylinux_2_17. FOLDER is dist by default.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
MACHINES = ("x86_64", "aarch64")


def main(folder: Path) -> None:
    """Writes the wheels into the folder and prints what is there."""

    def build(machine: str) -> None:
        print(f"Building the wheel for {machine}", flush=True)
        environment = {**os.environ, "LARQ_GROUPNET_RUNTIME_TARGET": machine}
        wheel = ["-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(HERE)]
        subprocess.run([sys.executable, *wheel], check=True, env=environment)

    with ThreadPoolExecutor() as pool:  # ziglang compiles its C++ library on one core.
        list(pool.map(build, MACHINES))
    print(*sorted(str(wheel) for wheel in folder.glob("*.whl")), sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "dist")
