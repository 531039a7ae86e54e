"""What an answer defense is: a small callable that holds its own checked settings and gets well-formed rows."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from defenses.output.semantics import Semantics

Rows = NDArray[np.float64]
"""(rows, classes): one row an answer."""
Keys = NDArray[np.uint64]
"""(rows,): secret values derived from each row's input; see `keys.row_keys`."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What a chain hands to a step. Everything is finite, read-only, and the same whatever else is in the batch.

    Attributes:
        values: (rows, classes) float64. Probabilities sum to 1 up to their original precision. For binary and values,
            each number stands for itself and the axis only groups what one input row gave.
        winner: (rows,) the class that the model itself predicted (its first maximum). A step before this one may have
            brought another class level with it; the winner is still this one. Meaningless for binary and values.
        keys: (rows,) secret values that belong to the input of each row; all randomness comes from them.
        threshold: binary only: probabilities above it are a yes.
    """

    values: Rows
    semantics: Semantics
    winner: NDArray[np.intp]
    keys: Keys
    threshold: float = 0.5


class AnswerDefense(Protocol):
    """One step of a chain. Implementations are vectorised, pure, and return a new array of the shape of `values`.

    The chain takes care of element types, batch axes, rows with NaN or infinity, and of the promise. While steps run,
    numpy's floating-point warnings are off: log(0) is minus infinity, and what is not finite at the end is repaired.
    """

    @property
    def kind(self) -> str:
        """What the step is called in configuration and messages."""

    @property
    def applies_to(self) -> frozenset[Semantics]:
        """The meanings that it can work on."""

    @property
    def preserves_argmax(self) -> bool:
        """The promise that the predicted class (for binary: the side of the threshold) stays; the chain enforces it."""

    def __call__(self, scores: Scores) -> Rows:
        """New values, of the same shape and meaning."""


class Settings(BaseModel):
    """Settings of a built-in defense: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def to_sum_one(rows: Rows) -> Rows:
    """Divides each row by its sum."""
    scaled: Rows = rows / rows.sum(axis=1, keepdims=True)
    return scaled


def crown(values: Rows, winner: NDArray[np.intp]) -> Rows:
    """Exchanges two entries of each row so that the winner holds its largest value; the sum and the set stay."""
    crowned, rows, top = values.copy(), np.arange(len(values)), values.argmax(axis=1)
    crowned[rows, top] = values[rows, winner]
    crowned[rows, winner] = values[rows, top]
    return crowned


def keep_side(values: Rows, before: Rows, threshold: float) -> Rows:
    """Folds binary probabilities back into [0, threshold] or [threshold, 1], where `before` was.

    Mirroring at the ends, where clipping would pile up numbers that tell how near an end was, moves none further from
    where it was.
    """
    low = np.where(before < threshold, 0.0, threshold)
    width = np.where(before < threshold, threshold, 1.0 - threshold)
    along = np.mod(values - low, 2.0 * width)
    return np.where(before == threshold, threshold, low + np.minimum(along, 2.0 * width - along))


def largest(values: Rows, count: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Marks the `count` (rows,) largest entries of each row, the earlier of equals first."""
    if values.shape[1] == 0:
        return np.zeros(values.shape, dtype=np.bool_)
    last = np.minimum(np.maximum(values.shape[1] - count, 0), values.shape[1] - 1)
    least = np.sort(values, axis=1)[np.arange(len(values)), last, None]
    above = values > least
    level = values == least
    wanted = count[:, None] - above.sum(axis=1, keepdims=True)
    chosen: NDArray[np.bool_] = above | (level & (np.cumsum(level, axis=1) <= wanted))
    return chosen
