"""Only the best few classes keep their own numbers."""

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from defenses.output.scores import Rows, Scores, Settings, largest, to_sum_one
from defenses.output.semantics import Semantics

_FLOOR = 30.0
"""Distance of the floor below the lowest logit kept: e**-30 is 1e-13 of that class's probability."""


class TopK(Settings):
    """Keeps the `k` largest scores of a row (of equal ones the first), in place, and tells nothing of the rest.

    `rest: zero` gives the others probability 0 and scales the kept ones to sum to 1; `rest: uniform` leaves the kept
    ones as they are and spreads what is left equally. Logits are set so that a softmax gives just these probabilities
    (the floor of `zero` is 30 below the lowest kept logit). With k classes or fewer, nothing changes.
    """

    kind: Literal["top_k"] = "top_k"
    k: int = Field(ge=1)
    rest: Literal["zero", "uniform"] = "zero"

    preserves_argmax: ClassVar[bool] = True
    applies_to: ClassVar[frozenset[Semantics]] = frozenset({Semantics.PROBABILITIES, Semantics.LOGITS})

    def __call__(self, scores: Scores) -> Rows:
        values = scores.values
        if self.k >= values.shape[1]:
            return values.copy()
        kept = self._kept(values, scores.winner)
        if scores.semantics is Semantics.LOGITS:
            return np.where(kept, values, self._rest_of_logits(values, kept))
        if self.rest == "uniform":
            return np.where(kept, values, _mean_of_rest(values, kept))
        return to_sum_one(np.where(kept, values, 0.0))

    def _kept(self, values: Rows, winner: NDArray[np.intp]) -> NDArray[np.bool_]:
        first = values.copy()
        first[np.arange(len(first)), winner] = np.inf
        return largest(first, np.full(len(values), self.k))

    def _rest_of_logits(self, values: Rows, kept: NDArray[np.bool_]) -> Rows:
        if self.rest == "zero":
            return _lowest_kept(values, kept) - _FLOOR
        top = values.max(axis=1, keepdims=True, initial=-np.inf, where=~kept)
        level: Rows = np.log(_mean_of_rest(np.exp(np.minimum(values - top, 0.0)), kept)) + top
        return level


def _lowest_kept(values: Rows, kept: NDArray[np.bool_]) -> Rows:
    lowest: Rows = values.min(axis=1, keepdims=True, initial=np.inf, where=kept)
    return lowest


def _mean_of_rest(values: Rows, kept: NDArray[np.bool_]) -> Rows:
    """(rows, 1), never above the lowest kept one, whatever a sum's rounding does."""
    mean: Rows = np.where(kept, 0.0, values).sum(axis=1, keepdims=True) / np.count_nonzero(~kept, axis=1, keepdims=True)
    return np.minimum(mean, _lowest_kept(values, kept))
