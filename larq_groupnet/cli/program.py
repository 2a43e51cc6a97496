"""Runs the command of a command line: its flags, its help, its exit status."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, NoReturn, TextIO

from absl import flags

from larq_groupnet.cli.table import COMMANDS
from larq_groupnet.errors import Interrupted, TrainingError, UserError
from larq_groupnet.hints import did_you_mean

PROGRAM = "larq-groupnet"

_UNWRITTEN = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO, errno.EBADF}
"""Errors of a stream that cannot be written any more."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: The command and its arguments; the process's by default.

    Returns:
        The exit status: 2, with one line on stderr, for an error that the user can fix.
    """
    name, *rest = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    for stream in ("stdin", "stdout", "stderr"):
        if getattr(sys, stream) is None:  # Closed; the next file would take its number.
            setattr(sys, stream, open(os.devnull, "r+"))  # noqa: SIM115
    try:
        with _signals_as_exceptions():
            status = _run(name, rest)
            sys.stdout.flush()
        return status
    except BrokenPipeError:  # The reader, such as `head`, has closed the pipe.
        return 128 + signal.SIGPIPE
    except (UserError, OSError, flags.Error) as error:
        _complain(error)
        return 1 if isinstance(error, TrainingError) else 2
    except Interrupted as error:
        _complain(error)
        return 128 + error.signum
    except KeyboardInterrupt:
        return 130
    finally:
        _end(sys.stdout)


@contextlib.contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """Lets SIGHUP and SIGTERM end the program like Ctrl-C, so that nothing stays half written.

    Training handles SIGTERM itself. A signal that is ignored, as with `nohup`, stays ignored.
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


def _run(name: str, rest: Sequence[str]) -> int:
    from larq_groupnet._stack import quiet

    if name in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if name not in COMMANDS:
        raise UserError(
            f"command: expected one of {', '.join(COMMANDS)}. Received: {name}."
            f"{did_you_mean(name, COMMANDS)}"
        )
    command = COMMANDS[name]
    values = command.flags()
    # A file name may look like a flag.
    file = next((word for word in rest if word.startswith("-") and os.path.lexists(word)), None)
    advice = f"; for the file {file} write ./{file}" if file else ""
    try:
        _, *words = values([name, *_with_value(rest, "--resume")])
    except flags.Error as error:
        raise UserError(f"{error}{advice}") from error
    if values.help:
        print(_usage(name))
        return 0
    least = len([word for word in command.words if not word.startswith("[")])
    endless = command.words[-1:] and command.words[-1].endswith("...")
    if not least <= len(words) <= (sys.maxsize if endless else len(command.words)):
        raise UserError(
            f"{name}: expected {' '.join(command.words) or 'only flags'}. "
            f"Received: {' '.join(words) or 'nothing'}. See {PROGRAM} {name} --help{advice}."
        )
    quiet()
    warnings.formatwarning = _warnings_once()
    return command.call(values, *words) or 0


def _warnings_once() -> Callable[..., str]:
    """Formats each warning once; Python's "once" forgets at each import."""
    said: set[str] = set()

    def line(message: Warning | str, *_: Any, **__: Any) -> str:
        text = f"{PROGRAM}: warning: {message}\n"
        new = text not in said
        said.add(text)
        return text if new else ""

    return line


def _with_value(words: Sequence[str], flag: str) -> list[str]:
    """Turns `FLAG` without a value into `FLAG=`."""
    pairs = zip(words, [*words[1:], "--"], strict=False)
    return [f"{a}=" if a == flag and b.startswith("-") else a for a, b in pairs]


def _complain(error: BaseException) -> None:
    text = "; ".join(line.strip() for line in _said(error).splitlines() if line.strip())
    with contextlib.suppress(OSError):
        print(f"{PROGRAM}: {text.replace(':; ', ': ')}", file=sys.stderr)
    _end(sys.stderr)


def _end(stream: TextIO) -> None:
    """Keeps Python from retrying a failed write when it exits, with a traceback."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _said(error: BaseException) -> str:
    """The message of an error; system errors, which have only a number and a name, get our own."""
    if isinstance(error, UserError) or not isinstance(error, OSError):
        return str(error)
    if error.filename:
        return (
            f"{error.filename}: expected a path that can be read or written. Received: "
            f"{error.strerror}. Check the path, its permissions and the room on its disk."
        )
    if error.errno in _UNWRITTEN:  # Everything else has a file name.
        return f"standard output: expected to be written. Received: {error.strerror}."
    return str(error)


def _overview() -> str:
    lines = [f"usage: {PROGRAM} COMMAND [words and flags]; {PROGRAM} COMMAND --help", ""]
    for name, command in COMMANDS.items():
        first = (command.call.__doc__ or "").splitlines()[0]
        lines.append(f"  {name:<18} {first}")
    return "\n".join(lines)


def _usage(name: str) -> str:
    command = COMMANDS[name]
    lines = [" ".join(["usage:", PROGRAM, name, *command.words, "[flags]"]), ""]
    lines += [textwrap.dedent(f"    {command.call.__doc__}").strip(), ""]
    values = command.flags()
    found = {values[key].name: values[key] for key in values}
    for flag in found.values():
        text = re.sub(r";\s+repeat this option.*", "; may be repeated.", flag.help)  # absl's words.
        given = flag.default_unparsed
        default = "" if given in (None, False, [], "") else f" (default: {given})"
        lines += [f"  --{flag.name}", textwrap.indent(textwrap.fill(text + default, 84), " " * 8)]
    return "\n".join(lines)
