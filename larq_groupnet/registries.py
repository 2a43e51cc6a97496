"""`Registry`: named things of one kind, registered where they are defined."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from larq_groupnet.errors import UserError
from larq_groupnet.hints import did_you_mean

T = TypeVar("T")
F = TypeVar("F")

_OWN = "__main__."
"""Prefix of definitions in a notebook or a script."""


class Registry(Mapping[str, T]):
    """Named things of one kind, in order of registration.

    The registry is the decorator: with `head = Registry("head")`, `@head("fcn32s")` above a
    function registers it and leaves it unchanged. Code outside the package registers the same way.
    A `Registry` is a mapping, so `head["fcn32s"]`, `name in head`, `list(head)` and
    `len(head)` work; `find` is for a name that a user typed.

    Args:
        kind: Word for a thing in messages: the option that names it.
        error: Class of the error for an unknown or taken name, or a thing of the wrong kind.
        expected: Description of a thing, for messages.
        is_one: Returns True for a thing of this kind.
        without: Characters that no name may have, because they end a name in a user's input.
    """

    def __init__(
        self,
        kind: str,
        error: type[UserError] = UserError,
        expected: str = "",
        is_one: Callable[[Any], bool] = lambda thing: True,
        without: str = "",
    ):
        self.kind = kind
        self._error, self._expected, self._is_one = error, expected, is_one
        self._without = without
        self._things: dict[str, T] = {}
        self._definitions: dict[str, str] = {}

    def __call__(self, name: str) -> Callable[[T], T]:
        """The decorator that registers a thing under `name`."""
        self.check_name(name)
        return lambda thing: self.add(name, thing)

    def check_name(self, name: object) -> None:
        """Raises a UserError if it is not a name, as for a decorator without one."""
        if not isinstance(name, str) or not name:
            raise self._error(
                f"{self.kind}: expected a name, as in @{self.kind}(NAME). Received: {name!r}"
            )
        if {*name} & {*self._without}:
            raise self._error(
                f"{self.kind}: expected a name without {' or '.join(self._without)}. "
                f"Received: {name!r}"
            )

    def check_function(self, name: str, function: object) -> None:
        """Raises a UserError if it cannot be called."""
        if not callable(function):
            raise self._wrong(name, "a function", function)

    def _wrong(self, name: str, expected: str, received: object) -> UserError:
        return self._error(
            f"{self.kind}: expected {expected} under {name!r}. Received: {received!r}"
        )

    def wrapping(self, name: str, make: Callable[[F], T]) -> Callable[[F], F]:
        """The decorator that registers `make(function)` and leaves the function unchanged."""
        self.check_name(name)

        def register(function: F) -> F:
            self.check_function(name, function)
            self.add(name, make(function), function)
            return function

        return register

    def add(self, name: str, thing: T, function: object = None) -> T:
        """Registers `thing`, which may be made from `function`, under `name` and returns it.

        The same definition may be registered again. A notebook or a script may also replace its own
        definitions, as when a cell is edited and run again.

        Raises:
            UserError: If something else has this name, or `thing` is of the wrong kind.
        """
        self.check_name(name)
        if not self._is_one(thing):
            raise self._wrong(name, self._expected, thing)
        taken, definition = self._things.get(name), _definition(function or thing)
        before = self._definitions.get(name, definition)
        own = before.startswith(_OWN) and definition.startswith(_OWN)
        if taken is not None and taken != thing and before != definition and not own:
            raise self._error(
                f"{self.kind}: expected a new name. Received: {name!r}, which is registered for "
                f"{before}. Choose another name."
            )
        self._things[name], self._definitions[name] = thing, definition
        return thing

    def find(self, name: object) -> T:
        """The thing that a user's name stands for.

        Raises:
            UserError: If the name is unknown. Lists the choices and suggests the nearest.
        """
        if isinstance(name, str) and name in self._things:
            return self._things[name]
        raise self._error(
            f"{self.kind}: expected one of {', '.join(map(repr, self.choices)) or 'none yet'}. "
            f"Received: {self.kind}={name!r}.{did_you_mean(name, self._things)}"
        )

    @property
    def choices(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._things)

    def remove(self, name: str) -> None:
        """Removes a name, for tests."""
        del self._things[name]

    def __getitem__(self, name: str) -> T:
        return self._things[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)


def _definition(thing: object) -> str:
    """Module and name of a function or a class; the `repr` of another thing."""
    name, module = getattr(thing, "__qualname__", "<lambda>"), getattr(thing, "__module__", "")
    return repr(thing) if "<lambda>" in name and f"{module}." != _OWN else f"{module}.{name}"
