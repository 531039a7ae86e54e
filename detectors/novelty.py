"""How far a trace is from all that benign callers make.

Three small sets of coordinates, each a view of its own: how the rows lie, how evenly they are spaced, how they are
ordered. In each, benign traces fill thin regions, and the statistic is the distance to the third nearest benign point,
in units of the benign spread (k-nearest-neighbour novelty; Ramaswamy et al., SIGMOD 2000). In all coordinates at once
nearly everything is far from everything; views of a few find what is odd in any of them (feature bagging; Lazarevic and
Kumar, KDD 2005). No attack has to be known for that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.course import Course

LEAST_ROWS: Mapping[str, int] = {"shape": 0, "steps": 8, "order": 0}
"""Of a trace that is compared in a view; of a handful of distances, any median and any third largest may come."""
NEIGHBOURS = 3
MAX_POINTS = 1500
_LEAST_SPREAD = 0.05
"""Where nearly all benign traces are alike in a coordinate, a small difference is not yet a large distance."""
_NORMAL_TWENTIETHS = 3.29
"""Between the first and the last twentieth of a standard normal distribution; outliers do not move them."""

VIEWS: Mapping[str, tuple[str, ...]] = {
    "shape": ("spacing", "dimension", "reach"),
    "steps": ("unevenness", "leap"),
    "order": ("dimension", "reach", "order"),
}

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Novelty:
    """Benign traces in one view.

    Attributes:
        view: of VIEWS.
        points: (n, coordinates of the view), in units of the spread.
        spread: (coordinates of the view,), positive.
    """

    view: str
    points: Points
    spread: NDArray[np.float64]

    @classmethod
    def of(cls, view: str, courses: Points, rng: np.random.Generator) -> "Novelty":
        """Learns from (n, coordinates) benign points; many are thinned at random."""
        width = len(VIEWS[view])
        if len(courses) < NEIGHBOURS:
            return cls(view, np.zeros((0, width)), np.ones(width))
        low, high = np.quantile(courses, (0.05, 0.95), axis=0)
        spread = np.maximum((high - low) / _NORMAL_TWENTIETHS, _LEAST_SPREAD)
        chosen = rng.permutation(len(courses))[:MAX_POINTS]
        return cls(view, (courses[chosen] / spread).round(4), spread)

    def __call__(self, found: Course) -> float:
        """The statistic; 0 of too few rows, and with no benign traces to compare with."""
        if len(self.points) < NEIGHBOURS or not comparable(self.view, found):
            return 0.0
        gaps = self.points - point(self.view, found) / self.spread
        squares = np.einsum("ij,ij->i", gaps, gaps)
        return float(np.sqrt(np.partition(squares, NEIGHBOURS - 1)[NEIGHBOURS - 1]))

    def to_json(self) -> dict[str, Any]:
        """As lists."""
        return {"view": self.view, "points": self.points.tolist(), "spread": self.spread.tolist()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Novelty":
        """From lists.

        Raises:
            ValueError: they do not fit.
        """
        view = str(value["view"])
        width = len(VIEWS.get(view, ()))
        spread = np.array(value["spread"], dtype=np.float64)
        if not width or len(spread) != width or not (spread > 0).all():
            raise ValueError(f"the view {view!r} has other coordinates than this version knows")
        return cls(view, np.array(value["points"], dtype=np.float64).reshape(-1, width), spread)


def comparable(view: str, found: Course) -> bool:
    """Whether a course has enough rows for a view."""
    return found.rows >= LEAST_ROWS[view]


def point(view: str, found: Course) -> NDArray[np.float64]:
    """A course in a view."""
    return np.array([getattr(found, name) for name in VIEWS[view]], dtype=np.float64)


def trend(values: NDArray[np.float64]) -> float:
    """Mann and Kendall's test statistic Z for a trend: standard normal if the order says nothing, positive if it rises.

    Ties are left in the variance (which makes the statistic smaller). 0 for fewer than four values.
    """
    count = len(values)
    if count < 4:
        return 0.0
    rises = np.triu(np.sign(values[np.newaxis, :] - values[:, np.newaxis])).sum()
    variance = count * (count - 1) * (2 * count + 5) / 18
    return float(rises - np.sign(rises)) / float(np.sqrt(variance))
