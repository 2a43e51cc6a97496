"""From the words of a command line to one command: its flags, its help, its exit status."""

from __future__ import annotations

import os
import re
import signal
import sys
import textwrap
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from larq_groupnet.cli.table import COMMANDS
from larq_groupnet.errors import Interrupted, TrainingError, UserError
from larq_groupnet.hints import did_you_mean

PROGRAM = "larq-groupnet"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: The command and its arguments; those of the process by default.

    Returns:
        The exit status: 2 for something that the user can mend, which is one line on stderr.
    """
    name, *rest = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    for stream in ("stdin", "stdout", "stderr"):
        if getattr(sys, stream) is None:  # Closed; the next file would take its number.
            setattr(sys, stream, open(os.devnull, "r+"))  # noqa: SIM115
    try:
        if name in ("-h", "--help", "help"):
            print(_overview())
            return 0
        if name not in COMMANDS:
            raise UserError(
                f"command: expected one of {', '.join(COMMANDS)}. Received: {name}."
                f"{did_you_mean(name, COMMANDS)}"
            )
        status = _run(name, rest)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # Whoever reads, such as `head`, has enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (UserError, OSError, flags.Error) as error:
        _complain(error)
        return 1 if isinstance(error, TrainingError) else 2
    except Interrupted as error:
        _complain(error)
        return 128 + error.signum
    except KeyboardInterrupt:
        return 130


def _run(name: str, rest: Sequence[str]) -> int:
    from larq_groupnet._stack import quiet

    command = COMMANDS[name]
    values = command.flags()
    _, *words = values([name, *_with_value(rest, "--resume")])
    if values.help:
        print(_usage(name))
        return 0
    least = len([word for word in command.words if not word.startswith("[")])
    endless = command.words[-1:] and command.words[-1].endswith("...")
    if not least <= len(words) <= (sys.maxsize if endless else len(command.words)):
        raise UserError(
            f"{name}: expected {' '.join(command.words) or 'only flags'}. "
            f"Received: {' '.join(words) or 'nothing'}. See {PROGRAM} {name} --help."
        )
    quiet()
    warnings.formatwarning = _warnings_once()
    return command.call(values, *words) or 0


def _warnings_once() -> Callable[..., str]:
    """A line for a warning, nothing for the same again: Python's "once" forgets at each import."""
    said: set[str] = set()

    def line(message: Warning | str, *_: Any, **__: Any) -> str:
        text = f"{PROGRAM}: warning: {message}\n"
        new = text not in said
        said.add(text)
        return text if new else ""

    return line


def _with_value(words: Sequence[str], flag: str) -> list[str]:
    """`FLAG` without a value becomes `FLAG=`."""
    pairs = zip(words, [*words[1:], "--"], strict=False)
    return [f"{a}=" if a == flag and b.startswith("-") else a for a, b in pairs]


def _complain(error: BaseException) -> None:
    text = "; ".join(line.strip() for line in _said(error).splitlines() if line.strip())
    print(f"{PROGRAM}: {text.replace(':; ', ': ')}", file=sys.stderr)


def _said(error: BaseException) -> str:
    """The message; of the system's errors, which have only a number and a name, in our words."""
    if isinstance(error, UserError) or not isinstance(error, OSError) or not error.filename:
        return str(error)
    return (
        f"{error.filename}: expected a path that can be read or written. "
        f"Received: {error.strerror}. Check the path and its permissions."
    )


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
        default = "" if flag.default in (None, False, [], "") else f" (default: {flag.default})"
        lines += [
            f"  --{flag.name}",
            textwrap.indent(textwrap.fill(text + default, 84), " " * 8),
        ]
    return "\n".join(lines)
