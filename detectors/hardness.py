"""Distribution and hardness: whether a party's rows are what the model is usually asked about.

Three statistics of a party's latest distinct rows (near rows count once, so that a camera is not a distribution):
*margins*: the two-sample Kolmogorov-Smirnov statistic of their margins against the benign ones of the same classes,
times the root of their number: HODA (arXiv 2106.11424) compares histograms of hardness, for which margins stand in
where no training checkpoints are at hand. *entropies*: the same of the entropies. *embedding*: the maximum mean
discrepancy (Gretton et al., JMLR 2012; Gaussian kernel, median bandwidth) of their embeddings against the benign
sample, whose rows are weighted so that its classes are mixed as the party's are: few classes are no anomaly. The same
three of all callers' latest distinct rows together, *pooled_...*, whose benign values are those of windows, not of
callers: what is thinly spread over very many accounts moves the whole. It says that something is going on and not who
does it, so that nobody is acted on for it.

Found: natural images of another domain (Knockoff Nets), noise and synthetic rows (Copycat), rows picked for being
uncertain (active learning). Evaded by real rows of the model's own domain in their natural mixture, and by mixing in so
many of them that the rest drowns.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.benign import Benign
from detectors.detector import DetectorStats
from detectors.findings import Reading, Subject, Technique
from detectors.graph import Graph
from detectors.observation import Observation
from detectors.parties import Parties
from detectors.rows import RecentRows, Serials

WINDOW = 128
MIN_ROWS = 24
STRIDE = 16
POOLED = "pooled_"
POOLED_WINDOW = 512
POOLED_STRIDE = 128
EVERYBODY = Subject("group", "everybody")
"""All callers together, which no verdict acts on."""
MEASURED = ("margins", "entropies", "embedding")


class Hardness:
    """Reads the distribution of each party's latest distinct rows.

    Args:
        recent: the rows.
        parties: who sent them.
        graph: says which rows are near to earlier ones.
        benign: what the model is usually asked; without, nothing is read.
    """

    name = "hardness"

    def __init__(self, recent: RecentRows, parties: Parties, graph: Graph, benign: Benign) -> None:
        self._recent = recent
        self._parties = parties
        self._graph = graph
        self._benign = benign
        self._pool: Serials = np.zeros(0, dtype=np.int64)
        self._fresh = 0

    def see(self, batch: Sequence[Observation]) -> Iterator[Reading]:
        """See `Detector`."""
        self._graph.take(batch)
        if not self._benign.known:
            return
        for party, _ in self._parties.take(batch):
            if party.seen >= MIN_ROWS and party.due(self.name, STRIDE):
                serials = party.serials[self._recent.kept(party.serials)]
                serials = serials[self._graph.distinct(serials)][-WINDOW:]
                if len(serials) >= MIN_ROWS:
                    yield from self._read(party.subject, "", serials, party.seen)
        yield from self._pooled(np.concatenate(self._recent.take(batch)))

    def stats(self) -> DetectorStats:
        """See `Detector`."""
        return DetectorStats({"parties": len(self._parties)}, {"parties": self._parties.dropped})

    def _pooled(self, serials: Serials) -> Iterator[Reading]:
        own = serials[self._recent.kept(serials)]
        own = own[self._graph.distinct(own)]
        self._fresh += len(own)
        self._pool = np.concatenate([self._pool, own])[-POOLED_WINDOW:]
        if self._fresh >= POOLED_STRIDE and len(self._pool) == POOLED_WINDOW:
            self._fresh = 0
            yield from self._read(EVERYBODY, POOLED, self._pool[self._recent.kept(self._pool)], self._recent.count)

    def _read(self, subject: Subject, kind: str, serials: Serials, seen: int) -> Iterator[Reading]:
        recent, places = self._recent, self._recent.places(serials)
        classes, times = recent.classes[places], recent.times[places]
        weights = self._benign.weights(classes)
        for what, value, note in (
            ("margins", *_compared(recent.margins[places], *self._benign.ordered("margins"), weights, "margin")),
            ("entropies", *_compared(recent.entropies[places], *self._benign.ordered("entropies"), weights, "entropy")),
            ("embedding", self._benign.discrepancy(recent.embeddings[places], weights), "distance of distributions"),
        ):
            yield Reading(
                self.name,
                f"{self.name}.{kind}{what}",
                subject,
                Technique.EXTRACTION,
                value,
                float(times[-1]),
                float(times[-1] - times[0]),
                len(serials),
                seen,
                note=note,
            )


def _compared(
    values: NDArray[np.float32],
    order: NDArray[np.int64],
    benign: NDArray[np.float32],
    weights: NDArray[np.float64],
    name: str,
) -> tuple[float, str]:
    known = values[np.isfinite(values)]
    if len(known) < MIN_ROWS:
        return 0.0, ""
    weights = weights[order]
    gap = kolmogorov_smirnov(known, benign, weights)
    return gap * math.sqrt(len(known)), f"mean {name} {known.mean():.2f}, usually {weights @ benign:.2f}"


def kolmogorov_smirnov(values: NDArray[np.float32], benign: NDArray[np.float32], weights: NDArray[np.float64]) -> float:
    """The largest gap between the distribution of values and that of weighted benign ones, in [0, 1].

    Args:
        values: (n,).
        benign: (m,), not falling.
        weights: (m,), adding up to 1.
    """
    ordered = np.sort(values)
    steps = np.concatenate([[0.0], weights.cumsum()])
    # The gap is largest at one of the values, or just before one.
    gaps = [
        steps[np.searchsorted(benign, ordered, side)] - np.searchsorted(ordered, ordered, side) / len(ordered)
        for side in ("left", "right")
    ]
    return float(np.abs(gaps).max())
