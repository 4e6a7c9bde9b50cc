"""The Pareto front of quality against cost."""

from collections.abc import Sequence


def front(costs: Sequence[float], qualities: Sequence[float]) -> list[bool]:
    """Whether each point is on the front: no other one is at least as cheap and as good, and better in cost or quality.

    Points with a quality of NaN are never on the front.
    """
    points = list(zip(costs, qualities, strict=True))
    return [
        q == q and not any(c <= cost and other >= q and (c, other) != (cost, q) for c, other in points)
        for cost, q in points
    ]
