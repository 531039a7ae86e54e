"""Theft by choosing rows by what the surrogate so far says of them."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from proxy.drill.attacks import networks
from proxy.drill.attacks.asking import Asking, gather
from proxy.drill.attacks.contract import Ended, Oracle, Outcome, Probabilities, Rows, Target, Technique
from proxy.drill.attacks.dice import seeded
from proxy.drill.attacks.extraction import Data, source, stolen

REHEARSAL = 3
"""Passes of the trainings between rounds; only the last one is thorough."""


class _Thief:
    """A network together with what it has been taught."""

    def __init__(self, asking: Asking, target: Target, rows: Rows, seed: int) -> None:
        self.model: Any = networks.network(rows.shape[1:], target.classes, seed)
        self.rows = rows[:0]
        self.answers: Probabilities = np.empty((0, target.classes), np.float32)
        self.ended: Ended | None = None
        self._asking, self._target, self._seed = asking, target, seed

    def ask(self, rows: Rows) -> None:
        """Adds what is answered; `ended` says whether there will be more."""
        places, answers, self.ended = gather(self._asking, rows, self._target)
        self.rows = np.concatenate([self.rows, rows[places]])
        self.answers = np.concatenate([self.answers, answers])

    def learn(self, passes: int) -> None:
        """From all answers so far."""
        if len(self.rows):
            networks.train(self.model, self.rows, self.answers, passes, self._seed)

    def outcome(self, otherwise: Ended) -> Outcome:
        """After a last, thorough training."""
        self.learn(networks.epochs(len(self.rows)))
        return stolen(self.ended or otherwise, self.model, len(self.rows))


@dataclass(frozen=True)
class Jacobian:
    """Jacobian-based augmentation (Papernot et al. 2017, arXiv 1602.02697): asks a few real rows, then each known row
    again, moved by `step` along the sign of the surrogate's gradient of its class, so that the set doubles each round.

    Attributes:
        first: real rows to start from, at most; the paper's MNIST figure.
        step: per value (the paper's lambda); its sign alternates every `period` rounds (the paper's tau).
        kept: rows that are augmented in a round, at most, a random choice (the paper's reservoir sampling, which keeps
            400 of MNIST); larger here, so that budgets of 10,000 rows are spent.
    """

    first: int = 150
    step: float = 0.1
    period: int = 3
    kept: int = 3_000
    name: str = "Jacobian augmentation"
    technique: Technique = "extraction"
    images: bool = False

    def run(self, oracle: Oracle, target: Target, rng: np.random.Generator) -> Outcome:
        """Its metric `trained_on` counts the answered rows."""
        asking = Asking(oracle, max(0, target.budget - oracle.rows))
        if not len(target.pool) or not asking.left:
            return Outcome(ended="spent", metrics={"trained_on": 0.0})
        with seeded(rng) as seed:
            thief = _Thief(asking, target, target.pool, seed)
            count = min(self.first, max(1, target.budget // 4), len(target.pool))
            thief.ask(target.pool[rng.choice(len(target.pool), count, replace=False)])
            turn = 0
            while thief.ended is None and len(thief.rows):
                thief.learn(REHEARSAL)
                thief.ask(self._augmented(thief, turn, rng))
                turn += 1
            return thief.outcome("done")

    def _augmented(self, thief: _Thief, turn: int, rng: np.random.Generator) -> Rows:
        chosen = rng.permutation(len(thief.rows))[: self.kept]
        rows, labels = thief.rows[chosen], thief.answers[chosen].argmax(axis=1)
        signed = self.step * (-1) ** (turn // self.period) * np.sign(networks.gradients(thief.model, rows, labels))
        return np.asarray(np.clip(rows + signed, 0, 1), np.float32)


@dataclass(frozen=True)
class ActiveLearner:
    """Uncertainty sampling (Settles 2009; against served models: Pal et al. 2020, ActiveThief): asks a random tenth,
    then in each round those of its rows of which the surrogate is least sure.

    Attributes:
        by: least `margin` between the two likeliest classes, or most `entropy`.
        rounds: of asking, the first included.
        data: whose rows.
    """

    by: Literal["margin", "entropy"] = "margin"
    rounds: int = 6
    data: Data = "pool"
    technique: Technique = "extraction"
    images: bool = False

    @property
    def name(self) -> str:
        """With its measure."""
        return f"Active learner, {self.by}"

    def run(self, oracle: Oracle, target: Target, rng: np.random.Generator) -> Outcome:
        """Its metric `trained_on` counts the answered rows."""
        asking = Asking(oracle, max(0, target.budget - oracle.rows))
        rows = source(target, self.data)
        total = min(len(rows), asking.left)
        if not total:
            return Outcome(ended="spent", metrics={"trained_on": 0.0})
        with seeded(rng) as seed:
            thief, unasked = _Thief(asking, target, rows, seed), rng.permutation(len(rows))
            counts = np.diff([0, *np.linspace(max(1, total // 10), total, self.rounds).astype(int)])
            for count in counts[counts > 0]:
                if len(thief.rows):
                    thief.learn(REHEARSAL)
                    unasked = unasked[np.argsort(self._sureness(thief.model, rows[unasked]))]
                thief.ask(rows[unasked[:count]])
                unasked = unasked[count:]
                if thief.ended:
                    break
            return thief.outcome("spent" if total < len(rows) else "done")

    def _sureness(self, model: Any, rows: Rows) -> NDArray[np.float64]:
        answers = networks.predict(model)(rows).astype(np.float64)
        if self.by == "entropy":
            return np.asarray((answers * np.log(np.maximum(answers, 1e-12))).sum(axis=1))
        largest = np.sort(answers, axis=1)
        return np.asarray(largest[:, -1] - largest[:, -2])


JACOBIAN = Jacobian()
ACTIVE_MARGIN = ActiveLearner("margin")
ACTIVE_ENTROPY = ActiveLearner("entropy")
