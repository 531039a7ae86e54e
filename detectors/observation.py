"""What detectors see of a call: numbers from which no input can be rebuilt."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FINGERPRINT = 32
"""Hashes kept of a row."""
DIMENSIONS = 64
"""Size of a row's embedding."""
NO_CLASS = -1

Hashes: TypeAlias = NDArray[np.uint64]
Floats: TypeAlias = NDArray[np.float32]
Classes: TypeAlias = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Features:
    """The rows of one request.

    Attributes:
        digests: (rows,) uint64, salted hash of the whole row: the same for an exact repeat, and for nothing else.
        fingerprints: (rows, FINGERPRINT) uint64, the smallest salted hashes of the quantised row's windows, ascending;
            0 where a row has fewer.
        embeddings: (rows, DIMENSIONS) float32; near rows are near in Euclidean distance.
    """

    digests: Hashes
    fingerprints: Hashes
    embeddings: Floats

    def __len__(self) -> int:
        return len(self.digests)

    def __getitem__(self, rows: slice | list[int]) -> "Features":
        return Features(self.digests[rows], self.fingerprints[rows], self.embeddings[rows])


@dataclass(frozen=True, slots=True)
class Answers:
    """What the model said to each row.

    Attributes:
        classes: (rows,) int32, NO_CLASS where the answer has none.
        margins: (rows,) float32, largest less second largest probability, in [0, 1]; NaN where there are none.
        entropies: (rows,) float32, of the probabilities in nats over the logarithm of their number, in [0, 1]; or NaN.
    """

    classes: Classes
    margins: Floats
    entropies: Floats

    def __getitem__(self, rows: slice) -> "Answers":
        return Answers(self.classes[rows], self.margins[rows], self.entropies[rows])


@dataclass(frozen=True, slots=True)
class Observation:
    """One answered call.

    Attributes:
        time: seconds since 1970.
        caller: id of who was charged.
        groups: what several names of one party have in common, as `owner:NAME` and `network:PREFIX`.
        model: as asked for.
        signature: as asked for.
        features: of its rows.
        answers: of its rows; as many.
    """

    time: float
    caller: str
    groups: tuple[str, ...]
    model: str
    signature: str
    features: Features
    answers: Answers

    @property
    def rows(self) -> int:
        """Examples in the call."""
        return len(self.features)
