"""One model's part of a shared log, as one process reads and writes it."""

import logging
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.detection.log import Batch, Entry, Source
from proxy.detection.watched import Watched
from proxy.logs import event
from proxy.metrics.detection import DetectionMetrics
from proxy.state.log import Entry as Read
from proxy.state.log import Page, Record

log = logging.getLogger("tensorwall.detection")

KIND = "rows"
SENT_TOGETHER = 8
"""Records of one step at most."""
MAX_UNSENT_ROWS = 16_384
"""Rows that wait for the store to come back: about 9 MB. The oldest go, and other proxies do not get to see them."""
MAX_ORIGINS = 1024
MAX_STRANGERS = 64


@dataclass(slots=True)
class _Own:
    """A record of this process; gone once it is both in the log and in the detectors."""

    record: Record
    sent: bool = False
    seen: bool = False


class Stream:
    """What of it was read, what of one's own is not in it yet, and who else writes.

    Args:
        watched: the model. For another engine there has to be another stream, which reads what the log kept.
        metrics: told of what is lost.
        before: the model's stream until now, whose unsent records this one sends.

    Attributes:
        engine: who reads it.
        origin: names it as a writer.
        epoch, last: up to where the log is read.
        lag: rows of it that are still to be read.
        lost: times that the store had lost the log.
    """

    def __init__(self, watched: Watched, metrics: DetectionMetrics, before: "Stream | None" = None) -> None:
        self.watched = watched
        self.engine = watched.engine
        self.origin = secrets.token_hex(6)
        self.epoch = ""
        self.lost = 0
        self.last = 0
        self.lag = 0
        self._own: OrderedDict[int, _Own] = OrderedDict()
        self._model = watched.name
        self._metrics = metrics
        self._seq = 0
        self._until: int | None = None
        self._seen: OrderedDict[str, int] = OrderedDict()
        self._strangers: set[str] = set()
        for own in () if before is None else before._own.values():
            if not own.sent:
                self._add(own.record)

    @property
    def waiting(self) -> bool:
        """Whether there is something to send."""
        return any(not own.sent for own in self._own.values())

    @property
    def unseen_rows(self) -> int:
        """Rows of this process that its detectors have not seen."""
        return sum(own.record.rows for own in self._own.values() if not own.seen)

    def meet_again(self) -> None:
        """The log may be another one now."""
        self._until = None

    def observe(self, batch: Batch) -> None:
        """Takes new observations."""
        self._add(Record(0, KIND, max(1, batch.rows), self.watched.mark, batch.encoded))

    def unsent(self) -> list[Record]:
        """What is to be sent next."""
        found = (own.record for own in self._own.values() if not own.sent)
        return [record for record, _ in zip(found, range(SENT_TOGETHER), strict=False)]

    def alone(self, now: float) -> list[Entry]:
        """While the store is away: this process's own entries, at once; they are kept to be sent later."""
        found = []
        for seq, own in self._own.items():
            if not own.seen:
                own.seen = True
                self._seen[self.origin] = max(seq, self._seen.get(self.origin, seq))
                found.append(Entry(self._model, "own", now, own.record.rows, own.record.payload))
        self._tidy()
        self._bound()
        return found

    def read(self, page: Page, sent: Sequence[Record]) -> list[Entry]:
        """What is next in the log.

        Args:
            page: what the store gave.
            sent: what it took in the same step.
        """
        for record in sent:
            self._own[record.seq].sent = True
        first = self._until is None
        if first:  # what is there at first is the past
            self._until = page.total - sum(record.rows for record in sent)
        if page.epoch != self.epoch:
            if self.epoch and not first:
                event(log, logging.WARNING, "the shared log began anew, the store had lost it", model=self._model)
                self._until = 0
                self.lost += 1
            self.epoch, self.last = page.epoch, 0
        found = [entry for read in page.entries if (entry := self._read(read)) is not None]
        self.lag = max(0, page.total - self.last)
        self._tidy()
        return found

    def _read(self, read: Read) -> Entry | None:
        source: Source = "past" if read.end <= (self._until or 0) else "own" if read.origin == self.origin else "other"
        missed = read.end - read.rows - self.last
        if missed > 0 and source != "past":
            self._metrics.lost(self._model, "trimmed", missed)
        self.last = read.end
        own = self._own.get(read.seq) if read.origin == self.origin else None
        if own is not None:
            own.sent = own.seen = True
        if read.seq <= self._seen.get(read.origin, -1):  # sent twice, or seen while the store was away
            return None
        self._seen[read.origin] = read.seq
        self._seen.move_to_end(read.origin)
        if len(self._seen) > MAX_ORIGINS:
            self._seen.popitem(last=False)
        if read.kind != KIND:
            return None
        if read.mark != self.watched.mark:
            self._stranger(read, source)
            return None
        if read.origin == self.origin:
            return None if own is None else Entry(self._model, source, read.time, read.rows, own.record.payload)
        return Entry(self._model, source, read.time, read.rows, read.payload)

    def _stranger(self, read: Read, source: Source) -> None:
        """Features of another salt or profile do not compare."""
        if source != "past":
            self._metrics.lost(self._model, "profile", read.rows)
        if read.origin != self.origin and read.mark not in self._strangers and len(self._strangers) < MAX_STRANGERS:
            self._strangers.add(read.mark)
            event(
                log,
                logging.WARNING,
                "observations of a proxy with another profile, secret or version are left out; give all proxies that "
                "share a store the same profile file, or without one the same secret",
                model=self._model,
                proxy=read.origin,
            )

    def _add(self, record: Record) -> None:
        self._seq += 1
        self._own[self._seq] = _Own(record._replace(seq=self._seq))

    def _tidy(self) -> None:
        for seq in [seq for seq, own in self._own.items() if own.sent and own.seen]:
            del self._own[seq]

    def _bound(self) -> None:
        held = [(seq, own.record.rows) for seq, own in self._own.items() if own.seen]
        rows = sum(count for _, count in held)
        for seq, count in held:
            if rows <= MAX_UNSENT_ROWS:
                break
            del self._own[seq]
            rows -= count
            self._metrics.unshared(self._model, count)
