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
MAX_FORMER = 64
"""Names that this process had before, each until its detectors began anew."""


@dataclass(slots=True)
class _Own:
    """A record of this process; gone once it is both in the log and in the detectors.

    Attributes:
        judged: by other detectors of this process, before they began anew, or by these.
    """

    record: Record
    sent: bool = False
    seen: bool = False
    judged: bool = False


class Stream:
    """What of it was read, what of one's own is not in it yet, and who else writes.

    Args:
        watched: the model. For another engine there has to be another stream, which reads what the log kept.
        metrics: told of what is lost.
        before: the model's stream until now, whose unsent records this one sends. What that one had not done yet is
            not past for this one.

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
        self._done = 0
        self._until: int | None = None
        self._seen: OrderedDict[str, int] = OrderedDict()
        self._strangers: set[str] = set()
        self._origins: tuple[str, ...] = (self.origin,)
        if before is not None:
            self._follow(before)

    @property
    def waiting(self) -> bool:
        """Whether there is something to send."""
        return any(not own.sent for own in self._own.values())

    @property
    def unseen_rows(self) -> int:
        """Rows of this process that its detectors have not seen."""
        return sum(own.record.rows for own in self._own.values() if not own.seen)

    def done(self, entry: Entry) -> None:
        """An entry has been seen and judged."""
        self._done = max(self._done, entry.end)
        if entry.seq in self._own:
            self._own[entry.seq].judged = True

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
                if own.record.mark != self.watched.mark:  # of the profile before
                    self._metrics.lost(self._model, "profile", own.record.rows)
                    continue
                source: Source = "past" if own.judged else "own"
                record = own.record
                found.append(Entry(self._model, source, now, record.rows, self.engine, record.payload, seq=seq))
        self._tidy()
        self._bound()
        return found

    def read(self, page: Page, sent: Sequence[Record], reading: bool = True) -> list[Entry]:
        """What is next in the log.

        Args:
            page: what the store gave.
            sent: what it took in the same step.
            reading: whether it is wanted; all that was given before has been done.
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
            self.epoch, self.last, self._done = page.epoch, 0, 0
        found = []
        if reading:
            self._done = max(self._done, self.last)
            found = [entry for read in page.entries if (entry := self._read(read)) is not None]
        self.lag = max(0, page.total - self.last)
        self._tidy()
        return found

    def _read(self, read: Read) -> Entry | None:
        past = self._until or 0
        source: Source = "past" if read.end <= past else "own" if read.origin in self._origins else "other"
        missed = read.end - read.rows - max(self.last, past)
        if missed > 0:
            self._metrics.lost(self._model, "trimmed", missed)
        self.last = read.end
        own = self._own.get(read.seq) if read.origin == self.origin else None
        if own is not None:
            own.sent = own.seen = True
            source = "past" if own.judged else source
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
        payload = read.payload
        if read.origin == self.origin:
            if own is None:
                return None
            payload = own.record.payload
        return Entry(self._model, source, read.time, read.rows, self.engine, payload, read.end)

    def _stranger(self, read: Read, source: Source) -> None:
        """Features of another salt or profile do not compare."""
        if source != "past":
            self._metrics.lost(self._model, "profile", read.rows)
        if (
            read.origin not in self._origins
            and read.mark not in self._strangers
            and len(self._strangers) < MAX_STRANGERS
        ):
            self._strangers.add(read.mark)
            event(
                log,
                logging.WARNING,
                "observations of a proxy with another profile, secret or version are left out; give all proxies that "
                "share a store the same profile file, or without one the same secret",
                model=self._model,
                proxy=read.origin,
            )

    def _follow(self, before: "Stream") -> None:
        self.epoch = before.epoch
        self._until = None if before._until is None else max(before._until, before._done)
        self._origins = (*before._origins, self.origin)[-MAX_FORMER:]
        for own in before._own.values():
            if not own.sent:
                self._add(own.record, own.judged)

    def _add(self, record: Record, judged: bool = False) -> None:
        self._seq += 1
        self._own[self._seq] = _Own(record._replace(seq=self._seq), judged=judged)

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
