"""Extraction monitor: what a party could have learned of the model so far.

*budget*: the logarithm of the distinct rows that a party has spent, which decays by half in a day; benign parties say
how much is usual. For parties beyond the usual, a *surrogate* is trained online as an extraction would train one, on
what the party was told: softmax regression on the embeddings (AdaGrad, Duchi et al., JMLR 2011). Before it learns a row
it must foretell the answer; the running share of right answers estimates how far a cheap extraction has come (Kesarwani
et al., ACSAC 2018, did so with a decision tree). It is a lower bound: the attacker's own model may learn faster.

Found: whoever asks much. Evaded by staying below what large customers spend, and by parties with nothing in common; row
budgets in the limits stop both, and so does nothing else.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.detector import DetectorStats
from detectors.findings import Reading, Subject, Technique
from detectors.graph import Graph
from detectors.observation import DIMENSIONS, NO_CLASS, Classes, Floats, Observation
from detectors.parties import MAX_PARTIES, Parties
from detectors.rows import RecentRows, Serials

HALF_LIFE = 86_400.0
MIN_ROWS = 64
STRIDE = 64
NEAR = 0.25
"""What a row counts that is near to an earlier one; an exact repeat teaches nothing."""
MAX_SURROGATES = 64
MAX_CLASSES = 256
"""Classes of a surrogate; models with more are foretold modulo this, which is a lower bound still."""
_RATE = 0.5
_MEMORY = 0.995
"""Of the running share, a row: about the last 200 rows count."""


class Surrogate:
    """Softmax regression that learns row by row, over the classes that it was told of so far.

    Memory: two (DIMENSIONS + 1, MAX_CLASSES) float64, 0.3 MB.
    """

    def __init__(self) -> None:
        self.fidelity = 0.0
        self._known = 1
        self._weights = np.zeros((MAX_CLASSES, DIMENSIONS + 1))
        self._squares = np.full((MAX_CLASSES, DIMENSIONS + 1), 1e-6)

    def learn(self, embeddings: Floats, classes: Classes) -> None:
        """Foretells the classes of rows, then learns them."""
        targets = classes % MAX_CLASSES
        inputs = np.ones((len(embeddings), DIMENSIONS + 1))
        inputs[:, :-1] = embeddings
        scores = inputs @ self._weights[: self._known].T
        for right in (scores.argmax(axis=1) == targets).tolist():
            self.fidelity = _MEMORY * self.fidelity + (1 - _MEMORY) * right
        known = int(targets.max()) + 1
        if known > self._known:
            self._known = known
            scores = inputs @ self._weights[:known].T
        weights, squares = self._weights[: self._known], self._squares[: self._known]
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
        scores[np.arange(len(targets)), targets] -= 1
        gradient: NDArray[np.float64] = scores.T @ inputs / len(targets)
        squares += gradient**2
        weights -= _RATE * gradient / np.sqrt(squares)


@dataclass(slots=True)
class _Spent:
    rows: float
    time: float


class ExtractionMonitor:
    """Reads what parties have spent.

    Args:
        recent: the rows.
        parties: who sent them.
        graph: says which rows are near to earlier ones, or the same.
        usual: rows beyond which a party gets a surrogate.
    """

    name = "extraction_monitor"

    def __init__(self, recent: RecentRows, parties: Parties, graph: Graph, usual: float) -> None:
        self._recent = recent
        self._parties = parties
        self._graph = graph
        self._usual = usual
        self._spent: OrderedDict[Subject, _Spent] = OrderedDict()
        self._surrogates: OrderedDict[Subject, Surrogate] = OrderedDict()
        self._dropped = 0

    def see(self, batch: Sequence[Observation]) -> Iterator[Reading]:
        """See `Detector`."""
        self._graph.take(batch)
        touched = self._parties.take(batch)
        for (party, serials), worth in zip(touched, self._worth([serials for _, serials in touched]), strict=True):
            time = float(self._recent.times[serials[-1] % self._recent.capacity]) if len(serials) else party.first
            spent = self._spend(party.subject, worth, time)
            if spent >= self._usual and len(serials):
                places = self._recent.places(serials[self._recent.kept(serials)])
                self._surrogate(party.subject, self._recent.embeddings[places], self._recent.classes[places])
            if spent >= MIN_ROWS and party.due(self.name, STRIDE):
                yield Reading(
                    self.name,
                    f"{self.name}.budget",
                    party.subject,
                    Technique.EXTRACTION,
                    math.log2(spent),
                    time,
                    time - party.first,
                    round(spent),
                    party.seen,
                    note=self._note(party.subject),
                )

    def fidelity(self, subject: Subject) -> float | None:
        """Share of next rows that a party's surrogate foretells; None if it has none."""
        surrogate = self._surrogates.get(subject)
        return None if surrogate is None else surrogate.fidelity

    def stats(self) -> DetectorStats:
        """See `Detector`."""
        highest = max((surrogate.fidelity for surrogate in tuple(self._surrogates.values())), default=0.0)
        return DetectorStats(
            {"parties": len(self._spent), "surrogates": len(self._surrogates)},
            {"parties": self._dropped},
            {"extraction_progress": highest},
        )

    def _worth(self, parts: Sequence[Serials]) -> Iterator[float]:
        """What each part's rows teach."""
        if not parts:
            return
        serials = np.concatenate(parts)
        near = np.where(self._graph.repeated(serials), 0.0, NEAR)
        sums = np.concatenate([[0.0], np.where(self._graph.distinct(serials), 1.0, near).cumsum()])
        ends = np.cumsum([len(part) for part in parts])
        yield from (sums[ends] - sums[np.concatenate([[0], ends[:-1]])]).tolist()

    def _spend(self, subject: Subject, added: float, time: float) -> float:
        spent = self._spent.get(subject)
        if spent is None:
            spent = self._spent[subject] = _Spent(0.0, time)
            if len(self._spent) > MAX_PARTIES:
                self._spent.popitem(last=False)
                self._dropped += 1
        self._spent.move_to_end(subject)
        spent.rows = spent.rows * 0.5 ** (max(0.0, time - spent.time) / HALF_LIFE) + added
        spent.time = max(spent.time, time)
        return spent.rows

    def _surrogate(self, subject: Subject, embeddings: Floats, classes: Classes) -> None:
        answered = classes != NO_CLASS
        if not answered.any():
            return
        surrogate = self._surrogates.get(subject)
        if surrogate is None:
            surrogate = self._surrogates[subject] = Surrogate()
            if len(self._surrogates) > MAX_SURROGATES:
                self._surrogates.popitem(last=False)
        self._surrogates.move_to_end(subject)
        surrogate.learn(embeddings[answered], classes[answered])

    def _note(self, subject: Subject) -> str:
        surrogate = self._surrogates.get(subject)
        return "" if surrogate is None else f"a surrogate agrees on {surrogate.fidelity:.0%} of the next rows"
