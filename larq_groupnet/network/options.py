"""Descriptions of the options of a network: their values, their effects, the values to search.

`option` makes each field of `GroupNetConfig`. Checks, comparisons with weights, cards and the
search read its description.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

from larq_groupnet.errors import ConfigError
from larq_groupnet.hints import did_you_mean

AFFECTS = ("weights", "head", "arithmetic", "training")
"""What an option may affect:

- `weights`: the weights or their meaning; trained weights do not fit another value.
- `head`: weights of the head only.
- `arithmetic`: trained weights fit, but compute something else.
- `training`: nothing in a trained network.
"""


@dataclasses.dataclass(frozen=True)
class Option:
    """Description of a field of `GroupNetConfig`.

    Attributes:
        affects: One of `AFFECTS`.
        of_task: True if it belongs to the task: a network that takes the weights of another task
            keeps its own value.
        optional: True if only the decompositions or heads that list it in `uses` use it; with the
            others it must keep its default.
        choices: Returns the valid values; `None` if `is_valid` decides.
        expected: Description of the valid values, for messages.
        is_valid: Returns True for a valid value.
        names: Valid values to suggest for a misspelt one.
        search: Values worth searching.
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
        """Raises a `ConfigError` if the value is not valid for the option `name`."""
        if self.choices is not None:
            check_choice(name, value, self.choices())
        elif not self.is_valid(value):
            fail(name, self.expected, value, did_you_mean(value, self.names))


def option(default: Any, affects: str, **about: Any) -> Any:
    """A dataclass field whose metadata is an `Option`."""
    return dataclasses.field(default=default, metadata={"option": Option(affects=affects, **about)})


def choice(default: Any, affects: str, *choices: Any, **about: Any) -> Any:
    """An `option` with a few valid values."""
    return option(default, affects, choices=lambda: choices, **about)


def fail(field: str, expected: str, received: Any, hint: str = "") -> None:
    """Raises the `ConfigError` for a wrong value."""
    raise ConfigError(f"{field}: expected {expected}. Received: {field}={received!r}.{hint}")


def check_choice(field: str, value: Any, choices: Collection[Any]) -> None:
    """Raises a `ConfigError` unless the value is one of the choices, and of its type."""
    if not any(type(value) is type(c) and value == c for c in choices):
        expected = "one of " + ", ".join(repr(c) for c in choices)
        fail(field, expected, value, did_you_mean(value, choices))
