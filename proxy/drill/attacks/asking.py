"""How attackers ask: within their allowance, in calls of bounded size, undeterred by a few refusals."""

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from proxy.drill.attacks.contract import BudgetSpentError, Ended, Oracle, Probabilities, RefusedError, Rows, Target

PATIENCE = 20
"""Calls refused in a row after which an attacker gives up: enough to try many accounts."""


TRIES = 3
"""Times that a call is sent before its rows are given up."""


class OverError(Exception):
    """There is nothing more to be had. Attributes: ended, why."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(ended)
        self.ended: Ended = ended


class Asking:
    """Asks an oracle for part of its rows.

    Args:
        oracle: to ask.
        allowance: rows that may be answered.
    """

    def __init__(self, oracle: Oracle, allowance: int) -> None:
        self._oracle = oracle
        self._last = oracle.rows + allowance
        self._refusals = 0

    @property
    def left(self) -> int:
        """Rows that may still be answered."""
        return max(0, self._last - self._oracle.rows)

    def __call__(self, rows: Rows) -> Probabilities:
        """The answers (n, classes) of one call.

        Raises:
            RefusedError: the call was refused; the next need not be.
            OverError: the rows left do not suffice, or too many calls in a row have been refused.
        """
        if len(rows) > self.left:
            raise OverError("spent")
        try:
            answers = self._oracle(rows.astype(np.float32, copy=False))
        except BudgetSpentError:
            raise OverError("spent") from None
        except RefusedError:
            self._refusals += 1
            if self._refusals >= PATIENCE:
                raise OverError("refused") from None
            raise
        self._refusals = 0
        return np.asarray(answers, np.float32)


class Gathered(NamedTuple):
    """What was answered, of what was asked.

    Attributes:
        places: (k,) of the answered rows.
        answers: (k, classes).
        ended: why the rest was not asked for; None if at most single calls have been refused.
    """

    places: NDArray[np.int64]
    answers: Probabilities
    ended: Ended | None


def gather(asking: Asking, rows: Rows, target: Target) -> Gathered:
    """Asks for all rows in calls of at most `target.batch`; what is refused TRIES times is left out."""
    places, answers = [np.empty(0, np.int64)], [np.empty((0, target.classes), np.float32)]
    ended: Ended | None = None
    try:
        for call in _calls(asking, len(rows), target.batch):
            answer = _insist(asking, rows[call])
            if answer is not None:
                places.append(call)
                answers.append(answer)
    except OverError as over:
        ended = over.ended
    return Gathered(np.concatenate(places), np.concatenate(answers), ended)


def _insist(asking: Asking, rows: Rows) -> Probabilities | None:
    for _ in range(TRIES):
        with suppress(RefusedError):
            return asking(rows)
    return None


def _calls(asking: Asking, count: int, batch: int) -> Iterator[NDArray[np.int64]]:
    start = 0
    while start < count:
        size = min(batch, count - start, asking.left)
        if not size:
            raise OverError("spent")
        yield np.arange(start, start + size)
        start += size
