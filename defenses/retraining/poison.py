"""Whether reviewed rows of callers look like an attempt to poison: wrong labels, or a patch that stands for a class.

Both checks compare with the trusted training rows alone. They find crude poison; a row that is right in its label and
harmful in its pixels (clean-label poisoning) passes, which is why the share of such rows is capped as well.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defenses.retraining.data import Rows

NEIGHBOURS = 10
MORE, EVER = 1.5, 0.03
"""Rows of callers may differ from their trusted neighbours MORE times as often as trusted rows do, and EVER besides:
room for honest ones that were attacked, which lie a little further from their class."""
SIGNIFICANCE = 0.001
"""Of all groups of callers together, that chance makes so many differ."""
STILL, FAR = 0.02, 0.4
"""Shares of the inputs' range: a value within STILL of the median in half of the suspect rows of a class, when that is
FAR from the mean of the trusted rows of the class and rare in every class of them, is part of a patch; a row that has
WHOLE of these values has the patch."""
HALF, WHOLE = 0.5, 0.75
PATCH_VALUES = 3
LEAST_ROWS = 5
_TRUSTED, _SAMPLE = 20_000, 1_000

Flat = NDArray[np.float32]


@dataclass(frozen=True)
class Finding:
    """What was found: of `who` (a caller, all callers, or a class), and the sentence that says it."""

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
    known = trusted.take(_spread(len(trusted), _TRUSTED))
    sample = _spread(len(known), _SAMPLE)
    wrong, _ = _compared(suspect, known)
    usually, near = _compared(known.take(sample), known, sample)
    labels = _mislabelled(wrong, callers, float(usually.mean()))
    return [*labels, *_patches(suspect, wrong, known, span, float(np.median(near)))]


def _mislabelled(wrong: NDArray[np.bool_], callers: NDArray[np.str_], usual: float) -> list[Finding]:
    """Callers, and all together, of whose labels more are wrong than of the trusted rows' own."""
    groups = {f"caller {caller}": wrong[callers == caller] for caller in np.unique(callers)} | {"all callers": wrong}
    allowed = min(1.0, MORE * usual + EVER)
    found = []
    for who, mine in groups.items():
        chance = _tail(int(mine.sum()), len(mine), allowed)
        if len(mine) >= LEAST_ROWS and chance < SIGNIFICANCE / len(groups):
            text = f"{mine.sum()} of {len(mine)} labels differ from those of the {NEIGHBOURS} nearest trusted rows"
            found.append(Finding(who, f"{text}; of trusted rows {usual:.0%} do"))
    return found


def _compared(rows: Rows, trusted: Rows, own: Sequence[int] = ()) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether the label of each row is that of less than half of its nearest trusted rows, and how near the first is.

    Args:
        rows, trusted: to compare.
        own: where the rows are among the trusted ones, if they are, so that none is a neighbour of itself.
    """
    known = _flat(trusted)
    lengths = (known**2).sum(axis=1)
    count = max(1, min(NEIGHBOURS, len(known) - bool(own)))
    wrong, near = np.zeros(len(rows), bool), np.zeros(len(rows))
    for n, row in enumerate(_flat(rows)):
        gaps = lengths - 2 * (known @ row)
        if own:
            gaps[own[n]] = np.inf
        nearest = np.argpartition(gaps, count - 1)[:count]
        wrong[n] = (trusted.y[nearest] == rows.y[n]).mean() < HALF
        near[n] = math.sqrt(max(0.0, float(gaps[nearest].min()) + float(row @ row)))
    return wrong, near


def _patches(suspect: Rows, wrong: NDArray[np.bool_], trusted: Rows, span: float, near: float) -> list[Finding]:
    """Classes in which rows share values that trusted rows have not: all of the class, or those that look like others'.

    The latter are few where labels are honest, so that a patch shows among them that is lost among all.
    """
    rows, known, found = _flat(suspect), _flat(trusted), []
    classes = {label: known[trusted.y == label] for label in np.unique(trusted.y)}
    for label in np.unique(suspect.y):
        for chosen in (suspect.y == label, (suspect.y == label) & wrong):
            at = np.flatnonzero(chosen)
            distinct = _distinct(rows[at[_spread(len(at), _SAMPLE)]], near)
            if len(distinct) < LEAST_ROWS:
                continue
            values, patched = _patch(distinct, classes.get(label, known), classes.values(), span)
            if values >= PATCH_VALUES and patched >= LEAST_ROWS:
                text = f"{values} values are the same in {patched} of {len(distinct)} rows, and not in trusted ones"
                found.append(Finding(f"class {label}", f"{text}: a patch"))
                break
    return found


def _patch(rows: Flat, own: Flat, classes: Iterable[Flat], span: float) -> tuple[int, int]:
    """How many values seem to be of a patch, and how many of the rows have it."""
    usual = np.median(rows, axis=0)
    same = np.abs(rows - usual) < STILL * span
    patch = (same.mean(axis=0) >= HALF) & (np.abs(usual - own.mean(axis=0)) > FAR * span)
    for known in classes:
        patch[patch] = (np.abs(known[:, patch] - usual[patch]) < STILL * span).mean(axis=0) < HALF / 2
    return int(patch.sum()), int((same[:, patch].mean(axis=1) >= WHOLE).sum()) if patch.any() else 0


def _distinct(rows: Flat, near: float) -> Flat:
    """Without those that are nearer to an earlier one than trusted rows are to each other: a search's many rows around
    one image have most values in common, and no patch."""
    squares, kept = (rows**2).sum(axis=1), np.zeros(len(rows), bool)
    for n, row in enumerate(rows):
        gaps = squares - 2 * (rows @ row) + squares[n]
        kept[n] = not (gaps[kept] <= near**2).any()
    return rows[kept]


def _spread(rows: int, most: int) -> list[int]:
    """At most so many indices, evenly spaced: rows may come sorted by class."""
    return list(range(rows)) if rows <= most else np.linspace(0, rows - 1, most).astype(int).tolist()


def _tail(hits: int, rows: int, share: float) -> float:
    """The chance of so many hits or more where each row is one with this chance (binomial)."""
    if share >= 1:
        return 1.0
    logs = (
        math.lgamma(rows + 1) - math.lgamma(k + 1) - math.lgamma(rows - k + 1)
        + k * math.log(share) + (rows - k) * math.log1p(-share)
        for k in range(hits, rows + 1)
    )  # fmt: skip
    return min(1.0, math.fsum(map(math.exp, logs)))


def _flat(rows: Rows) -> Flat:
    return rows.x.reshape(len(rows), -1)
