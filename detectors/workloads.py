"""Benign callers, simulated: what they send and when, from a sample of rows.

For calibration where no traffic was recorded yet, and for drills. Time is simulated; nothing here waits.

| kind | share | what it does |
|---|---|---|
| plain | 0.50 | some tens of distinct rows, singly or in small batches |
| retries | 0.10 | the same, and three of ten calls are sent again once or more, unchanged |
| polling | 0.10 | one row, again and again |
| frames | 0.15 | a noisy scene, light steady or not, the camera still or moving; tables: a drifting record |
| skewed | 0.14 | rows of one or two classes only |
| batch | 0.01 | two thousand distinct rows at once |
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Kind = Literal["plain", "retries", "polling", "frames", "skewed", "batch"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SHARES = (0.50, 0.10, 0.10, 0.15, 0.14, 0.01)
HOUR = 3600.0
AN_HOUR = 1_000
"""Callers that begin in one hour: more of them take longer, so that a long record is no denser than a short one."""
BATCH_ROWS = 2000
BATCH_CALL = 50
FRAME_SECONDS = 0.5
_SIZES = (1, 1, 1, 4, 16)
"""Rows of plain calls."""

Rows = NDArray[Any]


@dataclass(frozen=True, slots=True)
class BenignCall:
    """Attributes: time in seconds from the start, the caller, its kind, and the rows (n, ...) that it sends."""

    time: float
    caller: str
    kind: Kind
    rows: Rows


def benign(
    rows: Rows, classes: NDArray[np.int64], callers: int, rng: np.random.Generator, prefix: str = "caller"
) -> Sequence[BenignCall]:
    """Benign calls of AN_HOUR callers an hour, in the order of their times.

    Args:
        rows: (n, ...) that callers draw from, of numbers or bytes; a caller does not draw a row twice, several callers
            may draw the same.
        classes: (n,) of the rows, for skewed callers.
        callers: how many.
        rng: throws everything.
        prefix: of the callers' names.
    """
    kinds = rng.choice(len(KINDS), callers, p=SHARES)
    span = image_span(rows) if rows.dtype != object and rows.ndim > 2 else (0.0, 1.0)
    last = 0.8 * HOUR * max(1.0, callers / AN_HOUR)
    calls = []
    for at, kind in enumerate(kinds.tolist()):
        name = f"{prefix}-{at:05d}"
        start = float(rng.uniform(0, last))
        calls += [
            BenignCall(time, name, KINDS[kind], part)
            for time, part in _sent(KINDS[kind], rows, classes, span, start, rng)
        ]
    return sorted(calls, key=lambda call: call.time)


def image_span(images: Rows) -> tuple[float, float]:
    """The range that images share: [0, 1] or [0, 255] if they fit, else from their least value to their largest."""
    low, high = float(images.min()), float(images.max())
    if low >= 0 and high <= 255:
        return (0.0, 1.0) if high <= 1 else (0.0, 255.0)
    return low, high


def _sent(
    kind: Kind,
    rows: Rows,
    classes: NDArray[np.int64],
    span: tuple[float, float],
    time: float,
    rng: np.random.Generator,
) -> Iterator[tuple[float, Rows]]:
    match kind:
        case "polling":
            own = _one(rows, rng)
            yield from ((time + 5.0 * at, own) for at in range(int(rng.integers(20, 100))))
        case "frames":
            scene = frames(_one(rows, rng), int(rng.integers(30, 200)), rng, span)
            yield from ((time + FRAME_SECONDS * at, scene[at : at + 1]) for at in range(len(scene)))
        case "batch":
            chosen = rng.choice(len(rows), min(BATCH_ROWS, len(rows)), replace=False)
            for at in range(0, len(chosen), BATCH_CALL):
                yield time + at * 4e-4, rows[chosen[at : at + BATCH_CALL]]
        case _:
            pool = np.arange(len(rows))
            if kind == "skewed":
                wanted = rng.choice(np.unique(classes), int(rng.integers(1, 3)), replace=True)
                pool = np.flatnonzero(np.isin(classes, wanted))
            yield from _plain(rows, pool, time, kind == "retries", rng)


def _one(rows: Rows, rng: np.random.Generator) -> Rows:
    """(1, ...): any of them."""
    at = int(rng.integers(len(rows)))
    return rows[at : at + 1]


def _plain(
    rows: Rows, pool: NDArray[np.int64], time: float, retries: bool, rng: np.random.Generator
) -> Iterator[tuple[float, Rows]]:
    left = rng.choice(pool, min(len(pool), int(rng.integers(5, 80))), replace=False)
    while len(left):
        size = int(rng.choice(_SIZES))
        own, left = rows[left[:size]], left[size:]
        time += float(rng.exponential(5.0))
        yield time, own
        if retries and rng.random() < 0.3:
            yield from ((time + 0.1 * again, own) for again in range(1, int(rng.integers(2, 5))))


def frames(scene: Rows, count: int, rng: np.random.Generator, span: tuple[float, float] = (0.0, 1.0)) -> Rows:
    """What a sensor sees of one scene: (count, ...) with fresh noise each time.

    Images (1, H, W) or (1, H, W, C): noise of 0.5 to 12 of 255 levels, 8-bit values. The camera stands still, shakes,
    wanders or pans, by fractions of a pixel or some pixels; the light is steady, drifts or flickers. Other numbers:
    noise of up to 1 % of each value; in half of them something drifts. Text stays as it is: no sensor blurs it.

    Args:
        scene: (1, ...) of numbers or bytes.
        count: frames.
        rng: throws everything.
        span: of images: the values of black and white.
    """
    if scene.dtype == object:
        return scene.repeat(count, axis=0)
    scene = scene[0]
    light = _light(count, rng).reshape(count, *(1 for _ in scene.shape))
    if scene.ndim < 2:
        noise = rng.normal(0, 1, (count, *scene.shape)) * np.abs(scene) * rng.uniform(0.001, 0.01)
        return np.asarray(scene * light + noise, dtype=scene.dtype)
    low, high = span
    width = high - low or 1.0
    scaled = scene if span == (0.0, 1.0) else (scene.astype(np.float32) - low) / width
    level = np.exp(rng.uniform(np.log(0.5), np.log(12))) / 255
    seen = np.stack([_moved(scaled, down, right) for down, right in _path(count, rng)]) * light
    seen = seen + rng.normal(0, level, seen.shape)
    levels = np.round(seen.clip(0, 1) * 255)
    values = levels / 255 if span == (0.0, 1.0) else low + levels * width / 255
    return np.asarray(np.rint(values) if scene.dtype.kind in "iu" else values, dtype=scene.dtype)


def _light(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(count,) factors: steady, drifting or flickering light."""
    match rng.choice(4):
        case 0:
            return 1 + np.cumsum(rng.normal(0, rng.uniform(0.001, 0.005), count))
        case 1:
            return 1 + rng.normal(0, rng.uniform(0.005, 0.05), count)
        case _:
            return np.ones(count)


def _path(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(count, 2) places of the camera in pixels: still, shaking, wandering or panning."""
    match rng.choice(5):
        case 0:
            return rng.normal(0, rng.uniform(0.05, 0.5), (count, 2))
        case 1:
            return np.cumsum(rng.normal(0, rng.uniform(0.02, 0.2), (count, 2)), axis=0)
        case 2:
            return np.linspace(0, 1, count)[:, np.newaxis] * rng.normal(0, 2, 2)
        case _:
            return np.zeros((count, 2))


def _moved(scene: Rows, down: float, right: float) -> Rows:
    """By a number of pixels along each side, whole or not, with the border kept."""
    for axis, by in ((0, down), (1, right)):
        places = np.clip(np.arange(scene.shape[axis]) - by, 0, scene.shape[axis] - 1)
        low = np.floor(places).astype(int)
        high = np.minimum(low + 1, scene.shape[axis] - 1)
        share = (places - low).reshape([-1 if at == axis else 1 for at in range(scene.ndim)])
        scene = scene.take(low, axis) * (1 - share) + scene.take(high, axis) * share
    return scene
