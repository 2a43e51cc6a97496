"""The nearest valid name, for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(received: object, choices: Iterable[object]) -> str:
    """`" Did you mean 'x'?"` where a choice resembles what was received, else nothing."""
    names = [choice for choice in choices if isinstance(choice, str)]
    near = difflib.get_close_matches(str(received), names, n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
