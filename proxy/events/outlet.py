"""What takes events out of the process, and what it counts."""

from collections.abc import Callable
from typing import Any, Literal, Protocol

Outcome = Literal["delivered", "failed", "dropped"]
"""Taken by the other side; a try that failed, which may be followed by others; lost for good."""
OUTCOMES: tuple[Outcome, ...] = ("delivered", "failed", "dropped")
Counted = Callable[[str, Outcome, int], None]
"""Told of an outlet's name, of what came of it, and how many events or alerts that were."""


class Outlet(Protocol):
    """Takes events in at once, and out when it can. None ever harms the proxy: what it cannot get rid of is counted."""

    @property
    def name(self) -> str:
        """As in the metrics."""

    @property
    def waiting(self) -> int:
        """Events that wait."""

    def put(self, content: dict[str, Any]) -> None:
        """Takes an event in; never waits, never raises."""

    async def run(self) -> None:
        """Takes events out, until cancelled."""

    async def close(self, seconds: float) -> None:
        """Takes out what still waits, for so long at most."""
