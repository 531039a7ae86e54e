"""The upper tail of a statistic among benign subjects, and how surprising a value is in its light."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

UPPER = 0.9
"""Quantile beyond which the tail is taken for exponential."""
MAX_POINTS = 200
"""Quantiles kept of a distribution."""
_MIN_EXCESSES = 5
_FLAT = 1e-3
"""The least mean excess, as a share of the statistic's own size: a constant statistic would make any change certain."""


@dataclass(frozen=True, slots=True)
class Tail:
    """Benign values, one a subject: the largest that it ever read.

    Up to the upper quantile it is the empirical distribution; beyond, the excesses over it are taken for exponential
    (peaks over threshold; Pickands 1975, the light-tailed case), with a mean that is corrected upwards by its own
    standard error, since few subjects stand for many. Statistics of heavy tails are read as logarithms.

    Attributes:
        points: ascending quantiles of the values, evenly spread.
        subjects: how many there were.
        upper: the quantile from which the exponential tail holds.
        scale: its mean excess.
    """

    points: tuple[float, ...]
    subjects: int
    upper: float
    scale: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Tail":
        """Learns it; of no values at all, everything is as surprising as their number allows."""
        ordered = np.sort(np.fromiter(values, dtype=np.float64))
        if len(ordered) == 0:
            return cls((), 0, 0.0, 1.0)
        upper = float(np.quantile(ordered, UPPER))
        excesses = ordered[ordered > upper] - upper
        least = _FLAT * max(1.0, abs(float(ordered[-1])))
        mean = float(excesses.mean()) if len(excesses) else least
        scale = max(least, mean * (1 + 1 / math.sqrt(max(len(excesses), _MIN_EXCESSES) - 1)))
        points = np.quantile(ordered, np.linspace(0, 1, min(len(ordered), MAX_POINTS)))
        return cls(tuple(float(f"{point:.6g}") for point in points), len(ordered), upper, scale)

    def surprise(self, value: float) -> float:
        """-log10 of the share of benign subjects that read as much or more; 0 for what is usual.

        >>> Tail.of(range(1000)).surprise(500.0) < 0.4
        True
        """
        if not self.points:
            return 1.0
        if value > self.upper:
            return -math.log10(1 - UPPER) + (value - self.upper) / self.scale * math.log10(math.e)
        below = float(np.searchsorted(self.points, value)) / len(self.points)
        return -math.log10(max(1 - below, 1 - UPPER))

    def threshold(self, rate: float) -> float:
        """The value that a share `rate` of benign subjects exceeds; at least the largest that was seen."""
        if not self.points:
            return math.inf
        if rate >= 1 - UPPER:
            return float(np.quantile(self.points, 1 - rate))
        return max(self.points[-1], self.upper + self.scale * math.log((1 - UPPER) / rate))
