"""Traces: the near rows of one component that one party sent, or all of them, in the order in which they came.

Where a party's rows are near to each other there is a camera, a drifting sensor, or a search. What tells them apart is
not that rows are near but how they follow each other, so a trace keeps of each row how near the nearest earlier one
was, and which.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detectors.rows import RecentRows, Serials

WINDOW = 128
"""Rows of a trace that are remembered, the latest."""
MIN_ROWS = 5
"""From this size on a trace is read."""
MAX_CALLERS = 64
"""Callers of a trace that are told apart."""
NOTHING = -1
EVERYONE = ""
"""The party that all rows of a component belong to."""


@dataclass(slots=True)
class Trace:
    """Near rows of one party.

    Attributes:
        component: the id of their component.
        party: a caller's or a group's id, or EVERYONE.
        first: time of the first row.
        size: rows so far.
        unread: sizes at which it is to be read, before it is longer.
        callers: rows by caller.
        serials: of the latest rows, oldest first.
        nearest: how far the nearest earlier row was, of each of them; NaN for the first. Of everyone's, the nearest of
            another caller: a camera among others' natural near rows is no search by all of them.
        parents: the serial of that row, or NOTHING.
    """

    component: str
    party: str
    first: float = 0.0
    size: int = 0
    unread: list[int] = field(default_factory=list)
    callers: Counter[str] = field(default_factory=Counter)
    serials: list[int] = field(default_factory=list)
    nearest: list[float] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)

    def add(self, serial: int, recent: RecentRows) -> None:
        """A row more, which is among the recent ones."""
        place = serial % recent.capacity
        known = self.kept(recent)
        if self.party == EVERYONE:
            known = known[[recent.callers[at] != recent.callers[place] for at in (known % recent.capacity).tolist()]]
        distance, parent = np.nan, NOTHING
        if len(known):
            gaps = recent.embeddings[known % recent.capacity] - recent.embeddings[place]
            squares = np.einsum("ij,ij->i", gaps, gaps)
            at = int(squares.argmin())
            distance, parent = float(np.sqrt(squares[at])), int(known[at])
        if not self.size:
            self.first = float(recent.times[place])
        self.size += 1
        if self.size >= MIN_ROWS and self.size % (1 if self.size < 16 else 4 if self.size < 64 else 16) == 0:
            self.unread = [*self.unread, self.size][-WINDOW:]
        caller = recent.callers[place]
        if caller in self.callers or len(self.callers) < MAX_CALLERS:
            self.callers[caller] += 1
        self.serials.append(serial)
        self.nearest.append(distance)
        self.parents.append(parent)
        if len(self.serials) > WINDOW:
            del self.serials[0], self.nearest[0], self.parents[0]

    def kept(self, recent: RecentRows, size: int | None = None) -> Serials:
        """The serials of the latest rows that are still among the recent ones; those it had at a size."""
        serials = np.array(self.serials[: self._end(size)], dtype=np.int64)
        return serials[recent.kept(serials)]

    def links(self, count: int, size: int | None = None) -> tuple[NDArray[np.float64], Serials]:
        """`nearest` and `parents` of the latest so many rows; of those it had at a size."""
        part = slice(self._end(size) - count, self._end(size))
        return np.array(self.nearest[part]), np.array(self.parents[part], dtype=np.int64)

    def _end(self, size: int | None) -> int:
        return len(self.serials) if size is None else max(0, len(self.serials) - (self.size - size))

    def due(self) -> list[int]:
        """The sizes to read it at, which are every one at first, then ever fewer; after that they are read."""
        sizes, self.unread = self.unread, []
        return sizes

    def spread(self, recent: RecentRows) -> bool:
        """Whether no caller sent more than half of the latest rows."""
        callers = Counter(recent.callers[at] for at in (self.kept(recent) % recent.capacity).tolist())
        return 2 * max(callers.values(), default=0) <= callers.total()

    def signed_margins(self, recent: RecentRows, size: int | None = None) -> NDArray[np.float64]:
        """Of the latest rows, as seen from the class of the oldest: negative where the class is another."""
        places = self.kept(recent, size) % recent.capacity
        margins = recent.margins[places].astype(np.float64)
        return np.where(recent.classes[places] == recent.classes[places[:1]], margins, -margins)
