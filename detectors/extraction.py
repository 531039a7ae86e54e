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
    """Softmax regression that learns row by row. Memory: two (DIMENSIONS + 1, MAX_CLASSES) float64, 0.3 MB."""

    def __init__(self) -> None:
        self.fidelity = 0.0
        self._weights = np.zeros((DIMENSIONS + 1, MAX_CLASSES))
        self._squares = np.full((DIMENSIONS + 1, MAX_CLASSES), 1e-6)

    def learn(self, embeddings: Floats, classes: Classes) -> None:
        """Foretells the classes of rows, then learns them."""
        targets = classes % MAX_CLASSES
        inputs = np.concatenate([embeddings, np.ones((len(embeddings), 1))], axis=1)
        scores = inputs @ self._weights
        for right in (scores.argmax(axis=1) == targets).tolist():
            self.fidelity = _MEMORY * self.fidelity + (1 - _MEMORY) * right
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
        scores[np.arange(len(targets)), targets] -= 1
        gradient: NDArray[np.float64] = inputs.T @ scores / len(targets)
        self._squares += gradient**2
        self._weights -= _RATE * gradient / np.sqrt(self._squares)


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
        for party, serials in self._parties.take(batch):
            kept = serials[self._recent.kept(serials)]
            places = self._recent.places(kept)
            time = float(self._recent.times[places[-1]]) if len(kept) else party.first
            spent = self._spend(party.subject, kept, time)
            if spent >= self._usual and len(kept):
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

    def _spend(self, subject: Subject, serials: Serials, time: float) -> float:
        distinct = float(self._graph.distinct(serials).sum())
        near = len(serials) - distinct - float(self._graph.repeated(serials).sum())
        added = distinct + NEAR * near
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
