"""What an option of a network says about itself: what it may be, what it affects, what to search.

A field of `GroupNetConfig` is made by `option`, and whoever needs to know reads that: the checks,
comparisons beside weights, cards, and the search.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

from larq_groupnet.errors import ConfigError
from larq_groupnet.hints import did_you_mean

AFFECTS = ("weights", "head", "arithmetic", "training")
"""What an option may affect:

- `weights`: which weights there are or what they mean; trained ones do not fit another value.
- `head`: weights of the head alone.
- `arithmetic`: trained weights fit, and compute something else.
- `training`: nothing of a trained network.
"""


@dataclasses.dataclass(frozen=True)
class Option:
    """What a field of `GroupNetConfig` says about itself.

    Attributes:
        affects: One of `AFFECTS`.
        of_task: It goes with the task: a network that takes the weights of another task keeps
            its own value.
        optional: Only some decompositions or heads have a use for it, which they say with `uses`;
            with the others it must keep its default.
        choices: Gives the values that it may have; `None` where `is_valid` says it.
        expected: What it may be, as a message says it.
        is_valid: True for a value that it may have.
        names: Values among others that a wrong one may have been meant for.
        search: Values that are worth a search.
    """

    affects: str
    of_task: bool = False
    optional: bool = False
    choices: Callable[[], Collection[Any]] | None = None
    expected: str = ""
    is_valid: Callable[[Any], bool] = lambda value: True
    names: tuple[str, ...] = ()
    search: tuple[Any, ...] = ()

    def check(self, name: str, value: Any) -> None:
        """Raises a `ConfigError` for a value that the option `name` may not have."""
        if self.choices is not None:
            check_choice(name, value, self.choices())
        elif not self.is_valid(value):
            fail(name, self.expected, value, did_you_mean(value, self.names))


def option(default: Any, affects: str, **about: Any) -> Any:
    """A dataclass field whose metadata is an `Option`."""
    return dataclasses.field(default=default, metadata={"option": Option(affects=affects, **about)})


def choice(default: Any, affects: str, *choices: Any, **about: Any) -> Any:
    """An `option` of few values."""
    return option(default, affects, choices=lambda: choices, **about)


def fail(field: str, expected: str, received: Any, hint: str = "") -> None:
    """Raises the `ConfigError` of a wrong value."""
    raise ConfigError(f"{field}: expected {expected}. Received: {field}={received!r}.{hint}")


def check_choice(field: str, value: Any, choices: Collection[Any]) -> None:
    """Raises a `ConfigError` unless the value is one of the choices, and of its type."""
    if not any(type(value) is type(c) and value == c for c in choices):
        expected = "one of " + ", ".join(repr(c) for c in choices)
        fail(field, expected, value, did_you_mean(value, choices))
