"""Confidence intervals of accuracies, and of the difference between two models on the same rows."""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Right = NDArray[np.bool_]
"""(n,) whether each row was answered right."""

LEVEL = 0.95


class Share(NamedTuple):
    """A share of rows with its interval, all in [0, 1].

    Attributes:
        value: the share.
        low, high: of its Wilson interval.
        rows: how many rows it is of.
    """

    value: float
    low: float
    high: float
    rows: int

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%})"


class Difference(NamedTuple):
    """How much more often a model is right than another on the same rows.

    Attributes:
        value: the difference of the shares, in [-1, 1].
        low, high: of its interval.
        p: of McNemar's exact test, two-sided: the chance of so uneven a split if both were equally good.
    """

    value: float
    low: float
    high: float
    p: float


def share(right: Right, level: float = LEVEL) -> Share:
    """Accuracy with its interval. Raises ValueError: no rows."""
    return wilson(int(right.sum()), len(right), level)


def wilson(hits: int, rows: int, level: float = LEVEL) -> Share:
    """A share with its interval by Wilson (1927), which holds near 0 and 1 as well. Raises ValueError: no rows."""
    if not rows:
        raise ValueError("a share needs at least one row")
    value = hits / rows
    z = _quantile(level)
    centre = (value + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * math.sqrt(value * (1 - value) / rows + z * z / (4 * rows * rows))
    return Share(value, min(value, max(0.0, centre - half)), max(value, min(1.0, centre + half)), rows)


def difference(right: Right, reference: Right, level: float = LEVEL) -> Difference:
    """Of paired rows: the interval by Agresti and Min (2005), which adds half a row to each of the four cells.

    Args:
        right: of one model.
        reference: of the other, on the same rows.
        level: of the interval.

    Raises:
        ValueError: no rows, or not as many of one as of the other.
    """
    if right.shape != reference.shape or not len(right):
        raise ValueError(f"paired rows are needed; there are {len(right)} and {len(reference)}")
    rows = len(right)
    gained, lost = int((right & ~reference).sum()), int((reference & ~right).sum())
    b, c, n = gained + 0.5, lost + 0.5, rows + 2
    centre = (b - c) / n
    half = _quantile(level) * math.sqrt(b + c - (b - c) ** 2 / n) / n
    return Difference((gained - lost) / rows, max(-1.0, centre - half), min(1.0, centre + half), mcnemar(gained, lost))


def mcnemar(gained: int, lost: int) -> float:
    """McNemar's exact test (1947), two-sided: of the rows on which two models differ, half should go to each."""
    total = gained + lost
    tail = term = 1
    for k in range(min(gained, lost)):
        term = term * (total - k) // (k + 1)  # the binomial coefficients, exactly
        tail += term
    return min(1.0, 2 * tail / (1 << total))


def _quantile(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)
