"""The command `larq-groupnet-run`: predicts images or a camera, checks or benchmarks a .tflite."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

import numpy as np
from PIL import Image

from larq_groupnet_runtime import backends
from larq_groupnet_runtime._delegate import engine
from larq_groupnet_runtime.benchmark import benchmark
from larq_groupnet_runtime.camera import watch
from larq_groupnet_runtime.check import check
from larq_groupnet_runtime.description import SCALES, scales_of
from larq_groupnet_runtime.errors import InputError, count, one_line
from larq_groupnet_runtime.images import NORMALISATIONS, SUFFIXES, Array, images_in, read_image
from larq_groupnet_runtime.interpreter import Interpreter
from larq_groupnet_runtime.pictures import (
    index_image,
    is_result,
    missing_letters,
    overlay,
    result_mark,
    shares,
)

TOP = 5
"""Number of classes printed per image, likeliest first."""

_RUNS = 50
"""Default runs per file of --benchmark."""

_MOST_CLASSES = 256
"""Limit of a mask, whose pixels are bytes."""

_MOST_DIGITS = 9
"""Limit of a number on the command line."""

_FITS = {
    "output": ("images",),
    "scales": ("images",),
    "normalisation": ("images", "--camera"),
    "frames": ("--camera",),
    "runs": ("--benchmark",),
}
"""Flag -> the modes that it applies to."""

_EPILOG = """examples:
  larq-groupnet-run model.tflite cat.jpg           the five likeliest classes, or a mask
  larq-groupnet-run model.tflite pictures/         every image in a folder
  larq-groupnet-run model.tflite --camera          live; Ctrl-C or q ends
  larq-groupnet-run model.tflite --check device/   compare with the desktop's results
  larq-groupnet-run a.tflite b.tflite --benchmark  in turns, relative to the first
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    0: done; 1: some images were skipped, or outputs differ; 2: an error, or no image could be
    read; 130: Ctrl-C; 141: the reader of a pipe is gone. SIGHUP and SIGTERM exit with 129 and 143.
    """
    for stream in ("stdin", "stdout", "stderr"):
        if getattr(sys, stream) is None:  # Closed by `2>&-`; the next file would take its number.
            setattr(sys, stream, open(os.devnull, "r+"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files and classes may have letters that the terminal's encoding lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with _signals_as_exceptions():
            status = _run(_parser().parse_intermixed_args(arguments))
            sys.stdout.flush()
        return status
    except BrokenPipeError:  # `| head` has read enough.
        return 141
    except (InputError, MemoryError, OSError) as error:
        _complain(_said(error))
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        _end(sys.stdout)


def _run(flags: argparse.Namespace) -> int:
    if flags.version:
        print(engine())
        return 0
    if not flags.files:
        raise InputError("expected MODEL.tflite; --help lists everything. Received: nothing")
    mode = _mode(flags)
    if mode == "--benchmark":
        with _one_line_errors():
            tables = benchmark(flags.files, flags.runs or _RUNS, flags.threads, flags.backend)
        print(tables)
        return 0
    with _one_line_errors():
        network = Interpreter(flags.files[0], flags.threads, flags.backend)
    if flags.check is not None:
        return check(network, Path(flags.files[0]), flags.check)
    if flags.camera is not None:
        _name_missing_letters(network)
        watch(network, flags.camera, flags.frames, flags.normalisation)
        return 0
    if flags.output is not None and not network.dense:
        raise InputError(
            f"--output: expected a network that classifies pixels. Received: {flags.files[0]}, "
            "which classifies whole images and writes nothing"
        )
    flags.output = flags.output or Path("predictions")
    return _predict(network, _find_images(flags.files[1:]), flags)


def _mode(flags: argparse.Namespace) -> str:
    """The mode of operation. Refuses flags and files that the mode would ignore."""
    found = [
        mode
        for mode in ("camera", "check", "benchmark")
        if getattr(flags, mode) not in (None, False)
    ]
    mode = f"--{found[0]}" if found else "images"
    for name, modes in _FITS.items():
        if getattr(flags, name) is not None and mode not in modes:
            raise InputError(
                f"--{name}: expected {' or '.join(modes)}. Received: {mode}; leave --{name} out"
            )
    if mode in ("--camera", "--check") and len(flags.files) > 1:
        raise InputError(
            f"{mode}: expected MODEL.tflite alone. Received: {flags.files[1]} after it"
        )
    return mode


def _predict(network: Interpreter, named: Mapping[Path, Path], flags: argparse.Namespace) -> int:
    network.reading(flags.normalisation, flags.scales)  # Refuses bad flags early.
    images, names = list(named), _names(list(named.values()))
    if network.dense:
        _check_output(network, images, names, flags.output)
        _name_missing_letters(network)
    skipped = 0
    for number, (file, name) in enumerate(zip(images, names), 1):
        if sys.stderr.isatty() and len(images) > 1:
            print(f"\r{number} of {len(images)}\033[K", end="\r", file=sys.stderr, flush=True)
        try:
            found, pictures = _computed(network, file, name, flags)
        except (InputError, MemoryError, OSError) as error:
            skipped += 1
            said = _said(error)
            _complain(f"skipped: {said if said.startswith(f'{file}:') else f'{file}: {said}'}")
            continue
        print(_printable(f"{file}: {found}"), flush=True)
        _save(pictures)
    if network.dense and skipped < len(images):
        print(_printable(f"masks and overlays are in {flags.output}"))
    return 0 if not skipped else 1 if skipped < len(images) else 2


def _computed(
    network: Interpreter, file: Path, name: Path, flags: argparse.Namespace
) -> tuple[str, dict[Path, Image.Image]]:
    """The result for an image as one line, and the pictures to write."""
    pixels = read_image(file, network.image_shape()[2])
    scores = network.scores(pixels, flags.normalisation, flags.scales)
    found = describe(scores, network.classes)
    if not network.dense:
        return found, {}
    classes = scores.argmax(-1)
    masks, overlays = _folders(flags.output)
    # Written in this order, so a mask exists only if its overlay does.
    return found, {
        overlays / name: overlay(pixels, classes, network.classes),
        masks / name: index_image(classes, network.classes),
    }


def _name_missing_letters(network: Interpreter) -> None:
    letters = missing_letters(network.classes) if network.dense else ""
    if letters:
        _complain(
            f"pictures: expected a font that has {letters:.40}. Received: none on this system, so "
            "that question marks are drawn. Install one, such as Debian's fonts-noto-cjk"
        )


def _check_output(
    network: Interpreter, images: Sequence[Path], names: Sequence[Path], output: Path
) -> None:
    """Refuses an output that cannot be written or would overwrite an input or a foreign file."""
    written = [folder / name for folder in _folders(output) for name in names]
    for path in written:
        if path.is_dir():
            raise _not_written(path, "Is a directory")
    for folder in _folders(output):
        nearest = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
        if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
            raise _not_written(folder, f"{nearest}, which is no folder that can be written")
    real = set(map(os.path.realpath, written))
    for image in images:
        if os.path.realpath(image) in real:
            raise InputError(
                f"--output: expected a folder that keeps the images. Received: {output}, where "
                f"{image} would be overwritten"
            )
    for path in written:
        if path.exists() and not is_result(path):
            raise InputError(
                "--output: expected a folder where results replace only earlier ones. Received: "
                f"{path}, of another origin; name another folder"
            )
    if len(network.classes) > _MOST_CLASSES:
        raise InputError(
            f"expected at most {_MOST_CLASSES} classes for a mask. "
            f"Received: {len(network.classes)}; use Interpreter.scores in Python"
        )


def _folders(output: Path) -> tuple[Path, Path]:
    return output / "masks", output / "overlays"


def describe(scores: Array, classes: Sequence[str]) -> str:
    """One line: the likeliest classes of an image, or the largest of a mask, with shares."""
    if scores.ndim == 3:
        found = shares(scores.argmax(-1))
    else:
        best = np.argsort(-scores, kind="stable")[:TOP]
        found = [(int(label), float(scores[label])) for label in best]
    likely = bool(np.all(scores >= 0) and np.all(scores <= 1.001))
    texts = [f"{share:.1%}" if likely else f"{share:.4g}" for _, share in found]
    names = [classes[label] for label, _ in found[:TOP]]
    quoted = (f'"{name}"' if "," in name else name for name in names)
    return ", ".join(f"{name} {text}" for name, text in zip(quoted, texts))


def _find_images(sources: Sequence[Path]) -> dict[Path, Path]:
    """The images, each once and without earlier results -> paths below their common folder."""
    found: dict[str, Path] = {}
    for source in sources:
        images = [source]
        if source.is_dir():
            listed, others = images_in(source)
            images = [file for file in listed if not is_result(file)]
            if others:
                left_out = count(len(others), "other file")
                _complain(f"{source}: left out {left_out}, such as {others[0].relative_to(source)}")
            if not images:
                raise InputError(
                    f"{source}: expected images ({', '.join(SUFFIXES)}). Received: none"
                )
        found.update({os.path.abspath(file): file for file in images})
    if not found:
        raise InputError(
            "expected MODEL.tflite and an image, a folder, --camera, --check or --benchmark. "
            "Received: a model alone"
        )
    root = os.path.commonpath(
        [os.path.abspath(each if each.is_dir() else each.parent) for each in sources]
    )
    return {file: Path(full).relative_to(root) for full, file in found.items()}


def _names(files: Sequence[Path]) -> list[Path]:
    """Names of the results, the same as in larq-groupnet; a test compares both."""
    names = [file.with_suffix(".png") for file in files]
    while twice := {name for name, number in Counter(names).items() if number > 1}:
        names = [
            file.with_name(f"{file.name}.png") if name in twice else name
            for file, name in zip(files, names)
        ]
    return names


def _save(pictures: Mapping[Path, Image.Image]) -> None:
    """Writes all pictures, or none, in the given order."""
    partial = {path: path.with_name(f".{os.getpid()}.partial.png") for path in pictures}
    try:
        for path, image in pictures.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(partial[path], pnginfo=result_mark())
        for path, half in partial.items():
            half.replace(path)
    except OSError as error:
        raise _not_written(path, error.strerror or one_line(error)) from error
    finally:
        for half in partial.values():
            with contextlib.suppress(OSError):
                half.unlink()


def _not_written(path: Path, received: str) -> InputError:
    return InputError(f"{path}: expected to write it. Received: {received}")


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:  # Everything else has a file name.
        return f"{error.filename or 'standard output'}: {error.strerror}"
    if isinstance(error, MemoryError):
        return f"expected more memory, or a smaller image or number. Received: {one_line(error)}"
    return one_line(error)


def _printable(text: str) -> str:
    """The text in one line, with control characters escaped."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def _complain(text: str) -> None:
    with contextlib.suppress(OSError):
        print(_printable(f"larq-groupnet-run: {text}"), file=sys.stderr)
    _end(sys.stderr)


def _end(stream: TextIO) -> None:
    """Keeps Python from retrying a failed write when it exits."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """Lets SIGHUP and SIGTERM end the program like Ctrl-C, so that nothing stays half written.

    Signals that are ignored, as with `nohup`, stay ignored.
    """

    def end(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    changed = []
    if threading.current_thread() is threading.main_thread():
        signals = (signal.SIGHUP, signal.SIGTERM)
        changed = [one for one in signals if signal.getsignal(one) is signal.SIG_DFL]
    try:
        for one in changed:
            signal.signal(one, end)
        yield
    finally:
        for one in changed:
            signal.signal(one, signal.SIG_DFL)


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """Hides the stderr output of the interpreter's C++; its errors also come as exceptions."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    before = os.dup(2)
    try:
        with open(os.devnull, "wb") as sink:
            os.dup2(sink.fileno(), 2)
            yield
    finally:
        os.dup2(before, 2)
        os.close(before)


class _Parser(argparse.ArgumentParser):
    """A parser with one-line errors."""

    def error(self, message: str) -> NoReturn:
        """Ends the program with status 2."""
        # A file name may look like a flag.
        file = next((x for x in sys.argv[1:] if x.startswith("-") and os.path.lexists(x)), None)
        advice = f"; for the file {file} write ./{file}" if file else ""
        _complain(f"{message}; --help lists everything{advice}")
        sys.exit(2)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Ends the program after flushing the help text."""
        sys.stdout.flush()
        super().exit(status, message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        "larq-groupnet-run",
        usage="%(prog)s MODEL.tflite [IMAGE ...] [options]",
        description="Runs networks that larq-groupnet or Larq Compute Engine converted.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add, mode = parser.add_argument, parser.add_mutually_exclusive_group().add_argument
    several = "MODEL.tflite, then images and folders of images"
    add("files", nargs="*", type=_path, metavar="FILE", help=several)
    where = "folder for masks and overlays; predictions by default"
    add("--output", type=_path, metavar="FOLDER", help=where)
    device = "number or path of a camera, or a video; 0 if omitted"
    mode("--camera", nargs="?", const="0", metavar="DEVICE", help=device)
    mode("--check", type=_path, metavar="FOLDER", help="compare with the folder that verify wrote")
    mode("--benchmark", action="store_true", help="time the files in turns")
    add("--frames", type=_positive, help="with --camera: stop after this many frames")
    add("--runs", type=_positive, help=f"with --benchmark: timed runs, {_RUNS} by default")
    add("--threads", type=_positive, help="threads; one per CPU by default")
    add("--backend", choices=backends.NAMES, help="interpreter; the first installed by default")
    add("--normalisation", choices=NORMALISATIONS, help="for a file that does not name its own")
    add("--scales", type=_scales, help="sizes at which a segmentation network reads: 0.5,1")
    add("--version", action="store_true", help="print the engine's version and kernels")
    return parser


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("expected a path. Received: an empty one")
    return Path(text)


def _positive(text: str) -> int:
    # Larger numbers exceed the limits of memory, an interpreter or Python itself.
    if not text.isdecimal() or len(text) > _MOST_DIGITS or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"expected a number above 0 of at most {_MOST_DIGITS} digits. Received: {text:.40}"
        )
    return int(text)


def _scales(text: str) -> tuple[float, ...]:
    with contextlib.suppress(ValueError):
        scales = scales_of([float(part) for part in text.split(",")])
        if scales is not None:
            return scales
    raise argparse.ArgumentTypeError(f"expected {SCALES}, such as 0.5,1. Received: {text}")


if __name__ == "__main__":
    sys.exit(main())
