"""The latest rows of one model, which all detectors share."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.observation import DIMENSIONS, FINGERPRINT, NO_CLASS, Classes, Features, Floats, Hashes, Observation

Serials = NDArray[np.int64]

CAPACITY = 65_536
NOTHING = Features(
    np.zeros(0, dtype=np.uint64),
    np.zeros((0, FINGERPRINT), dtype=np.uint64),
    np.zeros((0, DIMENSIONS), dtype=np.float32),
)
"""Of no rows."""


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
        squares: (capacity,) float32, of the embeddings' lengths.
        callers: ids.
        features: of the batch that was taken last, one row after the other.
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
        self.squares: Floats = np.zeros(capacity, dtype=np.float32)
        self.callers = [""] * capacity
        self.features = _joined(())
        self._last: Sequence[Observation] = ()
        self._serials: list[Serials] = []

    def take(self, batch: Sequence[Observation]) -> list[Serials]:
        """The serials of each observation's rows, which are kept from now on. The same batch again changes nothing."""
        if batch is not self._last:
            self._last = batch
            self._serials = self._take(batch) if batch else []
        return self._serials

    def places(self, serials: Serials) -> Serials:
        """Where rows are in the arrays."""
        return serials % self.capacity

    def kept(self, serials: Serials) -> NDArray[np.bool_]:
        """Which of them are still there."""
        return (serials >= 0) & (serials >= self.count - self.capacity)

    def _take(self, batch: Sequence[Observation]) -> list[Serials]:
        features = self.features = _joined(batch)
        counts = [observation.rows for observation in batch]
        serials = np.arange(self.count, self.count + len(features))
        self.count += len(features)
        places = serials % self.capacity
        self.times[places] = np.repeat([observation.time for observation in batch], counts)
        self.classes[places] = np.concatenate([observation.answers.classes for observation in batch])
        self.margins[places] = np.concatenate([observation.answers.margins for observation in batch])
        self.entropies[places] = np.concatenate([observation.answers.entropies for observation in batch])
        self.digests[places] = features.digests
        self.embeddings[places] = features.embeddings
        self.squares[places] = np.einsum("ij,ij->i", features.embeddings, features.embeddings)
        owned, at = [], 0
        for observation, count in zip(batch, counts, strict=True):
            owned.append(serials[at : at + count])
            for place in places[at : at + count].tolist():
                self.callers[place] = observation.caller
            at += count
        return owned


def _joined(batch: Sequence[Observation]) -> Features:
    features = [observation.features for observation in batch] or [NOTHING]
    return Features(
        np.concatenate([each.digests for each in features]),
        np.concatenate([each.fingerprints for each in features]),
        np.concatenate([each.embeddings for each in features]),
    )
