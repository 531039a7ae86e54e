"""The accounts that calls are sent over, and the attackers' way to the model over them."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Literal

import numpy as np

from proxy.drill.attacks.contract import BudgetSpentError, Probabilities, RefusedError, Rows
from proxy.drill.wire import Metadata, Model, UsageError
from proxy.keys.edit import KEY_PREFIX

Spread = Literal["round_robin", "random"]


@dataclass(frozen=True)
class Account:
    """One caller as the target knows it.

    Attributes:
        metadata: that says who calls.
        caller: the id under which the target's verdicts name it; empty if that is not known.
    """

    metadata: Metadata = ()
    caller: str = ""


def keys(path: Path, header: str) -> list[Account]:
    """One account an API key, of a file with a key a line.

    Raises:
        UsageError: it cannot be read or holds none.
    """
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--keys: {path} cannot be read: {error}") from None
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise UsageError(f"--keys: {path} holds no key; write one a line, as `tensorwall keys add` shows them")
    return [Account(((header, f"Bearer {key}" if header == "authorization" else key),), _caller(key)) for key in found]


def _caller(key: str) -> str:
    """The id of a key that `tensorwall keys` made, which is in it."""
    return f"api_key:{key.split('_')[1]}" if key.startswith(KEY_PREFIX) and key.count("_") >= 2 else ""


def addresses(count: int, first: int = 0) -> list[Account]:
    """Accounts by address, each in a /24 of its own of 10.0.0.0/8, for a proxy that trusts X-Forwarded-For."""
    made = [f"10.{at // 250 % 250}.{at % 250}.{1 + at // 62_500}" for at in range(first, first + count)]
    return [Account((("x-forwarded-for", each),), f"forwarded_for:{each}") for each in made]


class Way:
    """An attacker's way to the model over its accounts: an `Oracle`.

    Args:
        model: the target.
        accounts: at least one.
        budget: rows that may be answered.
        rng: for `random` spreads.
        spread: which account sends the next call: each in turn, or one at random.
        rate: calls a second at most, as of an attacker with a round trip to wait for; 0: as fast as they go.
        clock, sleep: of that.

    Attributes:
        rows, refused: of the contract.
    """

    def __init__(
        self,
        model: Model,
        accounts: Sequence[Account],
        budget: int,
        rng: np.random.Generator,
        spread: Spread = "round_robin",
        rate: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.rows = self.refused = 0
        self._model, self._budget = model, budget
        self._next = _turns(accounts, rng, spread)
        self._pause = 1 / rate if rate else 0.0
        self._clock, self._sleep = clock, sleep
        self._due = 0.0

    def __call__(self, rows: Rows) -> Probabilities:
        """As the contract says."""
        if self.rows + len(rows) > self._budget:
            raise BudgetSpentError
        self._sleep(max(0.0, self._due - self._clock()))
        self._due = self._clock() + self._pause
        try:
            answers = self._model.ask(rows, next(self._next).metadata)
        except RefusedError:
            self.refused += len(rows)
            raise
        self.rows += len(rows)
        return answers


def _turns(accounts: Sequence[Account], rng: np.random.Generator, spread: Spread) -> Iterator[Account]:
    if spread == "round_robin":
        yield from cycle(accounts)
    while True:
        yield accounts[int(rng.integers(len(accounts)))]
