"""Distance distribution: whether a party's rows lie as naturally apart as samples of a domain do.

Source: PRADA, Juuti et al., EuroS&P 2019 (arXiv 1805.02628): for each class, distances of new rows to the nearest
earlier row of the same party should look normally distributed; synthetic queries make them look otherwise. Here the
distances are those of embeddings, of all classes together after dividing by their class's median, and normality is
measured by Shapiro and Francia's W' (1972), which needs no tables. PRADA's threshold is fixed; here the profile says
how far from 1 the statistics of benign parties go.

Found: Jacobian-based augmentation, other synthetic queries. Evaded by natural images (Knockoff Nets), by mixing in
many natural rows.
"""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from detectors.detector import DetectorStats
from detectors.findings import Reading, Technique
from detectors.observation import Observation
from detectors.parties import Parties, Party
from detectors.rows import RecentRows

MIN_DISTANCES = 40
STRIDE = 32
SAME = 1e-6


class DistanceDistribution:
    """Reads -log2 W' of each party's distances, over its latest rows.

    Args:
        recent: the rows.
        parties: who sent them.
    """

    name = "distance_distribution"

    def __init__(self, recent: RecentRows, parties: Parties) -> None:
        self._recent = recent
        self._parties = parties

    def see(self, batch: Sequence[Observation]) -> Iterator[Reading]:
        """See `Detector`."""
        for party, _ in self._parties.take(batch):
            if party.seen >= MIN_DISTANCES and party.due(self.name, STRIDE):
                reading = self._read(party)
                if reading is not None:
                    yield reading

    def stats(self) -> DetectorStats:
        """See `Detector`."""
        return DetectorStats({"parties": len(self._parties)}, {"parties": self._parties.dropped})

    def _read(self, party: Party) -> Reading | None:
        serials = party.serials[self._recent.kept(party.serials)]
        places = self._recent.places(serials)
        distances = nearest_earlier(self._recent.embeddings[places], self._recent.classes[places])
        if len(distances) < MIN_DISTANCES:
            return None
        fit = shapiro_francia(distances)
        times = self._recent.times[places]
        return Reading(
            self.name,
            f"{self.name}.non_normality",
            party.subject,
            Technique.EXTRACTION,
            -math.log2(max(fit, 1e-9)),
            float(times[-1]),
            float(times[-1] - times[0]),
            len(distances),
            party.seen,
            note=f"W' = {fit:.3f} over {len(distances)} distances",
        )


def nearest_earlier(embeddings: NDArray[np.float32], classes: NDArray[np.int32]) -> NDArray[np.float64]:
    """Distance of each row to the nearest earlier one of its class, over the median of the class's.

    Args:
        embeddings: (rows, n), oldest first.
        classes: (rows,).

    Returns:
        (at most rows - classes,) in the order of the rows of each class; repeats have none.
    """
    order = np.argsort(classes, kind="stable")
    ordered, embeddings = classes[order], embeddings[order]
    squares = np.einsum("ij,ij->i", embeddings, embeddings, dtype=np.float64)
    edges = [0, *(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1).tolist(), len(ordered)]
    found = []
    for begin, end in pairwise(edges):
        if end - begin < 3:
            continue
        own = embeddings[begin:end].astype(np.float64)
        gaps = own @ own.T
        gaps *= -2
        gaps += squares[begin:end]
        gaps += _not_earlier(end - begin)
        nearest = np.sqrt((gaps[1:].min(axis=1) + squares[begin + 1 : end]).clip(0))
        nearest = nearest[nearest > SAME]  # of a repeat, rounding would be all that is left
        if len(nearest):
            found.append(nearest / middle(nearest))
    return np.concatenate(found) if found else np.zeros(0)


def middle(values: NDArray[np.float64]) -> float:
    """The median, of few values: numpy's own looks after much more."""
    ordered = np.sort(values)
    return float(ordered[(len(values) - 1) // 2] + ordered[len(values) // 2]) / 2


@lru_cache(64)
def _not_earlier(count: int) -> NDArray[np.float64]:
    """(count, count): infinite where the column is no earlier row, else 0."""
    return np.where(np.tri(count, k=-1, dtype=np.bool_), 0.0, np.inf)


def shapiro_francia(values: NDArray[np.float64]) -> float:
    """W' in (0, 1]: the squared correlation of the ordered values with normal scores; 1 if they look normal."""
    ordered = np.sort(values) - values.mean()
    squares = float((ordered**2).sum())
    if squares == 0:
        return 1.0
    scores = _scores(len(values))
    return float(scores @ ordered) ** 2 / (float((scores**2).sum()) * squares)


@lru_cache(512)
def _scores(count: int) -> NDArray[np.float64]:
    """Blom's normal scores."""
    normal = NormalDist()
    return np.array([normal.inv_cdf((rank - 0.375) / (count + 0.25)) for rank in range(1, count + 1)])
