"""A detector that flags the neighbourhood of a search, whoever sends more rows of it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from detectors.detector import DetectorStats
from detectors.findings import Cluster, Reading, Subject, Technique
from detectors.observation import Floats, Observation


class Around:
    """Finds a cluster in the first rows of a caller who sends more than `most`: their surroundings within `radius`.

    It names a second caller, since what one does alone concerns nobody else.
    """

    name = "around"

    def __init__(self, most: int, radius: float) -> None:
        self._most, self._radius = most, radius
        self._rows: dict[str, list[Floats]] = defaultdict(list)

    def see(self, batch: Sequence[Observation]) -> Iterator[Reading]:
        for each in batch:
            rows = self._rows[each.caller]
            rows += list(each.features.embeddings)
            if len(rows) > self._most:
                cluster = Cluster(
                    np.stack(rows[self._most // 2 : self._most]),
                    self._radius,
                    dict.fromkeys((each.caller, "another"), len(rows)),
                )
                subject = Subject("cluster", f"around-{each.caller}")
                yield Reading(
                    self.name, "around.rows", subject, Technique.EVASION, 9.0, each.time, 0.0, 1, len(rows), cluster
                )

    def stats(self) -> DetectorStats:
        return DetectorStats({"callers": len(self._rows)})
