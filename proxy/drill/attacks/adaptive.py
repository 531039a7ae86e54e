"""OARS (Feng et al., CCS 2023, arXiv 2303.06280): attacks that take the detector itself for an oracle.

A refusal, or an answer that an earlier, different row got to the last bit, tells that a row was too near to an earlier
one. The attack then *adapts* its proposals' spread to the smallest that passes, and *resamples* what was rejected. Here
it is put around a random search by scores (like Square) and a walk along the boundary (like HopSkipJump), each in a
compact form of its own.
"""

from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from proxy.drill.attacks.contract import Probabilities, RefusedError, Rows
from proxy.drill.attacks.hunt import Evasion, Hunt

Row = NDArray[np.float32]

UNRELATED = 6
"""Of the attacker's own rows, asked first: if two of them get one answer, sameness says nothing here."""
RESAMPLES = 5
"""Proposals in a row that may be rejected before the spread grows."""
GROWTH = 1.5
"""Of the spread, after as many rejections; it shrinks by its square root while proposals pass."""
SMALLEST = 1e-7


class _Wary:
    """Asks for one row a call, and tells which answers to believe.

    Attributes:
        rejected: rows refused, or answered with an earlier row's answer.
    """

    def __init__(self, hunt: Hunt, rng: np.random.Generator) -> None:
        self._hunt = hunt
        self._seen: dict[bytes, bytes] = {}
        self.rejected = 0
        self._telling = self._sameness_tells(hunt.target.pool[rng.permutation(len(hunt.target.pool))[:UNRELATED]])

    def _sameness_tells(self, unrelated: Rows) -> bool:
        answers = []
        for row in unrelated:
            with suppress(RefusedError):
                answers.append(self._hunt.ask(row[None]).tobytes())
        return len(set(answers)) == len(answers)

    def __call__(self, row: Row) -> Probabilities | None:
        """The answer (classes,), or None for a rejected row. Raises OverError."""
        row = row.clip(0, 1).astype(np.float32)
        try:
            answers = self._hunt.ask(row[None])
        except RefusedError:
            self.rejected += 1
            return None
        told, name = answers.tobytes(), row.tobytes()
        if answers.max() < 1 and self._seen.setdefault(told, name) != name and self._telling:
            self.rejected += 1
            return None
        self._hunt.note(row[None], answers)
        answer: Probabilities = answers[0]
        return answer

    def misleads(self, row: Row) -> bool | None:
        """Whether the row is misclassified; None for a rejected one."""
        answer = self(row)
        return None if answer is None else bool(answer.argmax() != self._hunt.label)


class _Spread:
    """A proposal's size, adapted to what passes: from `least`, at first `now`, to `most`."""

    def __init__(self, now: float, least: float, most: float) -> None:
        self.now, self._least, self._most = now, least, most
        self._rejections = 0

    def passed(self) -> None:
        self._rejections = 0
        self.now = max(self._least, self.now / GROWTH**0.5)

    def rejected(self) -> None:
        self._rejections += 1
        if self._rejections % RESAMPLES == 0:
            self.now = min(self._most, self.now * GROWTH)


def _square(hunt: Hunt, rng: np.random.Generator) -> None:
    """Squares set to the ball's surface, kept when the margin falls. Refusals cost no rows, so turns are bounded."""
    ask = _Wary(hunt, rng)
    floor = 1 / hunt.seed.size
    spread = _Spread(0.3, floor, 1.0)
    best, margin = hunt.seed, _margin(ask(hunt.seed), hunt.label)
    for turn in range(10 * hunt.allowance):
        smallest = max(floor, 0.3 * 0.5 ** (12 * turn / max(1, hunt.allowance)))
        proposal = _with_square(hunt, best, max(spread.now, smallest), rng)
        answer = ask(proposal)
        if answer is None:
            spread.rejected()
            continue
        spread.passed()
        found = _margin(answer, hunt.label)
        if found < margin:
            best, margin = proposal, found
        if margin < 0:
            return


def _margin(answer: Probabilities | None, label: int) -> float:
    """Of the label over the likeliest other class, in logarithms; below 0 for a misclassified row."""
    if answer is None:
        return np.inf
    logarithms = np.log(np.maximum(answer, SMALLEST))
    return float(logarithms[label] - np.delete(logarithms, label).max())


def _with_square(hunt: Hunt, row: Row, share: float, rng: np.random.Generator) -> Row:
    """A copy with a random square (of a table row: random features) of that share of the values moved by +-epsilon."""
    changed = row.copy()
    if row.ndim == 3:
        side = int(np.clip(round((share * row.shape[0] * row.shape[1]) ** 0.5), 1, min(row.shape[:2])))
        top, left = (int(rng.integers(size - side + 1)) for size in row.shape[:2])
        at: tuple[slice, ...] | NDArray[np.int64] = (slice(top, top + side), slice(left, left + side))
        signs = rng.choice([-1.0, 1.0], size=(1, 1, row.shape[2]))
    else:
        at = rng.choice(row.size, max(1, round(share * row.size)), replace=False)
        signs = rng.choice([-1.0, 1.0], size=len(at))
    changed[at] = hunt.seed[at] + hunt.target.epsilon * signs
    return np.asarray(changed.clip(0, 1), np.float32)


def _boundary(hunt: Hunt, rng: np.random.Generator) -> None:
    """In turn: halve the way to the seed, sample the boundary's slope, step along it; each as far as it passes."""
    ask = _Wary(hunt, rng)
    point = _start(ask, hunt, rng)
    if point is None:
        return
    spread = _Spread(0.1, 0.01, 1.0)
    for turn in range(hunt.allowance):
        point = _nearer(ask, hunt, point, rng)
        slope = _slope(ask, hunt, point, spread, turn, rng)
        point = _step(ask, hunt, point, slope, turn, rng)


def _start(ask: _Wary, hunt: Hunt, rng: np.random.Generator) -> Row | None:
    pool, labels = hunt.target.pool, hunt.target.pool_labels
    others = pool[labels != hunt.label]
    distances = np.linalg.norm((others - hunt.seed).reshape(len(others), hunt.seed.size), axis=1)
    noise = rng.random((20, *hunt.seed.shape), np.float32)
    for row in (*others[np.argsort(distances)[:20]], *noise):
        if ask.misleads(row):
            return np.asarray(row, np.float32)
    return None


def _nearer(ask: _Wary, hunt: Hunt, point: Row, rng: np.random.Generator) -> Row:
    """The misclassified row found on the way to the seed before the halving steps are rejected."""
    low, high, rejections = 0.0, 1.0, 0
    while high - low > 0.03 and rejections < RESAMPLES:
        share = low + (high - low) * rng.uniform(0.35, 0.65)
        found = ask.misleads(_between(hunt.seed, point, share))
        if found is None:
            rejections += 1
        elif found:
            high = share
        else:
            low = share
    return _between(hunt.seed, point, high)


def _between(seed: Row, point: Row, share: float) -> Row:
    return np.asarray(seed + np.float32(share) * (point - seed), np.float32)


def _slope(ask: _Wary, hunt: Hunt, point: Row, spread: _Spread, turn: int, rng: np.random.Generator) -> Row:
    """The direction (unit L2) in which rows are misclassified, from probes at `spread` times the distance."""
    distance = max(hunt.distance(point), SMALLEST)
    wanted = int(8 * (turn + 1) ** 0.5)
    directions, signs = [], []
    for _ in range(3 * wanted):
        direction = _unit(rng.standard_normal(point.shape, np.float32))
        found = ask.misleads(point + spread.now * distance * direction)
        if found is None:
            spread.rejected()
            continue
        spread.passed()
        directions.append(direction)
        signs.append(1.0 if found else -1.0)
        if len(signs) == wanted:
            break
    if not signs:
        return _unit(rng.standard_normal(point.shape, np.float32))
    weights = np.asarray(signs) - (np.mean(signs) if len(set(signs)) > 1 else 0)
    return _unit(np.tensordot(weights, np.stack(directions), axes=1))


def _unit(direction: NDArray[np.floating]) -> Row:
    return np.asarray(direction / max(float(np.linalg.norm(direction)), SMALLEST), np.float32)


def _step(ask: _Wary, hunt: Hunt, point: Row, slope: Row, turn: int, rng: np.random.Generator) -> Row:
    """The row farthest along the slope that is misclassified, of a few ever shorter steps; else the point itself."""
    length = hunt.distance(point) / (turn + 1) ** 0.5
    for _ in range(2 * RESAMPLES):
        proposal = np.asarray((point + length * slope).clip(0, 1), np.float32)
        found = ask.misleads(proposal)
        if found:
            return proposal
        length *= rng.uniform(0.7, 1.1) if found is None else 0.5
    return point


OARS_SQUARE = Evasion("OARS Square", "inf", _square)
OARS_BOUNDARY = Evasion("OARS HopSkipJump", "2", _boundary)
