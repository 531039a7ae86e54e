"""What was measured, as it is kept in JSON."""

import statistics
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict

HALF = 0.5
LOADS = (0.25, HALF, 0.75)
"""Rates of open loop, as shares of what `default` answers in closed loop."""


class Record(BaseModel):
    """A part of the results."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Turn(Record):
    """One measurement of one contender.

    Attributes:
        calls: that were answered.
        seconds: that it took.
        cpu: seconds of a processor that the contender had, all its processes and threads.
        others: share of the machine's processors that neither the contender nor the load nor the upstream had.
    """

    calls: int
    seconds: float
    cpu: float
    others: float

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds

    @property
    def cpu_a_call(self) -> float:
        """Seconds of a processor."""
        return self.cpu / self.calls


class OpenTurn(Turn):
    """The same at a fixed rate.

    Attributes:
        load: one of LOADS.
        failed: calls without the right answer within ten seconds after the last was due.
        latency: seconds from when a call was due to the end of its answer, by quantile.
        late: seconds that the generator itself was late, 99th percentile; part of the latency.
    """

    load: float
    failed: int
    latency: dict[str, float]
    late: float


class Measured(Record):
    """One contender with one payload.

    Attributes:
        closed, open: by turn, and by turn and load.
        memory: resident bytes after all turns.
        seen: share of the rows that detectors saw; None without detection.
        acted: calls of the load that a verdict acted on; there should be none.
    """

    closed: list[Turn] = []
    open: list[OpenTurn] = []
    memory: int = 0
    seen: float | None = None
    acted: int = 0

    def at(self, load: float) -> list[OpenTurn]:
        """The open turns at a load."""
        return [turn for turn in self.open if turn.load == load]

    def latency(self, load: float, quantile: str) -> float:
        """Seconds: the median over turns."""
        return statistics.median(turn.latency[quantile] for turn in self.at(load))


class Asked(Record):
    """One payload: how large, and at which calls a second in open loop, by load."""

    rows: int
    request_bytes: int
    reply_bytes: int
    rates: dict[str, float]
    contenders: dict[str, Measured]


class Results(Record):
    """A whole run, or as much of it as there is.

    Attributes:
        machine: that it ran on.
        settings: what of it was measured, and for how long.
        payloads: what was found.
    """

    machine: dict[str, str]
    settings: dict[str, str] = {}
    payloads: dict[str, Asked]

    def goes_on(self, machine: dict[str, str], settings: dict[str, str]) -> bool:
        """Whether a run on this machine with these settings could be a part of this one."""
        return (self.machine, self.settings) == (machine, settings)


def median(turns: Sequence[Turn], figure: Callable[[Turn], float]) -> float:
    """Of a figure of the turns."""
    return statistics.median(map(figure, turns))


def spread(turns: Sequence[Turn], figure: Callable[[Turn], float]) -> tuple[float, float]:
    """The least and the largest."""
    found = sorted(map(figure, turns))
    return found[0], found[-1]


def paired(own: Sequence[Turn], other: Sequence[Turn]) -> float:
    """Throughput as a share of another contender's: the median over turns, which come close together in time."""
    return statistics.median(one.rate / two.rate for one, two in zip(own, other, strict=True))
