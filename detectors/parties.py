"""Who sent which of the recent rows: callers, and the groups that are their twins."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from detectors.findings import Subject
from detectors.observation import Observation
from detectors.rows import RecentRows, Serials

KEPT = 256
"""Rows of a party that can be looked at."""
MAX_PARTIES = 8192
UNREAD = 16
"""Times that a party's rows come before they are put together: joining two arrays costs more than keeping both."""


@dataclass(slots=True)
class Party:
    """A caller, or a group of callers.

    Attributes:
        subject: who.
        seen: rows so far.
        first: time of the first.
        sole: the only caller so far; empty once there are several. A group of one is its caller, and not read again.
        fresh: rows since the party was last read, by detector.
    """

    subject: Subject
    first: float
    sole: str
    seen: int = 0
    fresh: dict[str, int] = field(default_factory=dict)
    _taken: list[Serials] = field(default_factory=list)

    @property
    def serials(self) -> Serials:
        """Of the latest KEPT rows, oldest first."""
        if len(self._taken) != 1 or len(self._taken[0]) > KEPT:
            self._taken = [np.concatenate(self._taken)[-KEPT:].copy()] if self._taken else [np.zeros(0, dtype=np.int64)]
        return self._taken[0]

    def take(self, serials: Serials) -> None:
        """Rows more."""
        self.seen += len(serials)
        self._taken.append(serials)
        if len(self._taken) >= UNREAD:
            self._taken = [self.serials]

    def due(self, detector: str, stride: int) -> bool:
        """Whether `stride` rows have come since this last was true for the detector."""
        if self.seen - self.fresh.get(detector, 0) < stride:
            return False
        self.fresh[detector] = self.seen
        return True


class Parties:
    """The parties of one model. Memory: 2 to 4 KB a party, MAX_PARTIES of them; who was silent longest goes first.

    Attributes:
        dropped: parties that were forgotten.
    """

    def __init__(self, recent: RecentRows) -> None:
        self.dropped = 0
        self._recent = recent
        self._parties: OrderedDict[Subject, Party] = OrderedDict()
        self._seen: Sequence[Observation] = ()
        self._touched: list[tuple[Party, Serials]] = []

    def __len__(self) -> int:
        return len(self._parties)

    def take(self, batch: Sequence[Observation]) -> list[tuple[Party, Serials]]:
        """Takes a batch in and gives each party with its new rows. The same batch again changes nothing."""
        serials = self._recent.take(batch)
        if batch is not self._seen:
            self._seen = batch
            news: dict[Subject, list[Serials]] = {}
            for observation, own in zip(batch, serials, strict=True):
                for subject in subjects(observation):
                    news.setdefault(subject, []).append(own)
                    self._known(subject, observation)
            self._touched = []
            for subject, parts in news.items():
                party, new = self._parties[subject], np.concatenate(parts)
                party.take(new)
                if subject.kind == "caller" or not party.sole:
                    self._touched.append((party, new))
        return self._touched

    def _known(self, subject: Subject, observation: Observation) -> None:
        party = self._parties.get(subject)
        if party is None:
            self._parties[subject] = Party(subject, observation.time, observation.caller)
            if len(self._parties) > MAX_PARTIES:
                self._parties.popitem(last=False)
                self.dropped += 1
        elif party.sole != observation.caller:
            party.sole = ""
        self._parties.move_to_end(subject)


def subjects(observation: Observation) -> Iterator[Subject]:
    """The caller and its groups."""
    yield Subject("caller", observation.caller)
    for group in observation.groups:
        yield Subject("group", group)
