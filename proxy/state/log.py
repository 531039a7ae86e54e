"""Logs that proxies share, and facts kept beside them until they run out.

A log has a name and keeps a number of rows; all readers see the same entries in the same order. README.md of
`proxy.state` has the layout in Redis.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from proxy.state.settings import OnFailure

KEPT_ROWS = 65_536
"""Rows of each log: as many as the detectors look back on."""
PAGE_ENTRIES = 16
PAGE_ROWS = 4096
"""An answer ends with the entry that reaches this."""
UNUSED_SECONDS = 86_400
"""After which a log that nobody wrote to is forgotten."""


class LogAwayError(Exception):
    """The log cannot be reached at present."""


class Record(NamedTuple):
    """What is appended.

    Attributes:
        seq: going up with each record of its origin.
        kind: of the payload, `rows` or `action`.
        rows: that it stands for, 1 at least.
        mark: readers with another one leave it.
        payload: of this kind.
    """

    seq: int
    kind: str
    rows: int
    mark: str
    payload: bytes


class Entry(NamedTuple):
    """What is read.

    Attributes:
        end: rows of the log up to its last.
        origin: who appended it.
        time: when it was appended, seconds since 1970 on the server's clock.
        payload: empty if it is the reader's own, who has it.
        seq, kind, rows, mark: as appended.
    """

    end: int
    seq: int
    origin: str
    kind: str
    rows: int
    mark: str
    time: float
    payload: bytes


class Page(NamedTuple):
    """Entries in their order.

    Attributes:
        epoch: of the log; another one means that it began anew.
        total: rows ever appended.
        entries: after the last one read; there may be more.
    """

    epoch: str
    total: int
    entries: list[Entry]


class LogStore(Protocol):
    """Keeps logs, and facts beside them."""

    @property
    def good(self) -> bool:
        """Whether it may be tried."""

    @property
    def on_failure(self) -> OnFailure:
        """What is done while it is away; `local` and `open` are the same here."""

    async def exchange(self, name: str, origin: str, epoch: str, last: int, records: Sequence[Record]) -> Page:
        """Appends records and reads what follows the last row read, in one step and one round trip.

        Args:
            name: of the log.
            origin: names the reader and writer.
            epoch: of the last page read; empty at first.
            last: `Entry.end` of the last entry read; 0 at first.
            records: what is new.

        Raises:
            LogAwayError: it is away; whether the records were appended is not known.
        """

    async def keep(self, name: str, facts: Mapping[str, bytes], gone: Collection[str], seconds: float | None) -> None:
        """Keeps facts beside the log, and forgets others.

        Args:
            name: of the log.
            facts: by their names.
            gone: names of others.
            seconds: after which all are forgotten if none is kept anew; None: never.

        Raises:
            LogAwayError: it is away.
        """

    async def kept(self, name: str) -> dict[str, bytes]:
        """All facts beside a log.

        Raises:
            LogAwayError: it is away.
        """

    async def close(self) -> None:
        """Ends background work and connections."""
