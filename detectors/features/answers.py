"""The summary of a model's answer to each row."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.observation import NO_CLASS, Answers

TOLERANCE = 0.02
"""How far from 1 the probabilities of a row may add up: they may come rounded, or in half precision."""


def summarise(probabilities: NDArray[Any]) -> Answers:
    """Class, margin and entropy of each row.

    Args:
        probabilities: (rows, classes) floats, or (rows, 1) and (rows,) of a binary model's yes. Rows that are no
            distribution get NO_CLASS and NaN.
    """
    scores = np.asarray(probabilities, dtype=np.float64)
    if scores.ndim == 1:
        scores = scores[:, np.newaxis]
    if scores.ndim != 2 or scores.shape[1] == 0:
        return unknown(len(scores))
    with np.errstate(invalid="ignore"):
        if scores.shape[1] == 1:
            scores = np.concatenate([1 - scores, scores], axis=1)
        proper = np.isfinite(scores).all(axis=1) & (scores >= -TOLERANCE).all(axis=1)
        proper &= np.abs(scores.sum(axis=1) - 1) <= TOLERANCE
    scores = np.where(proper[:, np.newaxis], scores, 0).clip(0, 1)
    top = np.partition(scores, -2, axis=1)[:, -2:]
    logs = np.log(scores, out=np.zeros_like(scores), where=scores > 0)
    entropies = -(scores * logs).sum(axis=1) / np.log(scores.shape[1])
    return Answers(
        np.where(proper, scores.argmax(axis=1), NO_CLASS).astype(np.int32),
        np.where(proper, top[:, 1] - top[:, 0], np.nan).astype(np.float32),
        np.where(proper, entropies, np.nan).astype(np.float32),
    )


def unknown(rows: int) -> Answers:
    """For rows of which no answer is known."""
    nan = np.full(rows, np.nan, dtype=np.float32)
    return Answers(np.full(rows, NO_CLASS, dtype=np.int32), nan, nan)
