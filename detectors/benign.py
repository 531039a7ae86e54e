"""A sample of what a model is usually asked and answers: what parties are compared with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detectors.observation import DIMENSIONS, Classes, Floats

SAMPLE = 512
_LEAST_SHARE = 0.02
"""Of the sample's weight that classes get which a party never had, so that no weight is divided by zero."""


@dataclass(frozen=True)
class Benign:
    """Distinct benign rows, one of as many callers as possible.

    Attributes:
        embeddings: (n, DIMENSIONS) float32.
        classes: (n,) int32.
        margins: (n,) float32.
        entropies: (n,) float32.
        bandwidth: of the Gaussian kernel: the median distance of two rows.
    """

    embeddings: Floats = field(default_factory=lambda: np.zeros((0, DIMENSIONS), dtype=np.float32))
    classes: Classes = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    margins: Floats = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    entropies: Floats = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    bandwidth: float = 1.0

    @classmethod
    def of(cls, embeddings: Floats, classes: Classes, margins: Floats, entropies: Floats) -> "Benign":
        """From a sample."""
        gaps = _squares(embeddings, embeddings)[np.triu_indices(len(embeddings), 1)]
        bandwidth = float(np.sqrt(np.median(gaps))) if len(gaps) else 1.0
        margins, entropies = np.nan_to_num(margins).round(4), np.nan_to_num(entropies).round(4)
        return cls(embeddings.round(4), classes, margins, entropies, max(bandwidth, 1e-6))

    @property
    def known(self) -> bool:
        """Whether there is anything to compare with."""
        return len(self.classes) >= 2

    def weights(self, classes: Classes) -> NDArray[np.float64]:
        """(n,) weights of the sample's rows, adding up to 1, under which its classes are mixed as these are."""
        found, counts = np.unique(classes, return_counts=True)
        share = dict(zip(found.tolist(), (counts / len(classes)).tolist(), strict=True))
        own, inverse, sizes = self._by_class
        least = _LEAST_SHARE / len(own)
        wanted = np.array([share.get(category, 0.0) + least for category in own.tolist()]) / sizes
        weights = wanted[inverse]
        normed: NDArray[np.float64] = weights / weights.sum()
        return normed

    def discrepancy(self, embeddings: Floats, weights: NDArray[np.float64]) -> float:
        """Squared maximum mean discrepancy of rows (m, DIMENSIONS) from the weighted sample, times m."""
        count = len(embeddings)
        among = self._kernel(embeddings, embeddings)
        own = (float(among.sum(dtype=np.float64)) - count) / (count * (count - 1))
        across = float((self._kernel(embeddings, self.embeddings) @ weights).mean())
        theirs = float(weights @ self._among @ weights)
        return count * (own + theirs - 2 * across)

    def ordered(self, what: Literal["margins", "entropies"]) -> tuple[NDArray[np.int64], Floats]:
        """The order of a column that makes it rise, and the column in that order."""
        return self._orders[what]

    @cached_property
    def _orders(self) -> dict[str, tuple[NDArray[np.int64], Floats]]:
        columns = {"margins": self.margins, "entropies": self.entropies}
        orders = {name: np.argsort(values) for name, values in columns.items()}
        return {name: (order, columns[name][order]) for name, order in orders.items()}

    @cached_property
    def _by_class(self) -> tuple[Classes, NDArray[np.int64], NDArray[np.int64]]:
        return np.unique(self.classes, return_inverse=True, return_counts=True)

    @cached_property
    def _among(self) -> Floats:
        return self._kernel(self.embeddings, self.embeddings)

    def _kernel(self, one: Floats, other: Floats) -> Floats:
        squares = _squares(one, other)
        squares *= np.float32(-1 / (2 * self.bandwidth**2))
        kernel: Floats = np.exp(squares, out=squares)
        return kernel

    def to_json(self) -> dict[str, Any]:
        """As lists."""
        return {
            "embeddings": [[float(f"{value:.4g}") for value in row] for row in self.embeddings.tolist()],
            "classes": self.classes.tolist(),
            "margins": [float(f"{value:.4g}") for value in self.margins.tolist()],
            "entropies": [float(f"{value:.4g}") for value in self.entropies.tolist()],
            "bandwidth": self.bandwidth,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Benign":
        """From lists.

        Raises:
            ValueError: they do not fit.
        """
        embeddings = np.array(value["embeddings"], dtype=np.float32).reshape(-1, DIMENSIONS)
        margins, entropies = (np.array(value[name], dtype=np.float32) for name in ("margins", "entropies"))
        classes = np.array(value["classes"], dtype=np.int32)
        if not len(embeddings) == len(margins) == len(entropies) == len(classes):
            raise ValueError("the benign sample's columns have different lengths")
        return cls(embeddings, classes, margins, entropies, float(value["bandwidth"]))


def _squares(one: Floats, other: Floats) -> Floats:
    """Single precision: what it adds to a sum of thousands of kernels is far below what a row more or less does."""
    gaps: Floats = one @ other.T
    gaps *= -2
    gaps += np.einsum("ij,ij->i", one, one)[:, np.newaxis]
    gaps += np.einsum("ij,ij->i", other, other)
    return gaps.clip(0, out=gaps)
