"""The order in which observations reach the detectors: one process's own, or one that several share.

Detectors are functions of an ordered log of observations, entry by entry: who has the same log
comes to the same findings.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias

from proxy.detection.watched import Watched

Source: TypeAlias = Literal["own", "other", "past"]
"""Whose entry it is: this process's, that of another, which reports what follows from it, or one from before."""


class Batch(NamedTuple):
    """Observations of one model, one at least: how many rows they are of, and themselves as bytes (`wire`)."""

    rows: int
    encoded: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """What reaches the detectors in one step.

    Attributes:
        model: its name.
        source: whose it is.
        time: when it was appended, seconds since 1970.
        rows: of the observations.
        content: observations, as bytes (`wire`).
    """

    model: str
    source: Source
    time: float
    rows: int
    content: bytes


class Log(Protocol):
    """Puts entries in order. For one event loop."""

    @property
    def keeps(self) -> bool:
        """Whether detectors that begin anew are given again what it has."""

    @property
    def room(self) -> bool:
        """Whether it takes more observations now."""

    @property
    def good(self) -> bool:
        """Whether calls may pass: False while a shared log is away, and calls may not go on without it."""

    @property
    def pause(self) -> float | None:
        """Seconds after which to exchange even if there is nothing new; None: never."""

    async def exchange(self, watched: Mapping[str, Watched], batches: Mapping[str, Batch]) -> list[Entry]:
        """Takes what is new, and gives what is next, in order. Does not raise if a store is away.

        Args:
            watched: the watched models.
            batches: new observations of some of them.
        """


class OwnLog:
    """What comes is what is next: no other process has a part in it.

    Args:
        clock: seconds since 1970.
    """

    keeps = False
    room = good = True

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    @property
    def pause(self) -> float | None:
        """See `Log`."""
        return None

    async def exchange(self, watched: Mapping[str, Watched], batches: Mapping[str, Batch]) -> list[Entry]:
        """See `Log`."""
        now = self._clock()
        return [
            Entry(model, "own", now, batch.rows, batch.encoded) for model, batch in batches.items() if model in watched
        ]
