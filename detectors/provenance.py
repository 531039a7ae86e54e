"""Query provenance: what a component of near rows looks like, whoever sent them.

A search for an adversarial example asks the model about many points near each other, and each answer decides the next
point; a natural near-duplicate, a poll or a noisy camera does not. No pair of rows and no single statistic tells them
apart, so the component as a whole is held against benign ones (`detectors.novelty`).

Source: query provenance analysis, arXiv 2405.20641, which judges growing sequences by their shape, here without a
learned classifier; fingerprints as loose edges are Blacklight's, arXiv 2006.14042. Found: decision-boundary walks,
score-based searches, gradient estimates, by one account or many. Evaded by rows so far apart that none are near (which
costs the attacker the search), by spacing them further than the memory reaches, and by benign components of the same
shape: a search that hides among noisy frames of one scene is found late or not at all.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from detectors.detector import DetectorStats
from detectors.findings import Cluster, Reading, Subject, Technique
from detectors.graph import Component, Graph
from detectors.novelty import Novelty, Point, described
from detectors.observation import Observation

MIN_ROWS = 5
EVERY_ROW = 32
"""Up to this size a component is read whenever it grew, beyond it after every few rows."""
STRIDE = 8

Told = Callable[[str, str, Point], None]


class Provenance:
    """Reads components of a graph.

    Args:
        name: `query_provenance` or `pooled_provenance`.
        graph: whose components are read.
        novelty: of a component among benign ones.
        radius: within which a row belongs to a component's member, in the embedding.
        told: of each component that is read, by detector, id and point; for calibration.
    """

    def __init__(self, name: str, graph: Graph, novelty: Novelty, radius: float, told: Told | None = None) -> None:
        self.name = name
        self._graph = graph
        self._novelty = novelty
        self._radius = radius
        self._told = told

    def see(self, batch: Sequence[Observation]) -> Iterator[Reading]:
        """See `Detector`."""
        for component in self._graph.take(batch):
            if component.size >= MIN_ROWS and (component.size <= EVERY_ROW or component.changed >= STRIDE):
                component.changed = 0
                yield self._read(component)

    def stats(self) -> DetectorStats:
        """See `Detector`."""
        return DetectorStats({"components": len(self._graph)}, {"components": self._graph.dropped})

    def _read(self, component: Component) -> Reading:
        point = described(component)
        if self._told is not None:
            self._told(self.name, component.id, point)
        return reading(
            self.name,
            "novelty",
            component,
            self._novelty(point),
            Technique.EVASION,
            self._radius,
            self._novelty.furthest(point),
        )


def reading(
    detector: str, what: str, component: Component, value: float, technique: Technique, radius: float, note: str
) -> Reading:
    """A reading about a component, with what later rows are known by."""
    links = component.links
    return Reading(
        detector,
        f"{detector}.{what}",
        Subject("cluster", component.id),
        technique,
        value,
        links[-1].time,
        links[-1].time - component.first,
        len(links),
        component.size,
        Cluster(np.stack(component.members), radius, dict(component.callers)),
        note,
    )
