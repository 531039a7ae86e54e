"""What an attack gets, asks and ends with.

All rows are float32 in [0, 1], batch-first, whatever the model's own range and type are: the oracle scales them. So
every distance is in units of that range, and images of 8 bits and scaled table rows are attacked by the same code.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
"""(n, ...) in [0, 1]: (n, height, width, channels) images or (n, features) table rows."""
Probabilities = NDArray[np.float32]
"""(n, classes); one-hot when the deployment says labels only."""
Labels = NDArray[np.int64]
Predict = Callable[[Rows], Probabilities]

Technique = Literal["evasion", "extraction", "membership", "inversion"]
Norm = Literal["inf", "2"]
Ended = Literal["done", "spent", "refused"]

ROUNDING = 1e-5


class RefusedError(Exception):
    """The deployment refused the call: nothing of it was answered."""


class BudgetSpentError(Exception):
    """Answering the call would go over the row budget: it has not been sent."""


class Oracle(Protocol):
    """One attacker's way to the model, over one account or many. A call of it is one request.

    Attributes:
        rows: answered so far, whatever they were asked for.
        refused: rows in calls that were refused.
    """

    @property
    def rows(self) -> int: ...
    @property
    def refused(self) -> int: ...

    def __call__(self, rows: Rows) -> Probabilities:
        """The answers (n, classes).

        Raises:
            RefusedError: the call was refused. Asking again may work, over the next account.
            BudgetSpentError: the rows left are fewer than those asked for.
        """
        ...


def _no_rows() -> Rows:
    return np.empty((0,), np.float32)


def _no_labels() -> Labels:
    return np.empty((0,), np.int64)


@dataclass(frozen=True)
class Target:
    """What an attacker knows and has. All rows are in [0, 1].

    Attributes:
        classes: how many the model tells apart.
        budget: rows that may be spent in all, dummies included.
        seeds: (n, ...) rows that the model gets right, to be misclassified by evasion.
        seed_labels: (n,) their true classes.
        pool: (n, ...) the attacker's own rows of the model's kind: starting points, thefts by real data, dummies.
        pool_labels: (n,) their classes as the attacker sees them.
        foreign: (n, ...) the attacker's rows of another kind, for thefts without the model's kind of data. With
            none, those attacks take the pool.
        members: (n, ...) rows that the model was trained on. Attacks on membership are scored on them and `others`.
        member_labels: (n,).
        others: (n, ...) rows of the same kind that it was not trained on.
        other_labels: (n,).
        epsilon: the largest change of a value, L-inf, at which an evasion counts.
        radius: the largest L2 length of a change at which an evasion by an attack that minimises L2 counts.
        batch: rows that a call has at most, where an attack asks for several at once.
    """

    classes: int
    budget: int
    seeds: Rows = field(default_factory=_no_rows)
    seed_labels: Labels = field(default_factory=_no_labels)
    pool: Rows = field(default_factory=_no_rows)
    pool_labels: Labels = field(default_factory=_no_labels)
    foreign: Rows = field(default_factory=_no_rows)
    members: Rows = field(default_factory=_no_rows)
    member_labels: Labels = field(default_factory=_no_labels)
    others: Rows = field(default_factory=_no_rows)
    other_labels: Labels = field(default_factory=_no_labels)
    epsilon: float = 0.1
    radius: float = 2.0
    batch: int = 32

    def near(self, seed: NDArray[np.float32], rows: Rows, norm: Norm) -> NDArray[np.bool_]:
        """Which of the rows (n, ...) are within `epsilon` or `radius` of the seed (...), but for float32's rounding."""
        changes = (rows - seed).reshape(len(rows), seed.size)
        if norm == "inf":
            return np.asarray(np.abs(changes).max(axis=1) <= self.epsilon + ROUNDING)
        return np.asarray(np.linalg.norm(changes, axis=1) <= self.radius + ROUNDING)


@dataclass(frozen=True)
class Outcome:
    """What an attacker ended with; of the fields after `metrics`, those of the attack's technique are filled.

    Attributes:
        ended: `done` by itself, `spent` when the budget was used up, `refused` when no account got answers any more.
        metrics: figures by name that need no look at the model itself, such as `advantage` or `rounds`.
        norm: in which the evasion's perturbations are measured.
        adversarial: for each seed that was tried, what the attacker was told is misclassified, (k, ...) with k from 0
            to 100, nearest first. An attacker would use the first; that any of them misleads the model itself is the
            upper bound.
        surrogate: the stolen model, whose fidelity is its agreement with the model itself. It gives (n, classes).
        inverted: (k, ...) one reconstruction a class.
        inverted_labels: (k,) those classes.
    """

    ended: Ended
    metrics: dict[str, float] = field(default_factory=dict)
    norm: Norm = "2"
    adversarial: tuple[Rows, ...] = ()
    surrogate: Predict | None = None
    inverted: Rows = field(default_factory=_no_rows)
    inverted_labels: Labels = field(default_factory=_no_labels)


class Attack(Protocol):
    """Attributes: name, as in tables (`Square`); technique; images, whether it works on (n, H, W, C) rows only."""

    @property
    def name(self) -> str: ...
    @property
    def technique(self) -> Technique: ...
    @property
    def images(self) -> bool: ...

    def run(self, oracle: Oracle, target: Target, rng: np.random.Generator) -> Outcome:
        """Attacks until done, out of rows or refused for good. Raises neither RefusedError nor BudgetSpentError."""
        ...
