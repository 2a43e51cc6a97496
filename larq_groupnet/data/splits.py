"""Draws training, validation and test examples from data without splits."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeVar

from larq_groupnet.errors import DatasetError

T = TypeVar("T")

SHARE = 0.1
"""Share of validation examples, and of test examples."""


def draw_splits(
    examples: Iterable[T], stratum: Callable[[T], Hashable], key: Callable[[T], Any], test: bool
) -> dict[str, list[T]]:
    """Divides each class exactly: a tenth to validate, and a tenth to test.

    Each class has at least one example in each split, if it has enough: train comes first, test
    last. Examples with the lowest keys validate, examples with the highest keys test. One more
    example therefore moves at most one example of its class into or out of a split.

    Args:
        examples: All examples.
        stratum: Returns the class of an example.
        key: Returns an evenly distributed key that depends only on the example.
        test: True to draw test examples as well.

    Returns:
        The examples of each split that has any, sorted by key.
    """
    classes: dict[Hashable, list[T]] = defaultdict(list)
    for example in sorted(examples, key=key):
        classes[stratum(example)].append(example)
    found: dict[str, list[T]] = {"train": [], "validation": [], "test": []}
    for members in classes.values():
        share = max(round(SHARE * len(members)), 1)
        low = share if len(members) > 1 else 0
        high = len(members) - (share if test and len(members) > 2 else 0)
        found["train"] += members[low:high]
        found["validation"] += members[:low]
        found["test"] += members[high:]
    return {split: sorted(members, key=key) for split, members in found.items() if members}


def check_sizes(where: str, sizes: dict[str, int]) -> None:
    """Raises DatasetError if there is nothing to train on or nothing to validate with."""
    for role in ("train", "validation"):
        if not sizes.get(role):
            counts = ", ".join(f"{split} {size}" for split, size in sizes.items()) or "none"
            raise DatasetError(
                f"{where}: expected images for {role}. Received: {counts}. Without its own splits, "
                "a dataset needs 2 images of a class, or 2 masks; 3 for a test split too."
            )


def name_hash(name: str) -> int:
    """A 64-bit hash of a name."""
    data = name.encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
