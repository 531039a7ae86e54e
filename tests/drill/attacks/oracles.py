"""A small real model, and deployments of it that refuse or echo."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from proxy.drill.attacks import BudgetSpentError, Labels, Probabilities, RefusedError, Rows, Target

SIDE = 8


@cache
def digits() -> tuple[Rows, Labels]:
    """(1797, 64) in [0, 1] and their classes."""
    data = load_digits()
    return (data.data / 16).astype(np.float32), data.target.astype(np.int64)


@cache
def model() -> Any:
    """Trained on the first 300 digits, long enough to know them by heart."""
    rows, labels = digits()
    return MLPClassifier((48,), max_iter=300, random_state=0).fit(rows[:300], labels[:300])


def truth(rows: Rows) -> Probabilities:
    """What the model itself says."""
    answers: Probabilities = model().predict_proba(rows.reshape(len(rows), -1)).astype(np.float32)
    return answers


class Deployment:
    """The model behind a row budget.

    Args:
        budget: of rows.
        refuses: is asked before each call, with the number of calls before it.
        answers: instead of the model.
    """

    def __init__(
        self,
        budget: int,
        refuses: Callable[[int], bool] = lambda _: False,
        answers: Callable[[Rows], Probabilities] = truth,
    ) -> None:
        self.rows = self.refused = self.calls = 0
        self.asked: list[Rows] = []
        self._budget, self._refuses, self._answers = budget, refuses, answers

    def __call__(self, rows: Rows) -> Probabilities:
        assert rows.dtype == np.float32
        assert len(rows) > 0
        assert rows.min() >= 0
        assert rows.max() <= 1
        self.calls += 1
        if self.rows + len(rows) > self._budget:
            raise BudgetSpentError
        if self._refuses(self.calls - 1):
            self.refused += len(rows)
            raise RefusedError
        self.rows += len(rows)
        self.asked.append(rows.copy())
        return self._answers(rows)


class Echo:
    """Answers a row within `radius` (L2) of an earlier one with that one's answer, as silent enforcement does."""

    def __init__(self, radius: float) -> None:
        self._radius = radius
        self._rows: list[Rows] = []
        self._answers: list[Probabilities] = []

    def __call__(self, rows: Rows) -> Probabilities:
        return np.stack([self._answer(row) for row in rows])

    def _answer(self, row: Rows) -> Probabilities:
        if self._rows:
            distances = np.linalg.norm((np.stack(self._rows) - row).reshape(len(self._rows), -1), axis=1)
            if distances.min() < self._radius:
                return self._answers[int(distances.argmin())]
        self._rows.append(row)
        self._answers.append(truth(row[None])[0])
        return self._answers[-1]


def target(budget: int, *, images: bool = True, seeds: int = 2) -> Target:
    """An attacker with digits 300 to 1,300 and with noise, after digits that the model gets right."""
    flat, labels = digits()
    rows = flat.reshape(-1, SIDE, SIDE, 1) if images else flat
    right = 1400 + np.flatnonzero(truth(flat[1400:]).argmax(axis=1) == labels[1400:])[:seeds]
    return Target(
        classes=10,
        budget=budget,
        seeds=rows[right],
        seed_labels=labels[right],
        pool=rows[300:1300],
        pool_labels=labels[300:1300],
        foreign=np.random.default_rng(3).random((600, *rows.shape[1:]), np.float32),
        members=rows[:150],
        member_labels=labels[:150],
        others=rows[1300:1450],
        other_labels=labels[1300:1450],
        epsilon=0.3,
        radius=2.0,
    )


def fidelity(surrogate: Callable[[Rows], Probabilities], *, images: bool) -> float:
    """How often it agrees with the model on digits that neither has seen."""
    rows = digits()[0][1300:]
    shaped = rows.reshape(-1, SIDE, SIDE, 1) if images else rows
    return float((surrogate(shaped).argmax(axis=1) == truth(rows).argmax(axis=1)).mean())
