"""Steps for images given as arrays, and batches made to break their promises."""

from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from defenses.input import (
    BitDepth,
    InputDefense,
    Jpeg,
    Median,
    NonLocalMeans,
    RandomNoise,
    RandomResizePad,
    Shape,
    TotalVariation,
)

repeatable = settings(derandomize=True, deadline=None, max_examples=30)

Range = tuple[float, float]

# Typed lists: the type checker says at once which step misses a part of the protocol.
FILTERS: list[InputDefense] = [
    Median(size=2),
    Median(size=3),
    Median(size=8),
    Median(size=9),
    NonLocalMeans(),
    NonLocalMeans(search=3, patch=1, strength=0.01),
    NonLocalMeans(search=5, patch=7, strength=1.0),
    Jpeg(quality=1),
    Jpeg(quality=95),
    TotalVariation(iterations=5),
    TotalVariation(weight=10.0, iterations=3),
]
PLACED: list[InputDefense] = [Jpeg(quality=(5, 95)), RandomResizePad(smallest=0.3)]
NOISE: list[InputDefense] = [RandomNoise(), RandomNoise(sigma=1.0)]
LEVELS: list[InputDefense] = [BitDepth(bits=1), BitDepth(bits=4), BitDepth(bits=16)]
SHAPE: list[InputDefense] = [Shape(sizes=(None, (1, 40), None)), Shape(sizes=(None, None))]
STEPS = FILTERS + PLACED + NOISE + LEVELS

RANGES: dict[str, list[Range]] = {
    "float16": [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)],
    "float32": [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-2.5, 2.75)],
    "float64": [(0.0, 1.0), (-1.0, 1.0), (1000.0, 1001.0)],
    "uint8": [(0.0, 255.0), (10.0, 20.0)],
    "int16": [(-100.0, 1000.0), (-32768.0, 32767.0)],
    "int32": [(0.0, 255.0), (-(2.0**31), 2.0**31 - 1)],
}


def names(step: InputDefense) -> str:
    return str(step)[:60]


def seeds_for(rows: int, seed: int = 0) -> NDArray[np.uint64]:
    return np.random.default_rng(seed).integers(0, 2**64, size=rows, dtype=np.uint64)


@st.composite
def batches(draw: st.DrawFn) -> tuple[NDArray[Any], Range]:
    """(rows, height, width) or (rows, height, width, channels), read-only, and the range of most values."""
    dtype = draw(st.sampled_from(sorted(RANGES)))
    low, high = draw(st.sampled_from(RANGES[dtype]))
    size = (draw(st.integers(1, 4)), draw(st.integers(1, 13)), draw(st.integers(1, 13)))
    shape = size + draw(st.sampled_from([(), (1,), (2,), (3,), (4,)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    unit = draw(st.sampled_from([rng.random, np.zeros, np.ones, lambda s: rng.integers(0, 2, s), _ramp]))(shape)
    values = unit * (high - low) + low
    if draw(st.booleans()):  # some values outside
        values = np.where(rng.random(shape) < 0.1, rng.choice([low - 1, high + 1, 0.0, -0.0], shape), values)
    values = _held(values, np.dtype(dtype))
    values.flags.writeable = False
    return values, (low, high)


def _ramp(shape: tuple[int, ...]) -> NDArray[Any]:
    return np.broadcast_to(np.linspace(0.0, 1.0, shape[2]).reshape(1, 1, -1, *(1,) * (len(shape) - 3)), shape)


def _held(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind == "f":
        held: NDArray[Any] = values.astype(dtype)
    else:
        limits = np.iinfo(dtype)
        held = np.clip(np.rint(values), limits.min, limits.max).astype(dtype)
    return held
