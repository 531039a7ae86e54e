"""Observations of a small model: three classes of points in twelve dimensions, and a linear rule between them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.features import Extractor, summarise
from detectors.observation import Observation
from detectors.workloads import benign

SALT = b"a salt of sixteen"
COLUMNS = 12
EXTRACTOR = Extractor(SALT)

Rows = NDArray[np.float32]


def model(rows: Rows) -> NDArray[np.float64]:
    """(n, 3) probabilities: a softmax over the first three columns."""
    raised = np.exp(2 * rows[:, :3].astype(np.float64))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def natural(count: int, rng: np.random.Generator) -> Rows:
    """Rows around three centres."""
    rows = rng.normal(0, 1, (count, COLUMNS))
    rows[np.arange(count), rng.integers(0, 3, count)] += 3
    return rows.astype(np.float32)


def observed(rows: Rows, time: float, caller: str, *groups: str) -> Observation:
    features, said = EXTRACTOR({"x": rows}, len(rows)), summarise(model(rows))
    return Observation(time, caller, groups or (f"network:{caller}",), "m", "", features, said)


def traffic(callers: int, seed: int) -> list[Observation]:
    """An hour of benign callers."""
    rng = np.random.default_rng(seed)
    rows = natural(4000, rng)
    calls = benign(rows, model(rows).argmax(axis=1), callers, rng, f"benign{seed}")
    return [observed(np.asarray(call.rows), call.time, call.caller) for call in calls]


def walk(rng: np.random.Generator, steps: int = 120) -> list[Rows]:
    """A decision-boundary walk: bisection between two classes, then small steps along the boundary, and again."""
    inner, outer = natural(1, rng), natural(1, rng)
    while model(inner).argmax() == model(outer).argmax():
        outer = natural(1, rng)
    own = model(inner).argmax()
    asked: list[Rows] = []
    for at in range(steps):
        if at % 30 < 20:
            middle = (inner + outer) / np.float32(2)
            asked.append(middle)
            if model(middle).argmax() == own:
                inner = middle
            else:
                outer = middle
        else:
            asked.append(outer + rng.normal(0, 0.02, outer.shape).astype(np.float32))
            if model(asked[-1]).argmax() != own:
                outer = asked[-1]
    return asked


def sent(rows: Sequence[Rows], caller: str = "attacker", start: float = 0.0) -> list[Observation]:
    """Rows one call after the other, ten a second."""
    return [observed(each, start + at / 10, caller) for at, each in enumerate(rows)]
