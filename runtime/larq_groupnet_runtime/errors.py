"""The error for unusable input, and helpers for messages."""

import re


class InputError(ValueError):
    """A file, an image or an environment that cannot be used: one line says why."""


def one_line(said: object) -> str:
    """The message of another library's error, in one line."""
    # Interpreters join their messages without a space.
    text = re.sub(r"(?<=\S)\.?(?=Node number \d+ \()", ". ", str(said))
    return " ".join(text.split()) or type(said).__name__


def count(number: int, noun: str) -> str:
    """A number with its noun, plural if needed."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
