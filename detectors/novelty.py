"""How far a component of near rows is from all components that benign callers made.

Each component is a point: how many rows, how often the class changed, how the distances and the margins went. Noisy
cameras, natural near-duplicates and the like fill some regions of that space; searches of very different kinds lie in
others. So no attack has to be known: the statistic is the distance to the third nearest benign point, in units of the
benign spread (k-nearest-neighbour novelty; Ramaswamy et al., SIGMOD 2000).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.graph import Component

NEIGHBOURS = 3
MAX_POINTS = 1500
_LEAST_SPREAD = 0.05
"""Where nearly all benign components are alike in a coordinate, a small difference is not yet a large distance."""
_NORMAL_DECILES = 2.563
"""Between the first and the last decile of a standard normal distribution; outliers do not move them."""

WHAT = ("size", "flips", "scales", "trend", "margin_trend", "margin_range", "distance", "spread", "line")
"""The coordinates; see `described`."""

Point = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Novelty:
    """Benign components.

    Attributes:
        points: (n, len(WHAT)) scaled.
        centre: (len(WHAT),) of the unscaled points.
        spread: (len(WHAT),), positive.
    """

    points: NDArray[np.float64]
    centre: Point
    spread: Point

    @classmethod
    def of(cls, described: NDArray[np.float64], rng: np.random.Generator) -> "Novelty":
        """Learns from (n, len(WHAT)) benign points; many are thinned at random."""
        if len(described) < NEIGHBOURS:
            return cls(np.zeros((0, len(WHAT))), np.zeros(len(WHAT)), np.ones(len(WHAT)))
        centre = np.median(described, axis=0)
        low, high = np.quantile(described, (0.1, 0.9), axis=0)
        spread = np.maximum((high - low) / _NORMAL_DECILES, _LEAST_SPREAD)
        chosen = rng.permutation(len(described))[:MAX_POINTS]
        return cls(((described[chosen] - centre) / spread).round(4), centre, spread)

    def __call__(self, point: Point) -> float:
        """The statistic; with no benign components to compare with, the logarithm of the size."""
        if len(self.points) < NEIGHBOURS:
            return float(point[0])
        gaps = np.linalg.norm(self.points - (point - self.centre) / self.spread, axis=1)
        return float(np.partition(gaps, NEIGHBOURS - 1)[NEIGHBOURS - 1])

    def furthest(self, point: Point) -> str:
        """The coordinates in which the point is least like the benign ones, for whoever reads the evidence."""
        apart = np.abs(point - self.centre) / self.spread
        return ", ".join(
            f"{WHAT[at]} {point[at]:.2g} (usually {self.centre[at]:.2g})" for at in apart.argsort()[:-4:-1]
        )

    def to_json(self) -> dict[str, Any]:
        """As lists."""
        return {"points": self.points.tolist(), "centre": self.centre.tolist(), "spread": self.spread.tolist()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Novelty":
        """From lists.

        Raises:
            ValueError: they do not fit.
        """
        points = np.array(value["points"], dtype=np.float64).reshape(-1, len(WHAT))
        centre, spread = (np.array(value[key], dtype=np.float64) for key in ("centre", "spread"))
        if len(centre) != len(WHAT) or len(spread) != len(WHAT) or not (spread > 0).all():
            raise ValueError("the benign components have other coordinates than this version knows")
        return cls(points, centre, spread)


def described(component: Component) -> Point:
    """A component as a point (len(WHAT),).

    size: log2 of its remembered rows. flips: share of class changes. scales: deviation of log2 distances, which a
    search that closes in spreads over orders of magnitude. trend, margin_trend: how steadily distances and margins go
    one way. margin_range: between the largest and the smallest margin, as seen from the first row's class. distance:
    median log2 distance. spread: log2 of callers. line: share of the largest principal component of the rows.
    """
    links = component.links
    distances = np.log2(np.maximum(component.distances(), 1e-9))
    margins = component.margins()
    flips = sum(one.category != other.category for one, other in pairwise(links))
    members = np.stack(component.members)
    spectrum = np.linalg.svd(members - members.mean(axis=0), compute_uv=False) ** 2
    return np.array(
        [
            math.log2(len(links)),
            flips / len(links),
            float(distances.std()) if len(distances) > 2 else 0.0,
            abs(trend(distances)),
            abs(trend(margins)),
            float(np.ptp(margins)) if len(margins) else 0.0,
            float(np.median(distances)) if len(distances) else 0.0,
            math.log2(max(1, len(component.callers))),
            float(spectrum[0] / max(spectrum.sum(), 1e-12)),
        ]
    )


def trend(values: NDArray[np.float64]) -> float:
    """Mann and Kendall's test statistic Z for a trend: standard normal if the order says nothing, positive if it rises.

    Ties are left in the variance (which makes the statistic smaller). 0 for fewer than four values.
    """
    count = len(values)
    if count < 4:
        return 0.0
    rises = np.triu(np.sign(values[np.newaxis, :] - values[:, np.newaxis])).sum()
    variance = count * (count - 1) * (2 * count + 5) / 18
    return float(rises - np.sign(rises)) / math.sqrt(variance)
