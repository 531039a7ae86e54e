"""Search progress: near rows whose answers go somewhere, and parties that probe many neighbourhoods.

Three statistics. *climb*: in a component of near rows, how steadily the margin of the latest class rises (Mann and
Kendall's Z), as when model inversion climbs one class's confidence from a blank input (Fredrikson et al., CCS 2015).
*fall*: how steadily the margin of the first row's class falls, as in a score-based search for an adversarial example.
*neighbourhoods*: the logarithm of the number of components to which a party gave several rows each, as in label-only
membership inference (Choquette-Choo et al., ICML 2021), which probes around every row in question, and in searches that
start from many inputs.

Evaded by rows too far apart to be near, by random detours that hide the trend, and by spreading the neighbourhoods over
parties that have nothing in common. Membership inference by the confidence of the plain rows alone looks like a
customer: only coarser answers help against it.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np

from detectors.detector import DetectorStats
from detectors.findings import Reading, Subject, Technique
from detectors.graph import MAX_COMPONENTS, Graph
from detectors.novelty import trend
from detectors.observation import Observation
from detectors.parties import Parties, subjects
from detectors.provenance import reading
from detectors.rows import RecentRows
from detectors.traces import Trace

MIN_ROWS = 8
STRIDE = 4
MIN_SHARE = 4
"""Rows that a party must have given to a component, for it to be one of its neighbourhoods."""
MAX_PROBERS = 1024
MAX_NEIGHBOURHOODS = 64
"""Of a party that are kept, once there are twice as many; those with the most rows."""


class SearchProgress:
    """Reads components of a graph for the way their answers go.

    Args:
        recent: the rows.
        graph: of near rows in the embedding.
        parties: who sends them.
        radius: within which a row belongs to a component's member.
    """

    name = "search_progress"

    def __init__(self, recent: RecentRows, graph: Graph, parties: Parties, radius: float) -> None:
        self._recent = recent
        self._graph = graph
        self._parties = parties
        self._radius = radius
        self._read_at: OrderedDict[str, int] = OrderedDict()
        self._given: OrderedDict[Subject, Counter[str]] = OrderedDict()
        self._dropped = 0

    def see(self, batch: Sequence[Observation]) -> Iterator[Reading]:
        """See `Detector`."""
        for component in self._graph.take(batch):
            if component.size >= self._read_at.get(component.component, MIN_ROWS):
                self._read_at[component.component] = component.size + STRIDE
                yield from self._trends(component)
        while len(self._read_at) > MAX_COMPONENTS:
            self._read_at.popitem(last=False)
        yield from self._neighbourhoods(batch)

    def stats(self) -> DetectorStats:
        """See `Detector`."""
        return DetectorStats({"parties": len(self._given)}, {"parties": self._dropped})

    def _trends(self, component: Trace) -> Iterator[Reading]:
        falls = component.signed_margins(self._recent)
        places = component.kept(self._recent) % self._recent.capacity
        latest = self._recent.classes[places] == self._recent.classes[places[-1:]]
        margins = self._recent.margins[places].astype(np.float64)
        for what, values, sign, technique in (
            ("climb", np.where(latest, margins, -margins), 1, Technique.INVERSION),
            ("fall", falls, -1, Technique.EVASION),
        ):
            known = values[np.isfinite(values)]
            if len(known) >= MIN_ROWS:
                moved = f"margin from {known[0]:.3f} to {known[-1]:.3f} over {len(known)} near rows"
                value = max(0.0, sign * trend(known))
                yield reading(self.name, what, component, self._recent, value, technique, self._radius, moved)

    def _neighbourhoods(self, batch: Sequence[Observation]) -> Iterator[Reading]:
        read = {party.subject for party, _ in self._parties.take(batch)}
        for observation, components in zip(batch, self._graph.joined(batch), strict=True):
            for subject in subjects(observation) if components else ():
                given = self._given.setdefault(subject, Counter())
                self._given.move_to_end(subject)
                reached = False
                for component in components:
                    given[component] += 1
                    reached |= given[component] == MIN_SHARE
                count = _neighbourhoods(given) if reached and subject in read else 0
                if len(given) > 2 * MAX_NEIGHBOURHOODS:
                    self._given[subject] = Counter(dict(given.most_common(MAX_NEIGHBOURHOODS)))
                if count > 1:
                    yield self._reading(observation, subject, count, sum(given.values()))
        while len(self._given) > MAX_PROBERS:
            self._given.popitem(last=False)
            self._dropped += 1

    def _reading(self, observation: Observation, subject: Subject, count: int, rows: int) -> Reading:
        return Reading(
            self.name,
            f"{self.name}.neighbourhoods",
            subject,
            Technique.MEMBERSHIP,
            math.log2(count),
            observation.time,
            0.0,
            rows,
            rows,
            note=f"{count} neighbourhoods with {MIN_SHARE} near rows or more",
        )


def _neighbourhoods(given: Counter[str]) -> int:
    return sum(rows >= MIN_SHARE for rows in given.values())
