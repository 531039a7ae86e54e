"""Query provenance: what a component of near rows looks like, whoever sent them.

A search for an adversarial example asks the model about many points near each other, and each answer decides the next
point; a natural near-duplicate, a poll or a noisy camera does not. No single statistic tells them apart, and an attacker
who knows it can stay below any one. So the surprise of each, in the light of components that benign callers made, is
added up (Good's weight of evidence), and the sum in turn is held against the sums that benign components reach.

Source: query provenance analysis, arXiv 2405.20641, which judges sequences by their shape; fingerprints as edges are
Blacklight's, arXiv 2006.14042. Evaded by steps so large that no two rows are near (which costs the attacker the search),
by spacing the rows further apart than the memory reaches, and by mixing few searching rows into many alike.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from detectors.detector import DetectorStats
from detectors.findings import Cluster, Reading, Subject, Technique
from detectors.graph import Component, Graph
from detectors.observation import Observation

Surprise: TypeAlias = Callable[[str, str, float], float]
"""From a subject's id, a statistic and a value to decades of surprise."""

MIN_ROWS = 4
EVERY_ROW = 32
"""Up to this size a component is read whenever it grew, beyond it after every few rows."""
STRIDE = 8


class Provenance:
    """Reads components of a graph.

    Args:
        name: `query_provenance` or `pooled_provenance`.
        graph: whose components are read.
        surprise: how unusual a statistic is among benign components.
        radius: within which a row belongs to a component's member, in the embedding.
    """

    def __init__(self, name: str, graph: Graph, surprise: Surprise, radius: Callable[[], float]) -> None:
        self.name = name
        self._graph = graph
        self._surprise = surprise
        self._radius = radius

    def see(self, batch: Sequence[Observation]) -> Iterator[Reading]:
        """See `Detector`."""
        for component in self._graph.take(batch):
            if due(component):
                yield self._read(component)
                component.changed = 0

    def stats(self) -> DetectorStats:
        """See `Detector`."""
        return DetectorStats({"components": len(self._graph)}, {"components": self._graph.dropped})

    def _read(self, component: Component) -> Reading:
        found = measured(component)
        weights = {what: self._surprise(component.id, f"{self.name}.{what}", value) for what, value in found.items()}
        return reading(self.name, component, sum(weights.values()), Technique.EVASION, weights, self._radius())


def due(component: Component) -> bool:
    """Whether a component has grown enough to be read again."""
    return component.size >= MIN_ROWS and (component.size <= EVERY_ROW or component.changed >= STRIDE)


def measured(component: Component) -> Mapping[str, float]:
    """Statistics of a component; larger is more like a search.

    size: log2 of its rows, as far as they are remembered. growth: log2 of rows a minute. flips: log2 of class changes.
    spread: log2 of callers. trend: how steadily the distances change. scales: deviation of their logarithms.
    """
    links = component.links
    seconds = max(1.0, links[-1].time - links[0].time)
    distances = np.log2(np.maximum(component.distances(), 1e-9))
    return {
        "size": math.log2(len(links)),
        "growth": math.log2(1 + 60 * len(links) / seconds),
        "flips": math.log2(1 + changes(component)),
        "spread": math.log2(max(1, len(component.callers))),
        "trend": abs(trend(distances)),
        "scales": float(distances.std()) if len(distances) > 2 else 0.0,
    }


def changes(component: Component) -> int:
    """Class changes among the remembered rows."""
    categories = [link.category for link in component.links]
    return sum(one != other for one, other in zip(categories, categories[1:], strict=False))


def trend(values: NDArray[np.float64]) -> float:
    """Mann and Kendall's test statistic Z for a trend: standard normal if the order says nothing, positive if it rises.

    Ties are left in the variance (which makes the statistic smaller). 0 for fewer than four values.
    """
    count = len(values)
    if count < 4:
        return 0.0
    rises = np.sign(values[np.newaxis, :] - values[:, np.newaxis])[np.triu_indices(count, 1)].sum()
    variance = count * (count - 1) * (2 * count + 5) / 18
    return float(rises - np.sign(rises)) / math.sqrt(variance)


def reading(
    detector: str,
    component: Component,
    evidence: float,
    technique: Technique,
    weights: Mapping[str, float],
    radius: float,
) -> Reading:
    """A reading about a component, with what later rows are known by."""
    links = component.links
    shown = ", ".join(f"{what} {weight:.1f}" for what, weight in weights.items() if weight >= 1)
    return Reading(
        detector,
        f"{detector}.evidence",
        Subject("cluster", component.id),
        technique,
        evidence,
        links[-1].time,
        links[-1].time - component.first,
        len(links),
        component.size,
        Cluster(np.stack(component.members), radius, dict(component.callers)),
        f"unusual by decades: {shown}" if shown else "",
    )
