"""Two ways to find near rows among very many: by shared fingerprint hashes, and by nearness of embeddings.

Both are tables of fixed size in which the newest wins, so that a look-up costs the same however much was seen.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.features.reduce import mixed
from detectors.graph import MAX_TAKEN, Batch, Near
from detectors.observation import DIMENSIONS, FINGERPRINT, Floats, Hashes
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

    def take(self, batch: Batch) -> Iterator[Near]:
        """See `Index`."""
        features, serials = batch.features, batch.serials
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


@dataclass(slots=True)
class _Closest:
    """For each row of a batch the closest earlier one so far: distance over radius, serial, distance."""

    ratios: Floats
    serials: Serials
    distances: Floats

    def take(self, rows: Serials, ratios: Floats, serials: Serials, distances: Floats) -> None:
        """Keeps what is closer; where a row stands there several times, the last counts."""
        closer = ratios < self.ratios[rows]
        chosen = rows[closer]
        self.ratios[chosen] = ratios[closer]
        self.serials[chosen] = serials[closer]
        self.distances[chosen] = distances[closer]


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
        self._sole: dict[str, str] = {}
        self._by_age = radius(np.maximum(1, np.arange(self.LATEST + 2 * MAX_TAKEN)))

    def take(self, batch: Batch) -> Iterator[Near]:
        """See `Index`."""
        rows = len(batch.serials)
        closest = _Closest(np.full(rows, np.inf, np.float32), np.zeros(rows, np.int64), np.zeros(rows, np.float32))
        everyone = np.arange(rows)
        self._older(batch, closest)
        last = int(batch.serials[-1])
        latest = np.arange(max(0, last + 1 - rows - self.LATEST), last + 1)
        self._compare(batch, everyone, latest, batch.serials[:, np.newaxis] - latest, closest)
        for begin, end, (caller, *groups) in batch.owners:
            self._own_rows(batch, begin, end, caller, closest)
            for group in groups:
                if self._sole.setdefault(group, caller) != caller:
                    self._sole[group] = ""
                if self._sole[group] != caller:  # else its rows are the caller's
                    self._own_rows(batch, begin, end, group, closest)
        while len(self._own) > self.MAX_PARTIES:
            self._own.popitem(last=False)
        while len(self._sole) > self.MAX_PARTIES:
            self._sole.pop(next(iter(self._sole)))
        for row in np.flatnonzero(closest.ratios <= 1).tolist():
            serial = closest.serials[row : row + 1]
            repeat = closest.ratios[row] < 0
            yield Near(row, serial, float(closest.distances[row]), bool(repeat))

    def _older(self, batch: Batch, closest: "_Closest") -> None:
        """What the tables know; and the rows into them."""
        recent, embeddings = self._recent, batch.features.embeddings
        slots = self._slots(embeddings)
        tables = np.arange(self.TABLES)
        found = self._cells[tables, slots].reshape(len(slots), -1) - 1
        self._cells[tables, slots, 1] = self._cells[tables, slots, 0]
        self._cells[tables, slots, 0] = batch.serials[:, np.newaxis] + 1
        ages = np.where(recent.kept(found), batch.serials[:, np.newaxis] - found, 0)
        rows, columns = np.nonzero(ages > 0)
        if len(rows):
            serials = found[rows, columns]
            places = recent.places(serials)
            gaps = np.linalg.norm(recent.embeddings[places] - embeddings[rows], axis=1)
            ratios = gaps / self._radius(ages[rows, columns])
            ratios[recent.digests[places] == batch.features.digests[rows]] = -1.0
            order = np.argsort(-ratios, kind="stable")  # the last one written is the closest
            closest.take(rows[order], ratios[order], serials[order], gaps[order])

    def _own_rows(self, batch: Batch, begin: int, end: int, party: str, closest: "_Closest") -> None:
        serials = batch.serials[begin:end]
        own = self._own.get(party)
        own = serials if own is None else np.concatenate([own[self._recent.kept(own)], serials])
        if len(own) > 1:
            places = np.arange(len(own))
            ages = places[len(own) - len(serials) :, np.newaxis] - places
            self._compare(batch, np.arange(begin, end), own, ages, closest)
        self._own[party] = own[-self.OWN :].copy()
        self._own.move_to_end(party)

    def _compare(self, batch: Batch, rows: Serials, others: Serials, ages: Serials, closest: "_Closest") -> None:
        """Holds rows against others of a bounded number; ages (rows, others) are positive for earlier ones."""
        recent, features = self._recent, batch.features
        places = recent.places(others)
        embeddings, theirs = features.embeddings[rows], recent.embeddings[places]
        squares = (embeddings**2).sum(axis=1)[:, np.newaxis] + (theirs**2).sum(axis=1) - 2 * embeddings @ theirs.T
        gaps = np.sqrt(squares.clip(0))
        ratios = gaps / self._by_age[np.clip(ages, 0, len(self._by_age) - 1)]
        ratios[features.digests[rows][:, np.newaxis] == recent.digests[places]] = -1.0
        ratios[ages <= 0] = np.inf
        best = ratios.argmin(axis=1)
        at = np.arange(len(rows))
        exact = np.linalg.norm(embeddings - theirs[best], axis=1)  # near rows, where the squares cancel out
        closest.take(rows, ratios[at, best], others[best], exact)

    def _slots(self, embeddings: Floats) -> NDArray[np.int64]:
        """(rows, TABLES) cells."""
        cut = np.floor(embeddings @ self._planes + self._offsets).astype(np.int64).astype(np.uint64)
        keys = (cut.reshape(len(embeddings), self.TABLES, self.PROJECTIONS) * self._factors).sum(
            axis=2, dtype=np.uint64
        )
        return (mixed(keys) & self._mask).astype(np.int64)
