"""Query provenance and pooled-space provenance: searches, by the course of their near rows.

One class over two graphs: rows joined by shared fingerprint hashes (`query_provenance`), and rows near in the embedding
(`pooled_provenance`), where noise and small shifts that change every hash hardly move a row. Single near pairs decide
nothing. What a party sent into a component is read as a trace (`detectors.course`): how close its rows come to each
other (*closeness*), whether later rows come from those with the better answers (*selection*), and how far its course
is from any benign one in three views (*shape*, *steps*, *order*; `detectors.novelty`). A component of which no caller
sent more than half is read as a whole, too, against benign components of that kind (*spread_...*), so that a search
over many accounts is found; its views are reported and nothing more, since natural near rows of many callers lie in
many ways, and what is done about a component is done to all who send such rows.

Source: query provenance analysis, arXiv 2405.20641, which judges growing sequences by their shape, here without a
learned classifier; fingerprints as loose edges are Blacklight's, arXiv 2006.14042. Found: decision-boundary walks,
score-based searches, gradient estimates, by one account or many. Evaded by rows so far apart that none are near (which
costs the attacker the search), by spacing them further than the memory reaches, and by fresh noise on every row that is
as large as the steps: such a search looks like a camera, and hardly gets anywhere.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from detectors.course import Course, course
from detectors.detector import DetectorStats
from detectors.findings import Cluster, Reading, Subject, Technique
from detectors.graph import Graph
from detectors.novelty import Novelty
from detectors.observation import Observation
from detectors.rows import RecentRows
from detectors.traces import Trace

MEMBERS = 32
"""Rows of a trace by which later rows are known to belong to it: the first and the latest."""
ALONE, SPREAD = "", "spread_"
"""What statistics' names begin with: those of one party's trace, and those of whole components."""
MEASURED = {ALONE: ("closeness", "selection"), SPREAD: ("closeness",)}
"""Of a course, what is a statistic by itself. Among natural near rows of several parties, margins and nearness to many
go together, so that selection says nothing there."""

VIEWED = {ALONE: ("shape", "steps", "order"), SPREAD: ("shape", "order")}
"""Views in which it is held against benign ones. Natural near rows of several parties are spaced anyhow."""

Told = Callable[[str, str, Course], None]


class Provenance:
    """Reads the traces of a graph.

    Args:
        name: `query_provenance` or `pooled_provenance`.
        graph: whose traces are read.
        recent: the rows.
        novelty: of a course among benign ones, by statistic; those that are missing are not read.
        radius: within which a row belongs to a trace's member, in the embedding.
        told: of each trace that is read: the kind with the detector's name, the party and component, and the course.
    """

    def __init__(
        self,
        name: str,
        graph: Graph,
        recent: RecentRows,
        novelty: Mapping[str, Novelty],
        radius: float,
        told: Told | None = None,
    ) -> None:
        self.name = name
        self._graph = graph
        self._recent = recent
        self._novelty = novelty
        self._radius = radius
        self._told = told

    def see(self, batch: Sequence[Observation]) -> Iterator[Reading]:
        """See `Detector`."""
        for trace in self._graph.of_parties(batch):
            for size in trace.due():
                yield from self._read(trace, ALONE, size)
        for trace in self._graph.take(batch):
            due = trace.due()
            if due and trace.spread(self._recent):
                for size in due:
                    yield from self._read(trace, SPREAD, size)

    def stats(self) -> DetectorStats:
        """See `Detector`."""
        graph = self._graph
        return DetectorStats(
            {"components": len(graph), "traces": graph.traces},
            {"components": graph.dropped, "traces": graph.dropped_traces},
        )

    def _read(self, trace: Trace, kind: str, size: int) -> Iterator[Reading]:
        found = course(trace, self._recent, size)
        if found is None:
            return
        if self._told is not None:
            self._told(f"{self.name}.{kind}", f"{trace.party}\0{trace.component}", found)
        note = (
            f"{found.rows} rows, the nearest earlier ones 2^{found.spacing:.1f} away (fourth nearest "
            f"2^{-found.closeness:.1f}), in 2^{found.dimension:.1f} directions, {found.flips:.0%} class flips"
        )
        for what in MEASURED[kind]:
            yield self._reading(trace, size, kind + what, getattr(found, what), note)
        for view in VIEWED[kind]:
            novelty = self._novelty.get(f"{self.name}.{kind}{view}")
            if novelty is not None:
                yield self._reading(trace, size, kind + view, novelty(found), note)

    def _reading(self, trace: Trace, size: int, what: str, value: float, note: str) -> Reading:
        made = reading(self.name, what, trace, self._recent, value, Technique.EVASION, self._radius, note)
        return replace(made, seen=size)


def reading(
    detector: str,
    what: str,
    trace: Trace,
    recent: RecentRows,
    value: float,
    technique: Technique,
    radius: float,
    note: str,
) -> Reading:
    """A reading about near rows, with what later rows are known by."""
    places = trace.kept(recent) % recent.capacity
    latest = float(recent.times[places[-1]])
    members = np.concatenate([places[:1], places[1:][1 - MEMBERS :]])
    return Reading(
        detector,
        f"{detector}.{what}",
        Subject("cluster", trace.component),
        technique,
        value,
        latest,
        latest - trace.first,
        len(places),
        trace.size,
        Cluster(recent.embeddings[members], radius, dict(trace.callers)),
        note,
    )
