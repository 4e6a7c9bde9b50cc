"""The Pareto front: what is worth its cost."""

from collections.abc import Sequence


def front(costs: Sequence[float], qualities: Sequence[float]) -> list[bool]:
    """Whether each point is on the front: no other one is as cheap and as good, and better in one of both. A quality
    that is NaN is never."""
    points = list(zip(costs, qualities, strict=True))
    return [
        q == q and not any(c <= cost and other >= q and (c, other) != (cost, q) for c, other in points)
        for cost, q in points
    ]
