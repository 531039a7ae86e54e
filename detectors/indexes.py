"""Two ways to find near rows among very many: by shared fingerprint hashes, and by nearness of embeddings.

Both are tables of fixed size in which the newest wins, so that a look-up costs the same however much was seen.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.features.reduce import mixed
from detectors.graph import MAX_TAKEN, Batch, Near
from detectors.observation import DIMENSIONS, FINGERPRINT, Floats, Hashes
from detectors.rows import RecentRows, Serials

NOBODY = -1
REPEAT = -np.inf
"""The ratio of an exact repeat: closer than anything else."""


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
        """Keeps what is closer. A row may stand there several times."""
        closer = np.flatnonzero(ratios < self.ratios[rows])
        if len(closer):
            closer = closer[np.argsort(-ratios[closer], kind="stable")]  # the last one written is the closest
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

    Memory: 16 bytes a cell and table, 25 MB by default, and 0.5 KB for each of MAX_PARTIES.

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
    TOGETHER = 128
    """Rows that are compared with their parties' own at once: 2 MB, which stay in the processor's cache."""
    needed = 1

    def __init__(
        self, recent: RecentRows, radius: Callable[[Serials], Floats], rng: np.random.Generator, slots: int = 2**17
    ) -> None:
        self._recent = recent
        width = self.CELLS * float(radius(np.array([recent.capacity]))[0])
        shape = DIMENSIONS, self.TABLES * self.PROJECTIONS
        self._planes = (rng.standard_normal(shape) / width).astype(np.float32)
        self._offsets = rng.random(shape[1]).astype(np.float32)
        self._factors = rng.integers(1, 2**62, (self.TABLES, self.PROJECTIONS), dtype=np.int64).astype(np.uint64)
        self._mask = np.uint64(slots - 1)
        self._cells = np.zeros((self.TABLES, slots, self.WAYS), dtype=np.int64)
        self._places: OrderedDict[str, int] = OrderedDict()
        self._own = np.full((self.MAX_PARTIES, self.OWN), NOBODY, dtype=np.int64)
        self._sole: dict[str, str] = {}
        self._by_age = radius(np.maximum(1, np.arange(max(recent.capacity, self.LATEST) + MAX_TAKEN + 1)))
        self._squares_by_age = self._by_age**2

    def take(self, batch: Batch) -> Iterator[Near]:
        """See `Index`."""
        rows = len(batch.serials)
        closest = _Closest(np.full(rows, np.inf, np.float32), np.zeros(rows, np.int64), np.zeros(rows, np.float32))
        self._older(batch, closest)
        self._latest(batch, closest)
        self._own_rows(batch, self._parties(batch), closest)
        while len(self._sole) > self.MAX_PARTIES:
            self._sole.pop(next(iter(self._sole)))
        for row in np.flatnonzero(closest.ratios <= 1).tolist():
            serial = closest.serials[row : row + 1]
            yield Near(row, serial, float(closest.distances[row]), bool(closest.ratios[row] == REPEAT))

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
            ratios = gaps / self._by_age[ages[rows, columns]]
            ratios[recent.digests[places] == batch.features.digests[rows]] = REPEAT
            closest.take(rows, ratios, serials, gaps)

    def _parties(self, batch: Batch) -> dict[int, list[int]]:
        """The rows of each party, by its place among all."""
        found: dict[int, list[int]] = {}
        for begin, end, (caller, *groups) in batch.owners:
            found.setdefault(self._place(caller), []).extend(range(begin, end))
            for group in groups:
                if self._sole.setdefault(group, caller) != caller:
                    self._sole[group] = ""
                if self._sole[group] != caller:  # else its rows are the caller's
                    found.setdefault(self._place(group), []).extend(range(begin, end))
        return found

    def _place(self, party: str) -> int:
        """Where a party's own rows are; who was silent longest makes room for a new one."""
        place = self._places.get(party)
        if place is None:
            place = len(self._places)
            if place == self.MAX_PARTIES:
                _, place = self._places.popitem(last=False)
                self._own[place] = NOBODY
            self._places[party] = place
        self._places.move_to_end(party)
        return place

    def _own_rows(self, batch: Batch, parties: Mapping[int, list[int]], closest: "_Closest") -> None:
        """Holds each row against the OWN rows of its parties before it."""
        places = np.fromiter(parties, np.int64, len(parties))
        counts = np.array([len(rows) for rows in parties.values()])
        rows = np.array([row for own in parties.values() for row in own])
        # One party's part after the other: its rows so far, then its rows of this batch.
        before = np.arange(self.OWN)
        begins = np.cumsum(counts + self.OWN) - (counts + self.OWN)
        lined_up = np.empty(int(counts.sum()) + self.OWN * len(counts), dtype=np.int64)
        lined_up[begins[:, np.newaxis] + before] = self._own[places]
        at = np.arange(len(rows)) + np.repeat(begins - (np.cumsum(counts) - counts), counts)
        lined_up[at + self.OWN] = batch.serials[rows]
        self._own[places] = lined_up[(begins + counts)[:, np.newaxis] + before]
        for begin in range(0, len(rows), self.TOGETHER):
            part = slice(begin, begin + self.TOGETHER)
            self._compare_own(batch, rows[part], lined_up[at[part, np.newaxis] + before], closest)

    def _compare_own(self, batch: Batch, rows: Serials, others: Serials, closest: "_Closest") -> None:
        """Holds each row against (n, OWN) others, the oldest first."""
        theirs = self._recent.embeddings[self._recent.places(others)]
        products = (theirs @ batch.features.embeddings[rows][:, :, np.newaxis])[:, :, 0]
        ages = np.where(self._recent.kept(others), self.OWN - np.arange(self.OWN), 0)
        self._compare(batch, rows, others, products, ages, closest)

    def _latest(self, batch: Batch, closest: "_Closest") -> None:
        """Holds all rows against the LATEST before the batch, and against those before them in the batch."""
        recent, rows, last = self._recent, len(batch.serials), int(batch.serials[-1])
        latest = np.arange(max(0, last + 1 - rows - self.LATEST), last + 1)
        products = batch.features.embeddings @ recent.embeddings[recent.places(latest)].T
        ages = batch.serials[:, np.newaxis] - latest
        self._compare(batch, np.arange(rows), np.broadcast_to(latest, products.shape), products, ages, closest)

    def _compare(
        self, batch: Batch, rows: Serials, others: Serials, products: Floats, ages: Serials, closest: "_Closest"
    ) -> None:
        """Holds each row against a number of others.

        Args:
            batch: the rows'.
            rows: (n,) places in the batch.
            others: (n, m) serials.
            products: (n, m) of their embeddings.
            ages: (n, m), positive for earlier ones that are still known.
            closest: learns it.
        """
        recent, features = self._recent, batch.features
        places = recent.places(others)
        ratios = recent.squares[places] + recent.squares[recent.places(batch.serials[rows])][:, np.newaxis]
        ratios -= 2 * products
        ratios /= self._squares_by_age[ages.clip(0)]
        ratios[features.digests[rows][:, np.newaxis] == recent.digests[places]] = REPEAT
        ratios[ages <= 0] = np.inf
        best = np.arange(len(rows)), ratios.argmin(axis=1)
        # Exactly, since the squares of near rows cancel out.
        gaps = np.linalg.norm(features.embeddings[rows] - recent.embeddings[places[best]], axis=1)
        exact = np.where(np.isfinite(ratios[best]), gaps / self._by_age[ages[best].clip(0)], ratios[best])
        closest.take(rows, exact, others[best], gaps)

    def _slots(self, embeddings: Floats) -> NDArray[np.int64]:
        """(rows, TABLES) cells."""
        cut = np.floor(embeddings @ self._planes + self._offsets).astype(np.int64).astype(np.uint64)
        keys = (cut.reshape(len(embeddings), self.TABLES, self.PROJECTIONS) * self._factors).sum(
            axis=2, dtype=np.uint64
        )
        return (mixed(keys) & self._mask).astype(np.int64)
