"""The promise, kept whatever the steps did: the last thing that happens to a row before it is an answer.

A step may break it without a mistake: two classes that differ in a float64 can be equal once they are float32 again.
The repair is minimal. Classes that have come level with the winner, or above it, are set to the next lower number of
the output's type. Where that cannot help, or the row is not finite or no distribution any more, it says the predicted
class only: a fault costs the caller detail and never the operator secrecy.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defenses.output.label_only import labels, sides
from defenses.output.scores import Rows
from defenses.output.semantics import Semantics, sum_tolerance

Typed = NDArray[Any]
"""(rows, classes) of the output's own float type."""


def settle_classes(
    before: Typed, after: Rows, winner: NDArray[np.intp], semantics: Semantics, *, promised: bool
) -> tuple[Typed, NDArray[np.bool_]]:
    """Probabilities or logits in the type of `before`, and which rows (rows,) had to be repaired.

    Promised is that the winner stays the first maximum, and stays the only one if it was: so clients that take the
    last maximum are safe too.
    """
    settled = to_type(after, before.dtype)
    above = _level_with_winner(before, settled, winner) if promised else np.zeros(before.shape, dtype=np.bool_)
    if above.any():
        own = settled[np.arange(len(settled)), winner, None]
        settled = np.where(above, np.nextafter(own, before.dtype.type(-np.inf)), settled)
    broken = ~_sound(settled, semantics)
    if broken.any():
        settled[broken] = labels(winner[broken], before.shape[1], semantics).astype(before.dtype)
    return settled, _rows_with(above) | broken


def settle_binary(before: Typed, after: Rows, threshold: float, *, promised: bool) -> tuple[Typed, NDArray[np.bool_]]:
    """Independent probabilities in the type of `before`, and which rows had to be repaired.

    Promised is that each stays below, at or above the threshold, be it compared as a float64 or in the output's type:
    both agree with a comparison to the threshold rounded to that type, unless it is equal, and equal stays equal.
    """
    edge = before.dtype.type(threshold)
    lost = ~((after >= 0.0) & (after <= 1.0))
    settled = to_type(np.where(lost, sides(before.astype(np.float64), float(edge)), after), before.dtype)
    if not promised:
        return settled, _rows_with(lost)
    below = (before < edge) & ~(settled < edge)
    above = (before > edge) & ~(settled > edge)
    at = (before == edge) & (settled != edge)
    settled = np.where(below, np.nextafter(edge, edge.dtype.type(0)), settled)
    settled = np.where(above, np.nextafter(edge, edge.dtype.type(1)), settled)
    settled = np.where(at, edge, settled)
    return settled, _rows_with(lost | below | above | at)


def settle_values(before: Typed, after: Rows) -> tuple[Typed, NDArray[np.bool_]]:
    """Values in the type of `before`; one that is not finite any more is the model's own again."""
    lost = ~np.isfinite(after)
    return np.where(lost, before, to_type(after, before.dtype)), _rows_with(lost)


def to_type(values: Rows, dtype: np.dtype[Any]) -> Typed:
    """The nearest numbers of a float type; beyond its range, its largest finite one."""
    limit = _largest(dtype)
    return np.minimum(np.maximum(values, -limit), limit).astype(dtype)


@lru_cache(maxsize=8)
def _largest(dtype: np.dtype[Any]) -> float:
    return float(np.nextafter(dtype.type(np.inf), dtype.type(0)))


def _level_with_winner(before: Typed, after: Typed, winner: NDArray[np.intp]) -> NDArray[np.bool_]:
    top = np.arange(len(before)), winner, None
    own = after[top]
    trailed = before < before[top]
    level: NDArray[np.bool_] = (after > own) | ((after == own) & trailed)
    return level


def _rows_with(marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(marked.any(axis=1))


def _sound(rows: Typed, semantics: Semantics) -> NDArray[np.bool_]:
    wide = rows.astype(np.float64)
    unsound = ~np.isfinite(wide)
    if semantics is Semantics.PROBABILITIES:
        unsound |= (wide < 0.0) | (np.abs(wide.sum(axis=1, keepdims=True) - 1.0) > sum_tolerance(rows.dtype))
    return ~_rows_with(unsound)
