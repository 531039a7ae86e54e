"""The latest rows of one model, which all detectors share."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.observation import DIMENSIONS, NO_CLASS, Classes, Floats, Hashes, Observation

Serials = NDArray[np.int64]

CAPACITY = 65_536


class RecentRows:
    """A ring of rows, by serial number: the model's rows in the order in which they were observed.

    Memory: about 0.3 KB a row, 20 MB by default; the oldest rows go.

    Args:
        capacity: rows kept.

    Attributes:
        count: rows ever taken.
        times: (capacity,) float64 seconds.
        classes: (capacity,) int32.
        margins: (capacity,) float32.
        entropies: (capacity,) float32.
        digests: (capacity,) uint64.
        embeddings: (capacity, DIMENSIONS) float32.
        callers: ids.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self.count = 0
        self.times: NDArray[np.float64] = np.zeros(capacity)
        self.classes: Classes = np.full(capacity, NO_CLASS, dtype=np.int32)
        self.margins: Floats = np.zeros(capacity, dtype=np.float32)
        self.entropies: Floats = np.zeros(capacity, dtype=np.float32)
        self.digests: Hashes = np.zeros(capacity, dtype=np.uint64)
        self.embeddings: Floats = np.zeros((capacity, DIMENSIONS), dtype=np.float32)
        self.callers = [""] * capacity
        self._last: Sequence[Observation] = ()
        self._serials: list[Serials] = []

    def take(self, batch: Sequence[Observation]) -> list[Serials]:
        """The serials of each observation's rows, which are kept from now on. The same batch again changes nothing."""
        if batch is not self._last:
            self._last = batch
            self._serials = [self._take(observation) for observation in batch]
        return self._serials

    def places(self, serials: Serials) -> Serials:
        """Where rows are in the arrays."""
        return serials % self.capacity

    def kept(self, serials: Serials) -> NDArray[np.bool_]:
        """Which of them are still there."""
        return (serials >= 0) & (serials >= self.count - self.capacity)

    def _take(self, observation: Observation) -> Serials:
        serials = np.arange(self.count, self.count + observation.rows)
        self.count += observation.rows
        places = serials % self.capacity
        self.times[places] = observation.time
        self.classes[places] = observation.answers.classes
        self.margins[places] = observation.answers.margins
        self.entropies[places] = observation.answers.entropies
        self.digests[places] = observation.features.digests
        self.embeddings[places] = observation.features.embeddings
        for place in places.tolist():
            self.callers[place] = observation.caller
        return serials
