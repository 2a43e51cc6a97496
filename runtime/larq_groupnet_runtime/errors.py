"""The one error that what a user gives can cause, and the words of messages."""

import re


class InputError(ValueError):
    """A file, an image or an environment that cannot be used: one line says why."""


def one_line(said: object) -> str:
    """What an error of another library says, or a part of it, without its line breaks."""
    # An interpreter joins its messages without a space.
    text = re.sub(r"(?<=\S)\.?(?=Node number \d+ \()", ". ", str(said))
    return " ".join(text.split()) or type(said).__name__


def count(number: int, noun: str) -> str:
    """A number of things in English."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
