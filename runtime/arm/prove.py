"""Proves the aarch64 wheel on this machine: an arm64 Python under qemu-user runs it.

    python prove.py WHEEL NETWORKS [--build FOLDER]

WHEEL is this package's for aarch64; NETWORKS is a folder that tests/networks.py has written. Needs
Debian's apt-get and, the first time, network access; as root it installs qemu-user where that is
missing. Nothing else outside FOLDER is changed: packages of arm64 are unpacked there, with lists of
their own, and pip, run by the arm64 Python, installs the wheels that a Pi gets.

What it shows: pip installs the wheel on aarch64; every network computes what LCE's interpreter
computed on x86, and random operations the same bits (same.py); the command larq-groupnet-run gives
the mask that it gives here; the example in C compiles and runs on Debian's TensorFlow Lite; and how
many instructions a network executes. Instructions are counted, not timed: qemu translates them, so
a time would say nothing about a Pi.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from debian import run, unpack
from PIL import Image

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent / "tests"
PYTHON = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
TFLITE, TFLITE_SUITE = "libtensorflow-lite-dev", "forky"
"""Headers and a library of TensorFlow Lite's C interface; older releases of Debian have none."""

PLATFORMS = [f"manylinux_2_{minor}_aarch64" for minor in (17, 27, 28)]
COUNTED = "large/groupnet_resnet18_k5.tflite"
LCE_CONVOLUTIONS, LCE_WHOLE, FLOAT_WHOLE = 275, 371, 627
"""Millions of instructions, counted in the same way: LCE's own kernels for the 95 binary
convolutions, the whole file in LCE, and real-valued ResNet-18 in TFLite."""

# ai-edge-litert reads which processor it is on. This is a Raspberry Pi 4.
CPUINFO = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

Model\t\t: Raspberry Pi 4 Model B Rev 1.5
"""


def main() -> int:
    """Prints what was run; status 1 if something differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("networks", type=Path)
    parser.add_argument("--build", type=Path, default=Path("build/arm"))
    flags = parser.parse_args()
    machine = Machine(flags.build.resolve())
    machine.install(flags.wheel.resolve())
    print(machine.python("-c", "import platform; print(platform.platform())").stdout, end="")
    same = machine.python(str(TESTS / "same.py"), str(flags.networks.resolve()), check=False)
    print(same.stdout + same.stderr[-2000:] * bool(same.returncode), end="", flush=True)
    right = [
        same.returncode == 0,
        command_gives_the_same(machine, flags.networks),
        example_gives_the_same(machine, flags.networks),
    ]
    counted = flags.networks / COUNTED
    if counted.exists():
        count(machine, counted.resolve())
    return 0 if all(right) else 1


class Machine:
    """An arm64 Debian with Python under qemu-user, in a folder.

    Args:
        folder: Kept from one call to the next.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.site = folder / "site"
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.which("qemu-aarch64") is None:
            install_qemu()
        self.root = unpack(folder / "debian", "arm64", PYTHON)
        (self.root / "proc").mkdir(exist_ok=True)
        (self.root / "proc/cpuinfo").write_text(CPUINFO)
        plugin = folder / "insn.so"
        if not plugin.exists():
            run([*zig("cc"), "-O2", "-fPIC", "-shared", str(HERE / "insn.c"), "-o", str(plugin)])
        (interpreter,) = (self.root / "usr/bin").glob("python3.[0-9]*")
        self._interpreter = interpreter
        self.version = interpreter.name.removeprefix("python")

    def python(
        self, *arguments: str, counting: bool = False, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Runs the arm64 Python on the processor of a Raspberry Pi 4."""
        plugin = ["-plugin", str(self.folder / "insn.so")] if counting else []
        own = {"PYTHONHOME": "/usr", "PYTHONPATH": str(self.site), "PYTHONDONTWRITEBYTECODE": "1"}
        own |= {"PYTHONHASHSEED": "0", "LD_LIBRARY_PATH": ""}
        settings = [part for name, value in own.items() for part in ("-E", f"{name}={value}")]
        command = [*qemu(self.root), *plugin, *settings, str(self._interpreter), *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        if check and done.returncode:
            sys.exit(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr}")
        return done

    def install(self, wheel: Path) -> None:
        """Installs a wheel and the newest ai-edge-litert with the arm64 pip, as on a Pi."""
        wheels = self.folder / "wheels"
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
        platforms = [part for one in PLATFORMS for part in ("--platform", one)]
        if not (self.folder / "wheels.done").exists():
            run([*pip, "download", "-d", str(wheels), "pip", "--no-deps"])
            target = ["--python-version", self.version, "--only-binary=:all:", *platforms]
            run([*pip, "download", "-d", str(wheels), *target, "ai-edge-litert", "numpy", "pillow"])
            (own,) = wheels.glob("pip-*.whl")
            self._pip(str(own), "ai-edge-litert", "numpy", "pillow")
            (self.folder / "wheels.done").touch()
        (own,) = wheels.glob("pip-*.whl")
        for left in self.site.glob("larq_groupnet_runtime*"):
            shutil.rmtree(left)
        self._pip(str(own), "--no-deps", str(wheel))
        self._pip(str(own), "--dry-run", f"{wheel}[litert]")  # Finds what the wheel asks for.

    def _pip(self, pip: str, *arguments: str) -> None:
        flags = ["-q", "--no-index", "--find-links", str(self.folder / "wheels"), "--no-compile"]
        flags += ["--root-user-action", "ignore", "--target", str(self.site), "--upgrade"]
        self.python(f"{pip}/pip", "install", *flags, *arguments)


def command_gives_the_same(machine: Machine, networks: Path) -> bool:
    """Runs larq-groupnet-run there and here, and compares lines and masks."""
    folder = machine.folder / "command"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    picture = Image.effect_mandelbrot((240, 160), (-2.0, -1.2, 0.8, 1.2), 90).convert("RGB")
    picture.save(folder / "picture.png")
    right = True
    for name in ("digits", "digit_scenes"):
        arguments = [str(networks.resolve() / f"{name}.tflite"), str(folder / "picture.png")]
        arguments += ["--threads", "2"]
        # Labels are printed, masks are written.
        there_to, here_to = (
            ["--output", str(folder / place)] if name == "digit_scenes" else []
            for place in ("there", "here")
        )
        command = str(machine.site / "bin" / "larq-groupnet-run")
        there = machine.python(command, *arguments, *there_to).stdout
        here = run([sys.executable, "-m", "larq_groupnet_runtime.cli", *arguments, *here_to])
        print(f"larq-groupnet-run {name}.tflite: {there.splitlines()[0].split(': ', 1)[1]}")
        right &= there.splitlines()[0] == here.splitlines()[0]
    right &= filecmp.cmp(
        folder / "there/masks/picture.png", folder / "here/masks/picture.png", False
    )
    print(f"lines and mask are {'the same as' if right else 'NOT those'} on {os.uname().machine}")
    return right


def example_gives_the_same(machine: Machine, networks: Path) -> bool:
    """Compiles examples/predict.c for arm64, and runs it on Debian's TensorFlow Lite."""
    root = unpack(machine.folder / "tflite", "arm64", [TFLITE], TFLITE_SUITE)
    libraries = root / "usr/lib/aarch64-linux-gnu"
    engine = machine.site / "larq_groupnet_runtime"
    program = machine.folder / "predict"
    source = HERE.parent / "examples" / "predict.c"
    flags = ["-target", "aarch64-linux-gnu", "-O2", "-Wall", "-Wextra", "-Werror"]
    flags += ["-I", str(HERE.parent / "src"), "-isystem", str(root / "usr/include")]
    links = [f"-L{libraries}", "-ltensorflow-lite", f"-L{engine}", "-llarq_groupnet_runtime"]
    run([*zig("cc"), *flags, str(source), *links, "-o", str(program)])
    path = ["-E", f"LD_LIBRARY_PATH={libraries}:{engine}"]
    right = True
    for name in ("digits", "digit_scenes"):
        data = np.load(networks / f"{name}.npz")
        files = [machine.folder / "input.bin", machine.folder / "expected.bin"]
        for file, key in zip(files, ("x", "expected")):
            data[key].astype("<f4").tofile(file)
        command = [*qemu(root), *path, program, networks / f"{name}.tflite", *files]
        done = subprocess.run(command, capture_output=True, text=True)
        said = (done.stdout + done.stderr).strip().splitlines() or ["nothing"]
        print(f"examples/predict.c {name}.tflite: {said[-1]}")
        right &= done.returncode == 0
    return right


def count(machine: Machine, file: Path) -> None:
    """Prints the instructions of one run of a file, and of its binary convolutions alone.

    The convolutions are counted unfused, as LCE's are: without the additions that follow them.
    """

    def instructions(runs: int, repeat: int, fuse: bool) -> int:
        code = (
            "from ai_edge_litert.interpreter import Interpreter\n"
            "from larq_groupnet_runtime import load_delegate\n"
            f"engine = load_delegate(num_threads=1, repeat={repeat}, fuse={fuse})\n"
            f"network = Interpreter({str(file)!r}, None, [engine], num_threads=1)\n"
            "network.allocate_tensors()\n"
            f"for _ in range({runs}): network.invoke()\n"
        )
        said = machine.python("-c", code, counting=True).stderr
        (found,) = re.findall(r"^instructions (\d+)$", said, re.MULTILINE)
        return int(found)

    # Starting Python takes up to 10 M more or fewer instructions from one process to the next.
    runs = 5

    def of_one_run(repeat: int, fuse: bool) -> float:
        return (instructions(1 + runs, repeat, fuse) - instructions(1, repeat, fuse)) / runs

    whole = of_one_run(1, fuse=True)
    once, twice = (of_one_run(repeat, fuse=False) for repeat in (1, 2))
    print(
        f"instructions of {file.name} at 224 x 224, one thread: whole file {whole / 1e6:.0f} M "
        f"(LCE {LCE_WHOLE} M; real-valued ResNet-18 in TFLite {FLOAT_WHOLE} M), its binary "
        f"convolutions {(twice - once) / 1e6:.0f} M (LCE's assembly {LCE_CONVOLUTIONS} M)"
    )


def install_qemu() -> None:
    """Installs qemu-user, or says how."""
    if os.geteuid():
        sys.exit("prove.py: expected qemu-aarch64: run `apt-get install qemu-user` as root.")
    run(["apt-get", "-q", "update"])
    run(["apt-get", "-q", "-y", "install", "--no-install-recommends", "qemu-user"])


def qemu(root: Path) -> list[str]:
    """The emulator of a Raspberry Pi 4's processor, on a root of arm64."""
    return ["qemu-aarch64", "-cpu", "cortex-a72", "-L", str(root)]


def zig(command: str) -> list[str]:
    """A compiler that pip installs."""
    return [sys.executable, "-m", "ziglang", command]


if __name__ == "__main__":
    sys.exit(main())
