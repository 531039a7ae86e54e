"""One evasion's search for a misclassified row near a seed, whichever attack leads it."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from proxy.drill.attacks.asking import Asking, OverError
from proxy.drill.attacks.contract import (
    Ended,
    Norm,
    Oracle,
    Outcome,
    Probabilities,
    RefusedError,
    Rows,
    Target,
    Technique,
)

REMEMBERED = 100
"""Misclassified rows kept of a hunt, the nearest."""
STALLED = 1000
"""Calls in a row for rows already known after which a search is going in circles."""
FAIR = 0.2
"""Share of the budget from which on a hunt that was cut short has failed, and had not just begun."""
STARTS, NOISES = 5, 50
"""Rows of the attacker's own, and then of noise, tried as a point of another class to start from."""


class Hunt:
    """The way to the model of a search that starts from one seed; it remembers every answer and what it was told.

    Args:
        asking: the rows that may be spent on this seed.
        seed: (...) in [0, 1].
        label: its class.
        target: for the size of calls and of perturbations.
        norm: in which the search measures.
    """

    def __init__(self, asking: Asking, seed: NDArray[np.float32], label: int, target: Target, norm: Norm) -> None:
        self.seed, self.label, self.target, self.norm = seed, label, target, norm
        self.allowance = asking.left
        self.success: int | None = None  # rows spent until the first misclassified row within the stated size
        self._asking = asking
        self._known: dict[bytes, Probabilities] = {}
        self._told: list[_Told] = []
        self._idle = 0

    def __call__(self, rows: Rows) -> Probabilities:
        """The answers (n, classes), with what is known already not asked again, and refused rows taken for failures.

        Raises:
            OverError: the allowance is used up, nothing is answered any more, or the search has lost its way.
        """
        rows = np.asarray(rows, np.float32).reshape(-1, *self.seed.shape)
        if not np.isfinite(rows).all():
            raise OverError("done")
        rows = rows.clip(0, 1)
        names = [blake2b(row.tobytes(), digest_size=16).digest() for row in rows]
        fresh = list({name: place for place, name in enumerate(names) if name not in self._known}.values())
        self._idle = 0 if fresh else self._idle + 1
        if self._idle > STALLED:
            raise OverError("done")
        for start in range(0, len(fresh), self.target.batch):
            self._learn(names, rows, fresh[start : start + self.target.batch])
        return np.stack([self._known[name] for name in names])

    def _learn(self, names: list[bytes], rows: Rows, places: list[int]) -> None:
        affordable = places[: max(1, self._asking.left)]
        try:
            answers = self.ask(rows[affordable])
            self.note(rows[affordable], answers)
        except RefusedError:
            answers = np.eye(self.target.classes, dtype=np.float32)[[self.label] * len(affordable)]
        self._known.update(zip([names[place] for place in affordable], answers, strict=True))
        if len(affordable) < len(places):
            raise OverError("spent")

    def ask(self, rows: Rows) -> Probabilities:
        """One call, neither remembered nor noted. Raises RefusedError and OverError."""
        return self._asking(rows)

    def note(self, rows: Rows, answers: Probabilities) -> None:
        """Remembers the rows (n, ...) that the answers (n, classes) say are misclassified."""
        misclassified = rows[answers.argmax(axis=1) != self.label]
        self._told += [_Told(self.distance(row), row) for row in misclassified]
        if self.success is None and self.target.near(self.seed, misclassified, self.norm).any():
            self.success = self.allowance - self._asking.left
        if len(self._told) > 2 * REMEMBERED:
            self._told = self._nearest()

    def distance(self, row: NDArray[np.float32]) -> float:
        """From the seed."""
        change = (row - self.seed).ravel()
        return float(np.abs(change).max() if self.norm == "inf" else np.linalg.norm(change))

    @property
    def adversarial(self) -> Rows:
        """(k, ...) what the attacker was told is misclassified, nearest first; k is REMEMBERED at most."""
        return np.stack([self.seed, *(told.row for told in self._nearest())])[1:]

    def _nearest(self) -> "list[_Told]":
        return sorted(self._told, key=lambda told: told.distance)[:REMEMBERED]

    def start(self, rng: np.random.Generator) -> NDArray[np.float32] | None:
        """A row that is told to be of another class: the nearest of the attacker's own, or else uniform noise."""
        pool, labels = self.target.pool, self.target.pool_labels
        others = pool[labels != self.label] if len(labels) == len(pool) else pool
        lengths = np.linalg.norm((others - self.seed).reshape(len(others), self.seed.size), axis=1)
        own = others[np.argsort(lengths)[:STARTS]]
        for row in own:
            if self(row[None])[0].argmax() != self.label:
                return np.asarray(row, np.float32)
        for _ in range(NOISES):
            noise = rng.random(self.seed.shape, np.float32)
            if self(noise[None])[0].argmax() != self.label:
                return noise
        return None


class _Told(NamedTuple):
    distance: float
    row: NDArray[np.float32]


Search = Callable[[Hunt, np.random.Generator], None]


@dataclass(frozen=True)
class Evasion:
    """An attack that hunts from one seed after the other until its budget is spent.

    Attributes:
        name: as in tables.
        norm: which `search` minimises or stays within.
        search: hunts until it is content or OverError.
        images: works on (n, H, W, C) rows only.
    """

    name: str
    norm: Norm
    search: Search
    images: bool = False
    technique: Technique = "evasion"

    def run(self, oracle: Oracle, target: Target, rng: np.random.Generator) -> Outcome:
        """A seed counts as tried if its hunt came to an end, or had FAIR of the budget at least, or is the first.

        Its metrics: `tried`, the seeds; `told`, the share of them for which the attacker was told of a success at the
        stated size; `rows_to_success`, the median of the rows that took, NaN without a success.
        """
        hunts: list[Hunt] = []
        ended: Ended = "done"
        for seed, label in zip(target.seeds, target.seed_labels, strict=True):
            left = target.budget - oracle.rows
            if ended != "done" or left <= 0:
                break
            hunt = Hunt(Asking(oracle, left), seed, int(label), target, self.norm)
            ended = _ended(hunt, self.search, rng)
            if not hunts or ended != "spent" or hunt.success is not None or left >= FAIR * target.budget:
                hunts.append(hunt)
        successes = [hunt.success for hunt in hunts if hunt.success is not None]
        tried = len(hunts)
        told = len(successes) / max(1, tried)
        rows = float(np.median(successes)) if successes else float("nan")
        return Outcome(
            ended=ended,
            metrics={"tried": tried, "told": told, "rows_to_success": rows},
            norm=self.norm,
            adversarial=tuple(hunt.adversarial for hunt in hunts),
        )


def _ended(hunt: Hunt, search: Search, rng: np.random.Generator) -> Ended:
    try:
        search(hunt, rng)
    except OverError as over:
        return over.ended
    return "done"
