"""The frontier of accuracy against OPs, and what one network adds to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Point(NamedTuple):
    """What a network costs, and what it reaches.

    Attributes:
        ops: Real MACs + binary MACs / 64.
        value: Accuracy or mIoU, in [0, 1].
    """

    ops: float
    value: float


def frontier(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other beats in both, by rising OPs; of equals the first."""
    found: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: (points[i].ops, -points[i].value, i)):
        if not found or points[index].value > points[found[-1]].value:
            found.append(index)
    return found


def hypervolume(points: Sequence[Point], limit: float) -> float:
    """Area under the frontier, over doublings of OPs, up to `limit` OPs.

    Args:
        points: In any order, none of more OPs than `limit`.
        limit: Where the area ends.
    """
    steps = [points[index] for index in frontier(points)]
    ends = [point.ops for point in steps[1:]] + [limit]
    return sum(p.value * math.log2(end / p.ops) for p, end in zip(steps, ends, strict=False))


def gains(points: Sequence[Point]) -> list[float]:
    """What every point adds to the frontier of the others: the scalar that an oracle sees.

    On the frontier, by how much the point enlarges the area under it (`hypervolume`, up to twice
    the OPs of the largest). Behind it, less than nothing: by how much the point falls short of the
    frontier at its own OPs.
    """
    if not points:
        return []
    limit = 2 * max(point.ops for point in points)
    whole = hypervolume(points, limit)
    found = []
    for index, point in enumerate(points):
        others = [other for i, other in enumerate(points) if i != index]
        gain = whole - hypervolume(others, limit)
        reached = max((o.value for o in others if o.ops <= point.ops), default=point.value)
        found.append(gain if gain > 0 else point.value - reached)
    return found
