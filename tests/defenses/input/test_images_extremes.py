"""Images that are tiny, thin, large or constant."""

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from defenses.input import (
    BitDepth,
    InputChain,
    InputDefense,
    Jpeg,
    Median,
    NonLocalMeans,
    RandomNoise,
    RandomResizePad,
    TotalVariation,
)
from tests.defenses.input.images import FILTERS, LEVELS, STEPS, names, seeds_for

Floats = NDArray[np.float32]

MODEST = 16 * 2**20
"""Bytes that a piece of work may take whatever the size of the input."""

LARGE: list[InputDefense] = [
    BitDepth(bits=4),
    Median(size=2),
    Median(size=9),
    NonLocalMeans(search=5),
    NonLocalMeans(search=7, patch=7),
    Jpeg(),
    TotalVariation(iterations=5),
    RandomResizePad(),
    RandomNoise(),
]


@pytest.mark.parametrize("step", STEPS, ids=names)
@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 1), (1, 1, 3), (1, 60), (60, 1), (2, 3, 5), (1, 1, 200)])
def test_images_smaller_than_the_window_are_cleaned(step: InputDefense, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).random((2, *shape), dtype=np.float32)
    after = InputChain("x", (step,), (0.0, 1.0))(values, seeds_for(2))
    assert after.shape == values.shape
    assert np.isfinite(after).all()


@pytest.mark.parametrize("step", [step for step in FILTERS if step.kind != "jpeg"], ids=names)
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_image_stays_what_it_is(step: InputDefense, value: float) -> None:
    eight_bits = np.full((1, 20, 20, 3), round(value * 255), dtype=np.uint8)
    assert InputChain("x", (step,), (0.0, 255.0))(eight_bits, seeds_for(1)).tobytes() == eight_bits.tobytes()
    single = np.full((1, 20, 20, 3), value, dtype=np.float32)
    np.testing.assert_allclose(InputChain("x", (step,), (0.0, 1.0))(single, seeds_for(1)), single, atol=1e-6)


@pytest.mark.parametrize("step", LARGE, ids=names)
@pytest.mark.parametrize(
    "shape", [(600, 700, 1), (8, 50_000, 1), (50_000, 8, 1), (400_000, 1), (1, 400_000), (40, 41, 256)]
)
def test_memory_stays_within_twenty_times_the_input(step: InputDefense, shape: tuple[int, ...]) -> None:
    if step.kind == "jpeg" and max(shape) > 65_500:
        pytest.skip("no JPEG")
    values = np.random.default_rng(0).random((1, *shape), dtype=np.float32)
    chain = InputChain("x", (step,), (0.0, 1.0))
    chain(values[:, :9, :9], seeds_for(1))  # imports
    assert _most_memory(chain, values) < 20 * values.nbytes + MODEST


def test_memory_does_not_grow_with_the_window_times_the_batch() -> None:
    values = np.random.default_rng(0).random((2000, 28, 28, 1), dtype=np.float32)
    assert _most_memory(InputChain("x", (Median(size=9),)), values) < 20 * values.nbytes


def _most_memory(chain: InputChain, values: Floats) -> int:
    tracemalloc.start()
    try:
        chain(values, seeds_for(len(values)))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("step", [step for step in LEVELS + FILTERS if step.ranged], ids=names)
def test_values_far_outside_the_range_are_clipped_first(step: InputDefense) -> None:
    largest = np.finfo(np.float32).max
    values = np.random.default_rng(0).choice([-largest, largest], size=(1, 8, 8)).astype(np.float32)
    clipped = np.clip(values, 0.0, 1.0)
    chain = InputChain("x", (step,), (0.0, 1.0))
    assert chain(values, seeds_for(1)).tobytes() == chain(clipped, seeds_for(1)).tobytes()
