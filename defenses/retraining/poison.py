"""Whether reviewed rows of callers look like an attempt to poison: wrong labels, or a patch that stands for a class.

Both checks compare with the trusted training rows alone. They find crude poison; a row that is right in its label and
harmful in its pixels (clean-label poisoning) passes, which is why the share of such rows is capped as well.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defenses.retraining.data import Rows

NEIGHBOURS = 10
DISAGREE = 0.5
"""A caller whose rows disagree with their trusted neighbours this often is reported."""
STILL, FAR = 0.02, 0.4
"""Shares of the inputs' range: a value within STILL of the median in most suspect rows of a class, when that is FAR
from the mean of the trusted rows of the class and rare among them, is part of a patch."""
PATCH_VALUES = 3
LEAST_ROWS = 5
_TRUSTED = 20_000


@dataclass(frozen=True)
class Finding:
    """What was found: of `who` (a caller, or a class), and the sentence that says it."""

    who: str
    text: str


def findings(suspect: Rows, callers: NDArray[np.str_], trusted: Rows, span: float) -> list[Finding]:
    """Looks at reviewed rows before they are trained on.

    Args:
        suspect: the rows and the reviewer's labels.
        callers: who sent each, (N,).
        trusted: rows to compare with.
        span: of the inputs' range.
    """
    return [*_mislabelled(suspect, callers, trusted.take(slice(_TRUSTED))), *_patches(suspect, trusted, span)]


def _mislabelled(suspect: Rows, callers: NDArray[np.str_], trusted: Rows) -> list[Finding]:
    """Callers most of whose labels none of, or few of, the nearest trusted rows share."""
    wrong = _disagreement(suspect, trusted)
    found = []
    for caller in np.unique(callers):
        mine = wrong[callers == caller]
        if len(mine) >= LEAST_ROWS and mine.mean() >= DISAGREE:
            text = f"{mine.sum()} of {len(mine)} labels differ from those of the {NEIGHBOURS} nearest trusted rows"
            found.append(Finding(f"caller {caller}", text))
    return found


def _disagreement(suspect: Rows, trusted: Rows) -> NDArray[np.bool_]:
    known = trusted.x.reshape(len(trusted), -1)
    lengths = (known**2).sum(axis=1)
    wrong = np.zeros(len(suspect), bool)
    for n, row in enumerate(suspect.x.reshape(len(suspect), -1)):
        nearest = np.argpartition(lengths - 2 * (known @ row), min(NEIGHBOURS, len(known) - 1))[:NEIGHBOURS]
        wrong[n] = (trusted.y[nearest] == suspect.y[n]).mean() < 0.5
    return wrong


def _patches(suspect: Rows, trusted: Rows, span: float) -> list[Finding]:
    found = []
    for label in np.unique(suspect.y):
        rows = suspect.x[suspect.y == label].reshape(np.count_nonzero(suspect.y == label), -1)
        if len(rows) < LEAST_ROWS:
            continue
        own = trusted.x[trusted.y == label] if label in trusted.y else trusted.x
        own, usual = own.reshape(len(own), -1), np.median(rows, axis=0)
        patch = _near(rows, usual, span) >= DISAGREE
        patch &= (np.abs(usual - own.mean(axis=0)) > FAR * span) & (_near(own, usual, span) < DISAGREE / 2)
        if patch.sum() >= PATCH_VALUES:
            text = (
                f"{patch.sum()} values are the same in most of the {len(rows)} rows, and not in trusted ones: a patch"
            )
            found.append(Finding(f"class {label}", text))
    return found


def _near(rows: NDArray[np.float32], values: NDArray[np.float32], span: float) -> NDArray[np.float64]:
    """Share of the rows that have almost these values, for each value. Most, not all: some rows may be honest."""
    return np.asarray((np.abs(rows - values) < STILL * span).mean(axis=0))
