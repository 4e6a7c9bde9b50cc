"""Figures of a hyper-parameter search."""

from pathlib import Path

import numpy as np

from denoiselab.report.figures._style import COLOURS, plain, plt, save


def history(trials: list[tuple[int, float | None]], score: str, path: Path) -> None:
    """Validation score of every trial (None: pruned), and the best so far."""
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    complete = [(n, value) for n, value in trials if value is not None]
    numbers, values = [n for n, _ in complete], [value for _, value in complete]
    axes.scatter(numbers, values, color=COLOURS[0], s=18, label="trial")
    axes.step(numbers, np.maximum.accumulate(values), where="post", color=COLOURS[1], label="best so far")
    pruned = [n for n, value in trials if value is None]
    axes.scatter(pruned, [min(values)] * len(pruned), color="0.5", marker="x", s=18, label="pruned")
    axes.set(xlabel="trial", ylabel=f"validation {score}")
    plain(axes)
    axes.legend(frameon=False, fontsize=8)
    save(figure, path)


def importance(shares: dict[str, float], path: Path) -> None:
    """Share of the score's variance explained by each parameter."""
    figure, axes = plt.subplots(figsize=(7, 0.8 + 0.35 * len(shares)), layout="constrained")
    axes.barh(list(shares)[::-1], list(shares.values())[::-1], color=COLOURS[0])
    axes.set(xlabel="share of the variance (fANOVA)", xlim=(0, 1))
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)
