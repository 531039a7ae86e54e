"""Fewer digits. A caller still gets usable numbers; a surrogate's gradient and a confidence attack get coarse ones."""

from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from defenses.output.scores import Rows, Scores, Settings, largest
from defenses.output.semantics import Semantics


class Round(Settings):
    """Rounds to `decimals` places or to `significant` digits.

    Probabilities become multiples of 10**-decimals that sum to 1 exactly (before the cast to the output's type): each
    is rounded down and the units left over go to the largest remainders, as in the Hare-Niemeyer apportionment of
    seats; no division follows, so that rounding keeps its meaning. A unit that would bring a class level with the
    winner goes elsewhere, and the winner gets at most two units above its share.

    Logits and values are rounded one by one; a winner that others have come level with is raised by one unit. A binary
    probability that would reach or cross the threshold becomes the nearest multiple on its own side.
    """

    kind: Literal["round"] = "round"
    decimals: int | None = Field(default=None, ge=0, le=6)
    significant: int | None = Field(default=None, ge=1, le=9)

    preserves_argmax: ClassVar[bool] = True

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.decimals is None) == (self.significant is None):
            raise ValueError("round needs either decimals (0 to 6) or significant digits (1 to 9); set exactly one")
        return self

    @property
    def applies_to(self) -> frozenset[Semantics]:
        """Significant digits would leave small probabilities exact and rows that do not sum to 1."""
        scaleless = frozenset({Semantics.LOGITS, Semantics.VALUES})
        return scaleless if self.decimals is None else scaleless | {Semantics.PROBABILITIES, Semantics.BINARY}

    def __call__(self, scores: Scores) -> Rows:
        match scores.semantics:
            case Semantics.PROBABILITIES:
                return _apportion(scores.values, scores.winner, self._units_in_one)
            case Semantics.BINARY:
                return _round_binary(scores.values, scores.threshold, self._units_in_one)
            case Semantics.LOGITS:
                return self._round_logits(scores)
            case _:
                return _to_multiples(scores.values, self._exponent(scores.values))

    @property
    def _units_in_one(self) -> int:
        return int(10 ** (self.decimals or 0))

    def _exponent(self, values: Rows) -> Rows:
        """The power of ten of each number's unit."""
        if self.significant is None:
            return np.full(values.shape, -float(self.decimals or 0))
        magnitude = np.floor(np.log10(np.abs(values)))
        # Nothing below 1e-290 is rounded: its unit would be too small for a float64.
        return np.where(magnitude < -290.0, -np.inf, magnitude - self.significant + 1.0)

    def _round_logits(self, scores: Scores) -> Rows:
        exponent = self._exponent(scores.values)
        rounded = _to_multiples(scores.values, exponent)
        top = np.arange(len(rounded)), scores.winner
        own, unit = rounded[top], exponent[top]
        reached = (_must_trail(scores.values, scores.winner) & (rounded >= own[:, None])).any(axis=1)
        rounded[top] = _to_multiples(own + np.where(reached, 10.0**unit, 0.0), unit)
        return rounded


def _to_multiples(values: Rows, exponent: Rows) -> Rows:
    """The nearest multiples of 10**exponent; a number too large or too small for its unit stays."""
    usable = np.isfinite(exponent)
    scale = 10.0 ** np.where(usable, np.abs(exponent), 0.0)
    fine = np.rint(values * scale) / scale
    coarse = np.rint(values / scale) * scale
    rounded = np.where(exponent <= 0.0, fine, coarse)
    return np.where(usable & np.isfinite(rounded), rounded, values)


def _must_trail(values: Rows, winner: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Marks the classes that have to stay below the winner: all but itself and later ones that tie with it."""
    trail: NDArray[np.bool_] = values < values[np.arange(len(values)), winner, None]
    return trail | (np.arange(values.shape[1]) < winner[:, None])


def _apportion(p: Rows, winner: NDArray[np.intp], units_in_one: int) -> Rows:
    """Multiples of 1 / units_in_one that sum to 1, by largest remainders, the winner on top."""
    top = np.arange(len(p)), winner
    shares = p * (units_in_one / p.sum(axis=1, keepdims=True))
    units = np.floor(shares)
    rest = shares - units
    left = units_in_one - units.sum(axis=1)
    # How far each class is below the highest place that it may have while the winner gets nothing more.
    room = units[top][:, None] - units - _must_trail(p, winner)
    room[top] = np.inf
    bonus = _winner_bonus(rest, room, left, winner)
    # Whoever has room for one more unit stands in line; the winner has been served.
    queue = np.where(room + bonus[:, None] >= 1.0, rest, -1.0)
    queue[top] = -1.0
    units += largest(queue, (left - bonus).astype(np.intp))
    units[top] += bonus
    multiples: Rows = units / units_in_one
    return multiples


def _winner_bonus(rest: Rows, room: Rows, left: NDArray[np.float64], winner: NDArray[np.intp]) -> NDArray[np.float64]:
    """Units for the winner: its turn by remainder, or as many as make room for all that are left.

    Two always do: with two more, every other class may take one, and fewer units are left than there are classes.
    """
    own = rest[np.arange(len(rest)), winner, None]
    ahead = (rest > own) | ((rest == own) & (np.arange(rest.shape[1]) < winner[:, None]))
    turn = (ahead.sum(axis=1) < left).astype(np.float64)
    lowest = room.min(axis=1)
    takers = [(room >= 1.0 - bonus).sum(axis=1) - 1 for bonus in (0, 1)]
    needed = np.where(
        (lowest >= 0.0) & (takers[0] >= left), 0.0, np.where((lowest >= -1.0) & (takers[1] + 1 >= left), 1.0, 2.0)
    )
    bonus: NDArray[np.float64] = np.minimum(np.maximum(turn, needed), left)
    return bonus


def _round_binary(p: Rows, threshold: float, units_in_one: int) -> Rows:
    units = np.rint(p * units_in_one)
    edge = threshold * units_in_one
    slack = 1e-6  # the threshold may be a multiple itself, but for the last bits of a float64
    below = np.minimum(units, np.ceil(edge - slack) - 1.0)
    above = np.maximum(units, np.floor(edge + slack) + 1.0)
    rounded: Rows = np.where(p < threshold, below, above) / units_in_one
    return np.where(p == threshold, threshold, rounded)
