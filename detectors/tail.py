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
"""Share of the subjects, and number of them, whose values say how the tail goes on beyond the largest."""
_FLAT = 0.01
"""The least scale of the tail, as a share of the statistic: a constant one would make any change certain."""


@dataclass(frozen=True, slots=True)
class Tail:
    """Benign values, one a subject: the largest that it ever read.

    As far as there were subjects it is their own distribution, linear between the points in the logarithm of the share
    that reads as much or more. Beyond the largest it goes on exponentially, which is the light-tailed case of peaks
    over threshold (Pickands 1975). Its scale is the mean excess, of the largest twentieth or of the largest twenty,
    whichever is larger: of a heavier tail the second is.

    Attributes:
        points: the values at 0, STEP, 2 STEP, ... decades, not falling; subjects that read nothing count as lowest.
        subjects: how many there were.
        scale: rise of the value beyond the largest by which the share falls to 1/e.
        most: surprise that it is worth at most, where it is to be reported and nothing more.
    """

    points: tuple[float, ...]
    subjects: int
    scale: float = 1.0
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
        return cls(points, count, _scale(read, count), most)

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
            return STEP * (len(self.points) - 1) + (value - last) / self.scale / math.log(10)
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
            return self.points[-1] + (surprise - STEP * (len(self.points) - 1)) * math.log(10) * self.scale
        return float(np.interp(at, np.arange(len(self.points)), self.points))

    def to_json(self) -> dict[str, Any]:
        """As lists."""
        cap = {} if math.isinf(self.most) else {"most": self.most}
        return {"points": list(self.points), "subjects": self.subjects, "scale": self.scale} | cap

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Tail":
        """From lists.

        Raises:
            ValueError: the scale is none.
        """
        points, scale = tuple(map(float, value["points"])), float(value["scale"])
        if not 0 < scale < math.inf:
            raise ValueError(f"a tail of scale {scale}")
        return cls(points, int(value["subjects"]), scale, float(value.get("most", math.inf)))


def _scale(read: NDArray[np.float64], count: int) -> float:
    """Beyond the largest of values that do not fall, of so many subjects."""
    least = _FLAT * max(1.0, abs(float(read[-1])))
    tops = (read[-number - 1 :] for number in {LEAST_EXCESSES, math.ceil(EXCESSES * count)})
    means = [float(top[1:].mean() - top[0]) for top in tops if len(top) > 1]
    return float(f"{max([*means, least]):.6g}")
