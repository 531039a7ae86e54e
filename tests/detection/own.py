"""Detectors of an operator's own, as the documentation shows one."""

import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence

from detectors.detector import DetectorStats
from detectors.findings import Cluster, Reading, Subject, Technique
from detectors.observation import Observation


class Rows:
    """Finds callers with more rows than `most`; whatever they are, they are worth `decades`."""

    name = "rows"

    def __init__(self, most: int, decades: float = 9.0, technique: str = "extraction") -> None:
        self._most = most
        self._decades = decades
        self._technique = Technique(technique)
        self._seen: Counter[str] = Counter()

    def see(self, batch: Sequence[Observation]) -> Iterator[Reading]:
        for each in batch:
            self._seen[each.caller] += each.rows
            if self._seen[each.caller] > self._most:
                yield Reading(
                    self.name,
                    "rows.count",
                    Subject("caller", each.caller),
                    self._technique,
                    self._decades,
                    each.time,
                    0.0,
                    each.rows,
                    self._seen[each.caller],
                )

    def stats(self) -> DetectorStats:
        return DetectorStats({"callers": len(self._seen)})


class Around:
    """Finds the cluster around the first row that it sees, and blames two callers for it."""

    name = "around"

    def __init__(self) -> None:
        self._found = False

    def see(self, batch: Sequence[Observation]) -> Iterator[Reading]:
        if not self._found:
            self._found = True
            each = batch[0]
            cluster = Cluster(each.features.embeddings[:1], 0.01, {each.caller: 40, "forwarded_for:10.0.0.2": 40})
            subject = Subject("cluster", "first")
            yield Reading(self.name, "around.first", subject, Technique.EXTRACTION, 9.0, each.time, 0.0, 1, 1, cluster)

    def stats(self) -> DetectorStats:
        return DetectorStats()


class Broken:
    """Raises at once."""

    name = "broken"

    def see(self, batch: Sequence[Observation]) -> Iterator[Reading]:
        raise RuntimeError("not today")

    def stats(self) -> DetectorStats:
        return DetectorStats()


class Deadly(Rows):
    """Takes the process with it when the caller 10.6.6.6 is seen, as a crash in native code does; prints besides."""

    name = "deadly"

    def see(self, batch: Sequence[Observation]) -> Iterator[Reading]:
        print("a detector may print")  # noqa: T201
        if any(each.caller.endswith("10.6.6.6") for each in batch):
            os.kill(os.getpid(), signal.SIGKILL)
        yield from super().see(batch)


class Stuck(Rows):
    """Never comes back."""

    name = "stuck"

    def see(self, batch: Sequence[Observation]) -> Iterator[Reading]:
        while True:
            pass
