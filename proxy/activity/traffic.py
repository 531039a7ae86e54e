"""Calls and their latency, second by second, over the last minutes."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

SECONDS = 600
"""That are remembered."""
_BOUNDS = tuple(50e-6 * 1.35**at for at in range(48))
"""Upper bounds of the latency classes: 50 microseconds to about a minute, each a third wider than the one before."""


@dataclass(slots=True)
class _Second:
    second: int = -1
    calls: int = 0
    rows: int = 0
    refused: int = 0
    failed: int = 0
    whole: list[int] = field(default_factory=lambda: [0] * (len(_BOUNDS) + 1))
    own: list[int] = field(default_factory=lambda: [0] * (len(_BOUNDS) + 1))

    def to_json(self) -> dict[str, Any]:
        return {
            "time": self.second,
            "calls": self.calls,
            "rows": self.rows,
            "refused": self.refused,
            "failed": self.failed,
            "p50": quantile(self.whole, 0.5),
            "p99": quantile(self.whole, 0.99),
            "proxy_p50": quantile(self.own, 0.5),
            "proxy_p99": quantile(self.own, 0.99),
        }


class Traffic:
    """A ring of seconds. For one thread; noting a call costs about a microsecond.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ring = [_Second() for _ in range(SECONDS)]

    def note(self, code: str, rows: int, refused: bool, seconds: float, own: float) -> None:
        """Counts one call.

        Args:
            code: name of its gRPC status code.
            rows: examples that were answered.
            refused: whether the proxy itself refused it.
            seconds: that it took in all.
            own: of them, the proxy's own part.
        """
        second = int(self._clock())
        at = second % SECONDS
        held = self._ring[at]
        if held.second != second:
            held = self._ring[at] = _Second(second)
        held.calls += 1
        held.rows += rows
        held.refused += refused
        held.failed += code != "OK" and not refused
        held.whole[bisect_left(_BOUNDS, seconds)] += 1
        held.own[bisect_left(_BOUNDS, own)] += 1

    def points(self, seconds: int = 300) -> list[dict[str, Any]]:
        """The last whole seconds, oldest first; those without a call have counts of 0.

        Latencies are in seconds, null where there was no call: `p50` and `p99` of whole calls, `proxy_p50` and
        `proxy_p99` of the proxy's own part.
        """
        now = int(self._clock())
        found = []
        for second in range(now - min(seconds, SECONDS - 1), now):
            held = self._ring[second % SECONDS]
            found.append((held if held.second == second else _Second(second)).to_json())
        return found


def quantile(counts: list[int], share: float) -> float | None:
    """The latency that a share of the calls does not exceed, to within a third; None without calls."""
    total = sum(counts)
    if not total:
        return None
    wanted, seen = share * total, 0
    for at, count in enumerate(counts):
        seen += count
        if seen >= wanted:
            return float(f"{_BOUNDS[min(at, len(_BOUNDS) - 1)]:.3g}")
    return None
