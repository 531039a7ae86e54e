"""A drill of one deployment: which attacks, how often, over whose accounts; records come as runs finish."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from proxy.drill.accounts import Account, Spread
from proxy.drill.benign import Bystanders, over_the_wire
from proxy.drill.choice import SLOW, attack
from proxy.drill.material import Material
from proxy.drill.measure import Manner, attacked
from proxy.drill.report import OFF
from proxy.drill.results import Benign, Run
from proxy.drill.watching import Admin
from proxy.drill.wire import Model, UsageError

ON = "on"
BYSTANDERS = 100


@dataclass(frozen=True)
class Campaign:
    """What all runs have in common.

    Attributes:
        target: the deployment.
        direct: the model without protection; None if it cannot be had.
        admin: of the target; None if its verdicts cannot be read.
        material: rows.
        accounts: all that there are; each run takes the next ones, and starts again when none is left.
        spread_over: accounts an attack takes.
        spread, rate: see `Manner`.
        seed: of all dice.
        budget: rows; None: the technique's own.
    """

    target: Model
    direct: Model | None
    admin: Admin | None
    material: Material
    accounts: Sequence[Account]
    spread_over: int = 1
    spread: Spread = "round_robin"
    rate: float = 0.0
    seed: int = 0
    budget: int | None = None

    def runs(self, names: Sequence[str], runs: int, done: Collection[tuple[str, ...]]) -> Iterator[Run | None]:
        """Every attack so many times against the target, and against the model itself if it can be had.

        Args:
            names: of attacks, as `chosen` gives them.
            runs: of each.
            done: keys of records that are there already.

        Yields:
            A record, or None for a run that is there or cannot be made, so that progress can be shown.
        """
        asker = self.direct or self.target
        seeds = self.material.seeds(asker, runs)
        classes = asker(self.material.rows[:1]).shape[1]
        turn = 0
        for name in names:
            for run in range(runs):
                for mode, model in ((OFF, self.direct), (ON, self.target)):
                    manner = Manner(self._taken(turn), self.spread, self.rate)
                    turn += 1
                    key = self.material.name, name, mode, str(self.spread_over), str(run)
                    if model is None or key in done or self.unfit(name) is not None:
                        yield None
                        continue
                    yield attacked(
                        name,
                        attack(name, self._bystanders(model) if SLOW in name.split("+") else None),
                        model,
                        self.material,
                        manner,
                        mode,
                        run,
                        self.seed,
                        seeds[run],
                        classes,
                        self.budget,
                        self.direct,
                        self.admin if mode == ON else None,
                    )

    def unfit(self, name: str) -> str | None:
        """Why an attack is left out, if it is."""
        made = attack(name)
        if made.images and self.material.rows.ndim != 4:
            return "it works on images only"
        if made.technique == "membership" and not len(self.material.members):
            return "--data has no rows that the model was trained on (member_x, member_y)"
        return None

    def benign(self, callers: int) -> list[Benign]:
        """Benign callers over the wire, each with an account of its own. Raises UsageError if there are too few."""
        accounts = self._own(callers, "--benign")
        rng = np.random.default_rng([self.seed, 1])
        return over_the_wire(self.target, self.material, accounts, rng, self.direct, self.admin, progress)

    def _taken(self, turn: int) -> list[Account]:
        start = turn * self.spread_over
        return [self.accounts[at % len(self.accounts)] for at in range(start, start + self.spread_over)]

    def _bystanders(self, model: Model) -> Bystanders:
        rng = np.random.default_rng([self.seed, 2])
        return Bystanders(model, self.material, self._own(BYSTANDERS, SLOW), rng)

    def _own(self, count: int, what: str) -> list[Account]:
        """The last ones, which attacks take last."""
        if len(self.accounts) <= count:
            raise UsageError(
                f"{what}: {count} callers need accounts of their own, and there are {len(self.accounts)}; "
                "give more --keys, or --forwarded"
            )
        return list(self.accounts[-count:])


def progress(things: Sequence[Any], what: str) -> Iterator[Any]:
    """The things one by one, with a bar on a terminal."""
    from tqdm import tqdm  # an extra

    yield from tqdm(things, desc=what, disable=None)
