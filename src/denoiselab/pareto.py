"""The Pareto front: what is worth its cost."""

from collections.abc import Sequence


def front(costs: Sequence[float], qualities: Sequence[float]) -> list[bool]:
    """Whether each point is on the front: no other one is cheaper and better. A quality that is NaN is never."""
    points = list(zip(costs, qualities, strict=True))
    return [q == q and not any(c < cost and other > q for c, other in points) for cost, q in points]
