"""A log of observations that all proxies with the same store share: each sees the rows of all, in one order.

README.md of `proxy.state` has the layout. While the store is away, each goes on with its own observations; once it is
back, they are sent after.
"""

import asyncio
import time
from collections.abc import Callable, Mapping

from proxy.detection.log import Batch, Entry
from proxy.detection.stream import Stream
from proxy.detection.watched import Watched
from proxy.metrics.detection import DetectionMetrics
from proxy.state.log import PAGE_ENTRIES, PAGE_ROWS, LogAwayError, LogStore, Page

MAX_UNSEEN_ROWS = 16_384
"""Rows of this process on their way through the log; then the queue keeps the others, within its own bound."""
BEYOND = 2**53
"""No log has so many rows: nothing comes after."""
FASTEST, SLOWEST = 0.02, 0.5
"""Seconds between two looks at a model's log, when there is something and when there has long been nothing."""


class SharedLog:
    """One process's view of it.

    Args:
        store: the log's keeper.
        metrics: told of what is lost, and how far behind this process is.
        on_loss: told that the store had lost a log.
        before: the log until now, where the store's settings changed: what was read is not read again.
        clock: seconds since 1970.
        monotonic: seconds.
    """

    def __init__(
        self,
        store: LogStore,
        metrics: DetectionMetrics,
        on_loss: Callable[[], None],
        before: "SharedLog | None" = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._on_loss = on_loss
        self._clock = clock
        self._monotonic = monotonic
        self._streams: dict[str, Stream] = {} if before is None else before._streams
        self._next = dict.fromkeys(self._streams, 0.0)
        self._pauses = dict.fromkeys(self._streams, FASTEST)
        for stream in self._streams.values():
            stream.meet_again()

    @property
    def room(self) -> bool:
        """Whether it takes more observations now."""
        return sum(stream.unseen_rows for stream in self._streams.values()) < MAX_UNSEEN_ROWS

    @property
    def good(self) -> bool:
        """Whether calls may pass: False while the store is away, and calls may not go on without it."""
        return self._store.good or self._store.on_failure != "closed"

    @property
    def pause(self) -> float:
        """Seconds after which to exchange even if there is nothing new."""
        if not self._next:
            return SLOWEST
        return max(0.0, min(self._next.values()) - self._monotonic())

    async def exchange(
        self, watched: Mapping[str, Watched], batches: Mapping[str, Batch], reading: bool
    ) -> list[Entry]:
        """Takes what is new, and gives what is next, in order. Does not raise if the store is away.

        Args:
            watched: the watched models.
            batches: new observations of some of them.
            reading: whether entries are wanted: all that it gave before have been seen. If not, it only sends, and
                learns how the store is and how far the log is.
        """
        self._follow(watched)
        for name, batch in batches.items():
            if name in self._streams:
                self._streams[name].observe(batch)
        now = self._monotonic()
        due = [name for name, stream in self._streams.items() if stream.waiting or self._next[name] <= now]
        found = await asyncio.gather(*(self._step(name, self._streams[name], reading) for name in due))
        return [entry for entries in found for entry in entries]

    def done(self, entry: Entry) -> None:
        """It has been seen and judged: detectors that begin anew find in it what is past."""
        stream = self._streams.get(entry.model)
        if stream is not None:
            stream.done(entry)

    def _follow(self, watched: Mapping[str, Watched]) -> None:
        """A stream for each engine; a new one reads the log from the beginning, and knows what the old one had done."""
        for name in self._streams.keys() - watched.keys():
            del self._streams[name], self._next[name], self._pauses[name]
        for name, each in watched.items():
            old = self._streams.get(name)
            if old is None or old.engine is not each.engine:
                self._streams[name] = Stream(each, self._metrics, old)
                self._next[name], self._pauses[name] = 0.0, FASTEST
            else:
                old.watched = each

    async def _step(self, name: str, stream: Stream, reading: bool) -> list[Entry]:
        page, entries = Page("", 0, []), []
        if self._store.good:
            sent, lost = stream.unsent(), stream.lost
            try:
                last = stream.last if reading else BEYOND
                page = await self._store.exchange(name, stream.origin, stream.epoch, last, sent)
                entries = stream.read(page, sent, reading)
                if stream.lost != lost:
                    self._on_loss()
            except LogAwayError:
                pass
        if reading and not self._store.good:
            entries += stream.alone(self._clock())
        self._metrics.behind(name, stream.lag)
        self._pace(name, page, bool(entries))
        return entries

    def _pace(self, name: str, page: Page, something: bool) -> None:
        more = len(page.entries) == PAGE_ENTRIES or sum(each.rows for each in page.entries) >= PAGE_ROWS
        self._pauses[name] = FASTEST if something or page.entries else min(SLOWEST, 2 * self._pauses[name])
        self._next[name] = 0.0 if more else self._monotonic() + self._pauses[name]
