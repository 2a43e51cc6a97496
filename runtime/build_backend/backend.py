"""scikit-build-core, with ziglang's compiler where the machine has none or is not the target.

`LARQ_GROUPNET_RUNTIME_TARGET=aarch64` (or `x86_64`) in the environment compiles with ziglang for
that machine and for glibc 2.17, which is what build_wheels.py does.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scikit_build_core import build as _scikit
from scikit_build_core.build import build_sdist, get_requires_for_build_sdist  # noqa: F401

_TARGET = "LARQ_GROUPNET_RUNTIME_TARGET"
_GLIBC = "2.17"


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """What a build needs from PyPI: ziglang too, unless the machine's own compiler does it."""
    requires = list(_scikit.get_requires_for_build_wheel(config_settings))
    return requires if _own_compiler() else [*requires, "ziglang"]


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Any = None) -> str:
    """Writes the wheel's metadata, with the same tag as the wheel."""
    with _compiler():
        return str(_scikit.prepare_metadata_for_build_wheel(metadata_directory, config_settings))


def build_wheel(
    wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None
) -> str:
    """Builds the wheel."""
    with _compiler():
        return str(_scikit.build_wheel(wheel_directory, config_settings, metadata_directory))


def _own_compiler() -> bool:
    names = [os.environ.get("CXX", "c++"), "g++", "clang++"]
    return _TARGET not in os.environ and any(shutil.which(name) for name in names)


@contextmanager
def _compiler() -> Iterator[None]:
    """Points CMake at ziglang's compiler, if that is the one to take."""
    if _own_compiler():
        yield
        return
    machine = os.environ.get(_TARGET, os.uname().machine)
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        # ziglang compiles its C++ library, which takes most of a build, once for each level of
        # optimisation that it is called with: CMake's trials take that of the engine.
        zig = f"c++ -target {machine}-linux-gnu.{_GLIBC} -O3"
        os.environ["CXX"] = str(_script(folder, "zig-c++", zig))
        # The wheel runs on every Linux with that glibc, so it says so.
        os.environ["_PYTHON_HOST_PLATFORM"] = f"manylinux_{_GLIBC.replace('.', '_')}_{machine}"
        os.environ["AR"] = str(_script(folder, "zig-ar", "ar"))
        os.environ["RANLIB"] = str(_script(folder, "zig-ranlib", "ranlib"))
        os.environ["CMAKE_ARGS"] = " ".join(
            [
                os.environ.get("CMAKE_ARGS", ""),
                "-DCMAKE_SYSTEM_NAME=Linux",
                f"-DCMAKE_SYSTEM_PROCESSOR={machine}",
            ]
        )
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _script(folder: str, name: str, arguments: str) -> Path:
    script = Path(folder, name)
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ziglang {arguments} "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script
