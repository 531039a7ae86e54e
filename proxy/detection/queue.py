"""The observations that wait for the detectors."""

from collections import Counter, deque
from collections.abc import Callable

from detectors.observation import Observation

MAX_ROWS = 16_384
"""Rows that wait at most: about 10 MB."""


class ObservationQueue:
    """First in, first out, and fair when full: the caller with most rows waiting loses its oldest.

    So whoever floods the queue loses its own rows and hides nobody else's.

    Args:
        dropped: told of each observation that is lost.
        max_rows: rows that may wait.
    """

    def __init__(self, dropped: Callable[[Observation], None], max_rows: int = MAX_ROWS) -> None:
        self.rows = 0
        self._dropped = dropped
        self._max_rows = max_rows
        self._waiting: deque[list[Observation]] = deque()
        self._by_caller: dict[str, deque[list[Observation]]] = {}
        self._rows: Counter[str] = Counter()

    def put(self, observation: Observation) -> None:
        """Takes one in. Never waits."""
        entry = [observation]
        self._waiting.append(entry)
        self._by_caller.setdefault(observation.caller, deque()).append(entry)
        self._rows[observation.caller] += observation.rows
        self.rows += observation.rows
        while self.rows > self._max_rows:
            caller, _ = self._rows.most_common(1)[0]
            oldest = self._by_caller[caller][0]
            self._dropped(self._out(oldest))

    def take(self, max_rows: int) -> list[Observation]:
        """The oldest, until there are `max_rows` of them or more."""
        taken: list[Observation] = []
        rows = 0
        while self._waiting and rows < max_rows:
            entry = self._waiting.popleft()
            if entry:
                taken.append(self._out(entry))
                rows += taken[-1].rows
        return taken

    def _out(self, entry: list[Observation]) -> Observation:
        """Empties an entry, which is the oldest of its caller."""
        observation = entry.pop()
        own = self._by_caller[observation.caller]
        own.popleft()
        self.rows -= observation.rows
        self._rows[observation.caller] -= observation.rows
        if not own:
            del self._by_caller[observation.caller], self._rows[observation.caller]
        return observation
