"""Rows made to break promises: ties, neighbours one unit in the last place apart, zeros, denormals, extremes."""

from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from defenses.output import (
    AnswerDefense,
    Chain,
    LabelOnly,
    Noise,
    ReverseSigmoid,
    Round,
    Semantics,
    Temperature,
    TopK,
)

repeatable = settings(derandomize=True, deadline=None, max_examples=25)

DTYPES = [np.dtype(t) for t in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)]

# A typed list: the type checker says at once which defense misses a part of the protocol.
DEFENSES: list[AnswerDefense] = [
    Round(decimals=0),
    Round(decimals=1),
    Round(decimals=3),
    Round(significant=1),
    Round(significant=4),
    TopK(k=1),
    TopK(k=2),
    TopK(k=3, rest="uniform"),
    LabelOnly(),
    Temperature(temperature=0.05),
    Temperature(temperature=7.0),
    Temperature(temperature=1000.0),
    Noise(epsilon=0.05),
    Noise(epsilon=2.0),
    Noise(epsilon=0.3, norm="linf"),
    Noise(epsilon=50.0, norm="linf"),
    ReverseSigmoid(),
    ReverseSigmoid(beta=0.1, gamma=1.0),
    ReverseSigmoid(beta=1.0, gamma=1.0),
]

CHAINS: list[tuple[AnswerDefense, ...]] = [
    (Temperature(temperature=1000.0), Round(decimals=1)),
    (ReverseSigmoid(), Noise(epsilon=0.5), TopK(k=2, rest="uniform"), Round(decimals=2)),
    (Noise(epsilon=1.0, norm="linf"), Temperature(temperature=0.1), ReverseSigmoid(beta=0.5)),
    (Round(decimals=1), Noise(epsilon=0.2)),
]


@cache
def chains(semantics: Semantics) -> list[Chain]:
    """Every built-in step alone and in company, as far as it applies."""
    steps = [(step,) for step in DEFENSES] + CHAINS
    return [Chain("out", semantics, each) for each in steps if all(semantics in step.applies_to for step in each)]


def neighbour(value: Any, towards: float) -> Any:
    return np.nextafter(value, value.dtype.type(towards))


@st.composite
def batches(draw: st.DrawFn, semantics: Semantics, dtype: np.dtype[Any]) -> NDArray[Any]:
    """(rows, classes) that may mean `semantics`."""
    rows, classes = draw(st.integers(1, 4)), draw(st.integers(2, 9))
    make = {Semantics.PROBABILITIES: distribution, Semantics.LOGITS: logits}.get(semantics, probabilities_of_yes)
    return np.stack([draw(make(classes, dtype)) for _ in range(rows)])


@st.composite
def distribution(draw: st.DrawFn, classes: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    weight = st.one_of(st.sampled_from([0.0, 0.0, 1.0, 1.0, 2.0, 3.0, 1e-3, 1e-12, 1e3]), st.floats(0.01, 1.0))
    weights = np.array(draw(st.lists(weight, min_size=classes, max_size=classes)))
    if weights.sum() == 0.0:
        weights[draw(st.integers(0, classes - 1))] = 1.0
    row: NDArray[Any] = (weights / weights.sum()).astype(dtype)
    at = draw(st.integers(0, classes - 1))
    towards = draw(st.sampled_from([float(row[at]), 0.0, 1.0]))  # stays, or moves by one unit in the last place
    row[at] = neighbour(row[at], towards)
    return row


@st.composite
def logits(draw: st.DrawFn, classes: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    largest = float(neighbour(dtype.type(np.inf), 0.0))
    special = [0.0, -0.0, 1.0, 1.0, 2.0, -3.0, 1e-7, largest, -largest]
    value = st.one_of(st.sampled_from(special), st.floats(-30.0, 30.0))
    row = np.array(draw(st.lists(value, min_size=classes, max_size=classes))).astype(dtype)
    at = draw(st.integers(0, classes - 1))
    if draw(st.booleans()) and abs(float(row[at])) < largest:
        row[at] = neighbour(row[at], draw(st.sampled_from([-np.inf, np.inf])))
    return row


@st.composite
def probabilities_of_yes(draw: st.DrawFn, classes: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    half = dtype.type(0.5)
    special = [0.0, 1.0, 0.5, float(neighbour(half, 0.0)), float(neighbour(half, 1.0)), 1e-30]
    value = st.one_of(st.sampled_from(special), st.floats(0.0, 1.0))
    return np.array(draw(st.lists(value, min_size=classes, max_size=classes))).astype(dtype)


def keys_for(rows: int, seed: int = 0) -> NDArray[np.uint64]:
    return np.random.default_rng(seed).integers(0, 2**64, size=rows, dtype=np.uint64)
