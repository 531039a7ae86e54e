"""What waits for the detectors."""

from collections import Counter, deque
from collections.abc import Callable

from proxy.detection.sightings import Sighting

MAX_WEIGHT = 16_384
"""Rows that wait at most, or 64 MB of messages (`sightings.UNIT` bytes each)."""


_Entry = list[tuple[Sighting, int]]
"""One with its weight, or none any more."""


class ObservationQueue:
    """First in, first out, and fair when full: the caller with most weight waiting loses its oldest.

    So whoever floods the queue loses its own rows and hides nobody else's.

    Args:
        dropped: told of each sighting that is lost.
        max_weight: that may wait.

    Attributes:
        rows: that wait.
    """

    def __init__(self, dropped: Callable[[Sighting], None], max_weight: int = MAX_WEIGHT) -> None:
        self.rows = 0
        self._dropped = dropped
        self._max_weight = max_weight
        self._waiting: deque[_Entry] = deque()
        self._by_caller: dict[str, deque[_Entry]] = {}
        self._weight = 0
        self._weights: Counter[str] = Counter()

    @property
    def most(self) -> int:
        """Calls of one caller that wait, at most."""
        return max(map(len, self._by_caller.values()), default=0)

    def put(self, sighting: Sighting) -> None:
        """Takes one in. Never waits."""
        weight = sighting.weight
        entry = [(sighting, weight)]
        self._waiting.append(entry)
        self._by_caller.setdefault(sighting.caller, deque()).append(entry)
        self._weights[sighting.caller] += weight
        self._weight += weight
        self.rows += sighting.rows
        while self._weight > self._max_weight:
            caller, _ = self._weights.most_common(1)[0]
            oldest = self._by_caller[caller][0]
            self._dropped(self._out(oldest))

    def take(self, weight: int) -> list[Sighting]:
        """The oldest, until they weigh so much or more."""
        taken: list[Sighting] = []
        least = self._weight - weight
        while self._waiting and self._weight > least:
            entry = self._waiting.popleft()
            if entry:
                taken.append(self._out(entry))
        return taken

    def _out(self, entry: _Entry) -> Sighting:
        """Empties an entry, which is the oldest of its caller."""
        sighting, weight = entry.pop()
        own = self._by_caller[sighting.caller]
        own.popleft()
        self.rows -= sighting.rows
        self._weight -= weight
        self._weights[sighting.caller] -= weight
        if not own:
            del self._by_caller[sighting.caller], self._weights[sighting.caller]
        return sighting
