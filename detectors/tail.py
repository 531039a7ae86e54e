"""The upper tail of a statistic among benign subjects, and how surprising a value is in its light."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEP = 0.1
"""Decades between the points that are kept."""
REPORTED = 2.0
"""Surprise that is worth a report, and by itself nothing more; that of what no benign subject ever read at all, too."""
EXCESSES, LEAST_EXCESSES = 0.05, 20
"""Share of the subjects, and the least number of them, whose values say how the tail goes on beyond the largest."""
_FLAT = 0.01
"""The least scale of the tail, as a share of the statistic: a constant one would make any change certain."""
_PRIOR, _OF = 0.5, 10
"""A heavy tail, which the fitted shape is drawn towards as by so many values (Vehtari et al. 2015, appendix C)."""


@dataclass(frozen=True, slots=True)
class Tail:
    """Benign values, one a subject: the largest that it ever read.

    As far as there were subjects it is their own distribution, linear between the points in the logarithm of the share
    that reads as much or more. Beyond the largest it goes on as a generalised Pareto distribution does: peaks over
    threshold (Pickands 1975), fitted by probability-weighted moments (Hosking and Wallis 1987). Tails lighter than an
    exponential one are taken for exponential.

    Attributes:
        points: the values at 0, STEP, 2 STEP, ... decades, not falling; subjects that read nothing count as lowest.
        subjects: how many there were.
        scale, shape: of the excess over the largest.
        most: surprise that it is worth at most, where it is to be reported and nothing more.
    """

    points: tuple[float, ...]
    subjects: int
    scale: float = 1.0
    shape: float = 0.0
    most: float = math.inf

    @classmethod
    def of(cls, values: Iterable[float], subjects: int = 0, most: float = math.inf) -> "Tail":
        """Learns it.

        Args:
            values: one a subject that read anything.
            subjects: how many there were in all; the number of values if that is larger.
            most: see the attribute.
        """
        read = np.sort(np.fromiter(values, dtype=np.float64))
        if len(read) == 0:
            return cls((), subjects, most=most)
        count = max(subjects, len(read))
        decades = np.arange(0, math.log10(count) + 1e-9, STEP)
        ranks = np.ceil(count * (1 - 10**-decades)).astype(int) - (count - len(read))
        points = tuple(float(f"{value:.6g}") for value in read[ranks.clip(0, len(read) - 1)])
        return cls(points, count, *_beyond(read, count), most)

    @property
    def usual(self) -> float:
        """The value that one subject in ten exceeds, or the largest of fewer; NaN if none read anything."""
        if not self.points:
            return math.nan
        return self.points[min(len(self.points) - 1, round(1 / STEP))]

    def surprise(self, value: float) -> float:
        """-log10 of the share of benign subjects that read as much or more; 0 for what is usual.

        >>> Tail.of(range(1000)).surprise(500.0) < 0.4
        True
        """
        if not self.points:
            return min(REPORTED, math.log10(self.subjects + 1))
        last = self.points[-1]
        if value > last:
            excess = (value - last) / self.scale
            decades = math.log1p(self.shape * excess) / self.shape if self.shape else excess
            return STEP * (len(self.points) - 1) + decades / math.log(10)
        at = int(np.searchsorted(self.points, value, side="left"))
        if at == 0:
            return 0.0
        low, high = self.points[at - 1], self.points[at]
        return STEP * (at - 1 + (value - low) / (high - low))

    def value(self, surprise: float) -> float:
        """From which value on the surprise is as large; infinite if nothing is known."""
        if not self.points:
            return math.inf
        at = surprise / STEP
        if at > len(self.points) - 1:
            excess = (surprise - STEP * (len(self.points) - 1)) * math.log(10)
            return self.points[-1] + self.scale * (
                math.expm1(self.shape * excess) / self.shape if self.shape else excess
            )
        return float(np.interp(at, np.arange(len(self.points)), self.points))

    def to_json(self) -> dict[str, Any]:
        """As lists."""
        cap = {} if math.isinf(self.most) else {"most": self.most}
        return {"points": list(self.points), "subjects": self.subjects, "scale": self.scale, "shape": self.shape} | cap

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Tail":
        """From lists.

        Raises:
            ValueError: scale or shape are none.
        """
        points, scale, shape = tuple(map(float, value["points"])), float(value["scale"]), float(value["shape"])
        if not 0 < scale < math.inf or not 0 <= shape < math.inf:
            raise ValueError(f"a tail of scale {scale} and shape {shape}")
        return cls(points, int(value["subjects"]), scale, shape, float(value.get("most", math.inf)))


def _beyond(read: NDArray[np.float64], count: int) -> tuple[float, float]:
    """Scale and shape of the excess over the largest of values that do not fall, of so many subjects."""
    largest = float(read[-1])
    least = _FLAT * max(1.0, abs(largest))
    top = read[-max(LEAST_EXCESSES, math.ceil(EXCESSES * count)) - 1 :]
    excesses = top[1:] - top[0]
    known = len(excesses)
    if not known or not excesses[-1]:
        return least, 0.0
    mean = float(excesses.mean())
    # The first weighted moment, with the plotting positions that Hosking and Wallis recommend.
    weighted = float(excesses @ (1 - (np.arange(1, known + 1) - 0.35) / known)) / known
    fitted = 2 - mean / max(mean - 2 * weighted, 1e-9 * mean)
    shape = max(0.0, (known * fitted + _OF * _PRIOR) / (known + _OF))
    scale = max(mean * (1 - shape) + shape * float(excesses[-1]), least)
    return float(f"{scale:.6g}"), float(f"{shape:.6g}")
