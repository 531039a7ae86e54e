"""Evasions of detection that go with any attack: chaff, transformed rows, and waiting.

A disguise makes an oracle of an oracle. Spreading over accounts needs none: the oracle itself has many.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from proxy.drill.attacks.contract import Attack, Oracle, Outcome, Probabilities, RefusedError, Rows, Target, Technique


class Disguise(Protocol):
    """Attributes: name, as in tables; images, whether it works on (n, H, W, C) rows only."""

    @property
    def name(self) -> str: ...
    @property
    def images(self) -> bool: ...

    def __call__(self, oracle: Oracle, target: Target, rng: np.random.Generator) -> Oracle:
        """The oracle to attack instead; what it spends, it spends of the given one."""
        ...


@dataclass(frozen=True)
class Disguised:
    """An attack in disguise."""

    attack: Attack
    disguise: Disguise

    @property
    def name(self) -> str:
        """Of both."""
        return f"{self.attack.name}, {self.disguise.name}"

    @property
    def technique(self) -> Technique:
        """The attack's."""
        return self.attack.technique

    @property
    def images(self) -> bool:
        """Of either."""
        return self.attack.images or self.disguise.images

    def run(self, oracle: Oracle, target: Target, rng: np.random.Generator) -> Outcome:
        """The attack's outcome. What it reports of rows are those before the disguise."""
        return self.attack.run(self.disguise(oracle, target, rng), target, rng)


class _Wrapped:
    """An oracle that asks another one in its own manner."""

    def __init__(self, oracle: Oracle, manner: Callable[[Oracle, Rows], Probabilities]) -> None:
        self._oracle, self._manner = oracle, manner

    @property
    def rows(self) -> int:
        return self._oracle.rows

    @property
    def refused(self) -> int:
        return self._oracle.refused

    def __call__(self, rows: Rows) -> Probabilities:
        return self._manner(self._oracle, rows)


@dataclass(frozen=True)
class Dummies:
    """The attacker's own benign rows mixed in, in calls of their own, which count for the budget as others do.

    Attributes:
        share: of all rows, below 1.
    """

    share: float = 0.5
    images: bool = False

    @property
    def name(self) -> str:
        """With the share."""
        return f"{self.share:.0%} dummies"

    def __call__(self, oracle: Oracle, target: Target, rng: np.random.Generator) -> Oracle:
        """Sends dummies before each call."""
        owed = 0.0

        def ask(oracle: Oracle, rows: Rows) -> Probabilities:
            nonlocal owed
            owed += len(rows) * self.share / (1 - self.share)
            while owed >= 1 and len(target.pool):
                count = min(int(owed), target.batch)
                owed -= count
                with suppress(RefusedError):
                    oracle(target.pool[rng.integers(len(target.pool), size=count)])
            return oracle(rows)

        return _Wrapped(oracle, ask)


@dataclass(frozen=True)
class Noise:
    """Fresh uniform noise on each row (query blinding: Chen, Carlini, Wagner 2019, arXiv 1907.05587).

    Attributes:
        size: its largest, per value.
    """

    size: float = 16 / 255
    images: bool = False

    @property
    def name(self) -> str:
        """With the size."""
        return f"noise {self.size:.3f}"

    def __call__(self, oracle: Oracle, target: Target, rng: np.random.Generator) -> Oracle:  # noqa: ARG002  # a Disguise
        """Blinds every row."""
        return _changed(oracle, lambda rows: np.asarray(rows + rng.uniform(-self.size, self.size, rows.shape)))


@dataclass(frozen=True)
class Moves:
    """Each image turned, scaled and shifted a little at random, edges filled by the nearest values.

    Attributes:
        pixels: of the shift each way, at most.
        degrees: of the turn each way, at most.
        scale: of the change in size each way, at most.
    """

    pixels: float = 1.0
    degrees: float = 5.0
    scale: float = 0.05
    name: str = "small affine moves"
    images: bool = True

    def __call__(self, oracle: Oracle, target: Target, rng: np.random.Generator) -> Oracle:  # noqa: ARG002  # a Disguise
        """Moves every image."""
        return _changed(oracle, lambda rows: np.stack([self._moved(row, rng) for row in rows]))

    def _moved(self, image: Rows, rng: np.random.Generator) -> Rows:
        from scipy.ndimage import affine_transform

        angle = np.deg2rad(rng.uniform(-self.degrees, self.degrees))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = turn * (1 + rng.uniform(-self.scale, self.scale))
        middle = (np.array(image.shape[:2]) - 1) / 2
        offset = middle - matrix @ middle + rng.uniform(-self.pixels, self.pixels, 2)
        planes = [
            affine_transform(image[..., channel], matrix, offset, order=1, mode="nearest")
            for channel in range(image.shape[2])
        ]
        return np.stack(planes, axis=-1)


@dataclass(frozen=True)
class Brightness:
    """Each row's contrast and brightness changed at random.

    Attributes:
        amount: each way, at most: of the factor around 1, and of what is added.
    """

    amount: float = 0.1
    name: str = "brightness"
    images: bool = False

    def __call__(self, oracle: Oracle, target: Target, rng: np.random.Generator) -> Oracle:  # noqa: ARG002  # a Disguise
        """Shades every row."""

        def shaded(rows: Rows) -> NDArray[Any]:
            factor, added = rng.uniform(-self.amount, self.amount, (2, len(rows), *[1] * (rows.ndim - 1)))
            return np.asarray(rows * (1 + factor) + added)

        return _changed(oracle, shaded)


@dataclass(frozen=True)
class Slow:
    """Something else happens before each call: other callers' traffic, or time passes.

    Attributes:
        between: is told the number of rows of the call that follows.
    """

    between: Callable[[int], None]
    name: str = "slow"
    images: bool = False

    def __call__(self, oracle: Oracle, target: Target, rng: np.random.Generator) -> Oracle:  # noqa: ARG002  # a Disguise
        """Lets it happen."""

        def ask(oracle: Oracle, rows: Rows) -> Probabilities:
            self.between(len(rows))
            return oracle(rows)

        return _Wrapped(oracle, ask)


def _changed(oracle: Oracle, change: Callable[[Rows], NDArray[Any]]) -> Oracle:
    return _Wrapped(oracle, lambda oracle, rows: oracle(np.asarray(change(rows), np.float32).clip(0, 1)))
