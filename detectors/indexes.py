"""Two ways to find near rows among very many: by shared fingerprint hashes, and by nearness of embeddings.

Both are tables of fixed size in which the newest wins, so that a look-up costs the same however much was seen.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.features.reduce import mixed
from detectors.graph import Near
from detectors.observation import DIMENSIONS, FINGERPRINT, Features, Floats, Hashes
from detectors.rows import RecentRows, Serials

NOBODY = -1


class FingerprintIndex:
    """Rows that share fingerprint hashes (Blacklight's measure, as a loose edge).

    Memory: 16 bytes a slot, 17 MB by default. A hash leads to the newest row that had it.

    Args:
        recent: the rows.
        shared: hashes that a row must share with a component to join it.
        slots: of the hash table, a power of two.
    """

    def __init__(self, recent: RecentRows, shared: int, slots: int = 2**20) -> None:
        self.needed = shared
        self._recent = recent
        self._mask = np.uint64(slots - 1)
        self._keys = np.zeros(slots, dtype=np.uint64)
        self._serials = np.full(slots, NOBODY, dtype=np.int64)

    def take(self, features: Features, serials: Serials, parties: Sequence[str]) -> Iterator[Near]:
        """See `Index`."""
        del parties
        hashes = features.fingerprints
        has = hashes != 0
        slots = (hashes & self._mask).astype(np.int64)
        found = np.where(has & (self._keys[slots] == hashes), self._serials[slots], NOBODY)
        found[~self._recent.kept(found)] = NOBODY
        if len(serials) > 1:
            self._within(hashes, found, int(serials[0]))
        self._keys[slots[has]] = hashes[has]
        self._serials[slots[has]] = np.broadcast_to(serials[:, np.newaxis], hashes.shape)[has]
        for row in np.flatnonzero((found != NOBODY).sum(axis=1) >= self.needed):
            near = found[row][found[row] != NOBODY]
            same = near[self._recent.digests[self._recent.places(near)] == features.digests[row]]
            yield Near(int(row), same if len(same) else near, 1 - len(near) / FINGERPRINT, bool(len(same)))

    def _within(self, hashes: Hashes, found: Serials, first: int) -> None:
        """Where an earlier row of the batch has a hash too, it is the newest that had it."""
        flat = hashes.ravel()
        order = np.argsort(flat, kind="stable")
        ordered = flat[order]
        twice = np.flatnonzero((ordered[1:] == ordered[:-1]) & (ordered[1:] != 0))
        later, earlier = order[twice + 1], order[twice]
        width = hashes.shape[1]
        found.ravel()[later] = first + earlier // width


class EmbeddingIndex:
    """Rows near in the embedding's Euclidean distance.

    How near is near depends on how many rows there were to be near to: `radius` falls with their number, and an earlier
    row is held against the radius for as many rows as came since, or as the same caller or group sent since. So a row
    may be near to one of a caller's own last fifty that would not be near among a million of everybody's.

    The latest rows and each party's own latest are compared one by one. Older ones are found by E2LSH (Datar et al.
    2004): each table hashes PROJECTIONS random projections, cut into cells of CELLS radii, and keeps the two newest
    rows a cell; at the radius, two rows share a cell of at least one table in about 19 of 20 cases, nearer ones nearly
    always.

    Memory: 16 bytes a cell and table, 25 MB by default, and 0.5 KB a party.

    Args:
        recent: the rows.
        radius: from a number of rows, (n,) ints, to (n,) distances.
        rng: throws the projections.
        slots: of each table, a power of two.
    """

    TABLES = 12
    PROJECTIONS = 6
    CELLS = 4.0
    WAYS = 2
    LATEST = 256
    OWN = 64
    MAX_PARTIES = 8192
    needed = 1

    def __init__(
        self, recent: RecentRows, radius: Callable[[Serials], Floats], rng: np.random.Generator, slots: int = 2**17
    ) -> None:
        self._recent = recent
        self._radius = radius
        width = self.CELLS * float(radius(np.array([recent.capacity]))[0])
        shape = DIMENSIONS, self.TABLES * self.PROJECTIONS
        self._planes = (rng.standard_normal(shape) / width).astype(np.float32)
        self._offsets = rng.random(shape[1]).astype(np.float32)
        self._factors = rng.integers(1, 2**62, (self.TABLES, self.PROJECTIONS), dtype=np.int64).astype(np.uint64)
        self._mask = np.uint64(slots - 1)
        self._cells = np.zeros((self.TABLES, slots, self.WAYS), dtype=np.int64)
        self._own: OrderedDict[str, Serials] = OrderedDict()

    def take(self, features: Features, serials: Serials, parties: Sequence[str]) -> Iterator[Near]:
        """See `Index`."""
        recent, rows = self._recent, len(serials)
        slots = self._slots(features.embeddings)
        tables = np.arange(self.TABLES)
        found, ages = self._candidates(self._cells[tables, slots].reshape(rows, -1) - 1, serials, parties)
        places = recent.places(found)
        gaps = np.linalg.norm(recent.embeddings[places] - features.embeddings[:, np.newaxis], axis=2)
        same = (recent.digests[places] == features.digests[:, np.newaxis]) & (ages > 0)
        ratios = np.where(ages > 0, gaps / self._radius(np.maximum(ages, 1).ravel()).reshape(ages.shape), np.inf)
        ratios[same] = -1.0
        best = ratios.argmin(axis=1)
        at = np.arange(rows)
        self._cells[tables, slots, 1] = self._cells[tables, slots, 0]
        self._cells[tables, slots, 0] = serials[:, np.newaxis] + 1
        for row in np.flatnonzero(ratios[at, best] <= 1):
            chosen = best[row]
            yield Near(
                int(row), found[row, chosen : chosen + 1], float(gaps[row, chosen]), bool(ratios[row, chosen] < 0)
            )

    def _candidates(self, older: Serials, serials: Serials, parties: Sequence[str]) -> tuple[Serials, Serials]:
        """(rows, candidates) serials, and after how many rows each; 0 for what is no earlier row."""
        rows, last = len(serials), int(serials[-1])
        latest = np.arange(max(0, last + 1 - rows - self.LATEST), last + 1)
        parts = [older, np.broadcast_to(latest, (rows, len(latest)))]
        ages = [np.maximum(0, serials[:, np.newaxis] - part) for part in parts]
        ages[0][~self._recent.kept(older)] = 0
        for party in parties:
            own = self._own.get(party, serials[:0])
            own = np.concatenate([own[self._recent.kept(own)], serials])
            parts.append(np.broadcast_to(own, (rows, len(own))))
            places = np.arange(len(own))
            ages.append(np.maximum(0, places[len(own) - rows :, np.newaxis] - places))
            self._own[party] = own[-self.OWN :].copy()
            self._own.move_to_end(party)
        while len(self._own) > self.MAX_PARTIES:
            self._own.popitem(last=False)
        return np.concatenate(parts, axis=1), np.concatenate(ages, axis=1)

    def _slots(self, embeddings: Floats) -> NDArray[np.int64]:
        """(rows, TABLES) cells."""
        cut = np.floor(embeddings @ self._planes + self._offsets).astype(np.int64).astype(np.uint64)
        keys = (cut.reshape(len(embeddings), self.TABLES, self.PROJECTIONS) * self._factors).sum(
            axis=2, dtype=np.uint64
        )
        return (mixed(keys) & self._mask).astype(np.int64)
