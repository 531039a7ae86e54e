"""How often an address has come with a token that is none."""

from collections import OrderedDict
from collections.abc import Callable

from proxy.limiter import network

BURST = 10
REFILL = 6.0
"""Seconds after which one more is allowed."""
MAX_ADDRESSES = 4096


class Failures:
    """Counts per address (IPv6: per /64 network), as a bucket of BURST that fills by one each REFILL seconds.

    Memory: MAX_ADDRESSES; the one that failed least lately is forgotten first.

    Args:
        clock: monotonic seconds.

    Attributes:
        evicted: addresses that were forgotten while they counted.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.evicted = 0
        self._clock = clock
        self._empty: OrderedDict[str, float] = OrderedDict()

    def wait(self, address: str) -> float:
        """Seconds until one more failure is allowed; 0 if it is."""
        empty = self._empty.get(_prefix(address))
        return 0.0 if empty is None else max(0.0, empty - self._clock() - (BURST - 1) * REFILL)

    def note(self, address: str) -> None:
        """Counts a failure."""
        key, now = _prefix(address), self._clock()
        self._empty[key] = max(now, self._empty.get(key, now)) + REFILL
        self._empty.move_to_end(key)
        if len(self._empty) > MAX_ADDRESSES:
            _, until = self._empty.popitem(last=False)
            self.evicted += until > now


def _prefix(address: str) -> str:
    return network(address) if ":" in address else address
