"""The frontier of accuracy against OPs, and the contribution of each network to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Point(NamedTuple):
    """The costs and the metric of one network.

    Attributes:
        ops: Real MACs + binary MACs / 64.
        value: Accuracy or mIoU, in [0, 1].
        memory: Bytes of parameters; breaks ties of equal OPs and value.
    """

    ops: float
    value: float
    memory: float = 0.0


def rank(point: Point) -> tuple[float, float, float]:
    """Sort key of networks, best first: by OPs, then by value, then by memory."""
    return point.ops, -point.value, point.memory


def frontier(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other point beats, by rising OPs. Ties go to the cheapest.

    The last index is the cheapest network with the best value.
    """
    found: list[int] = []
    for index in sorted(range(len(points)), key=lambda index: rank(points[index])):
        if not found or points[index].value > points[found[-1]].value:
            found.append(index)
    return found


def hypervolume(points: Sequence[Point], limit: float) -> float:
    """Area under the frontier up to `limit` OPs, with OPs on a base-2 logarithmic axis."""
    steps = [points[index] for index in frontier(points)]
    ends = [point.ops for point in steps[1:]] + [limit]
    return sum(p.value * math.log2(end / p.ops) for p, end in zip(steps, ends, strict=False))


def gains(points: Sequence[Point]) -> list[float]:
    """Scores every point for an oracle, which needs one number to maximise.

    A point on the frontier scores the area that it adds (`hypervolume` up to twice the OPs of the
    largest). A point behind it scores minus its distance in value from the frontier at its own OPs.
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
