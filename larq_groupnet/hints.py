"""Texts for messages: the nearest valid name, counts, lists, and a wrong field."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from larq_groupnet.errors import UserError


def did_you_mean(received: object, choices: Iterable[object]) -> str:
    """`" Did you mean 'x'?"` if a choice resembles the received value, else nothing."""
    names = [choice for choice in choices if isinstance(choice, str)]
    near = difflib.get_close_matches(str(received), names, n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


def is_shown(name: str) -> bool:
    """True if a name is safe to print: its characters are visible, or join or separate others.

    Persian and emoji need the joiners. Characters that control a terminal or reverse text fail.
    """
    return all(letter.isprintable() or letter in "\u200c\u200d\u00a0" for letter in name)


def counted(number: int, kind: str) -> str:
    """`"1 bad file"`, `"2 bad files"`: the first known noun gets an s."""
    nouns = r"\b(epoch|file|folder|hour|image|link|mask|minute|photo|step|value)\b"
    plural = re.sub(nouns, r"\1s", kind, count=1)
    return f"{number:,} {kind if number == 1 else plural}"


def few(things: Sequence[object], most: int = 8) -> str:
    """`"a, b"`; of more than `most` things, the first ones and dots."""
    return ", ".join(map(str, things[:most])) + ", ..." * (len(things) > most)


def check_fields(
    owner: object,
    wanted: Mapping[str, tuple[bool, str | tuple[str, ...]]],
    error: type[UserError],
    prefix: str = "",
) -> None:
    """Raises `error` for the first wrong field.

    Args:
        owner: The object with the fields.
        wanted: Field -> True if it is right, and what is expected: a text, or names to choose from.
        error: Class of the error.
        prefix: Text before the field's name.
    """
    for field, (right, expected) in wanted.items():
        if not right:
            value, hint = getattr(owner, field), ""
            if isinstance(expected, tuple):
                expected, hint = f"one of {', '.join(expected)}", did_you_mean(value, expected)
            message = f"{prefix}{field}: expected {expected}. Received: {field}={value!r}"
            raise error(f"{message}.{hint}" if hint else message)
