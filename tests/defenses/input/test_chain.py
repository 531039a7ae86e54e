"""A chain of steps: its own type and range, whatever the steps, and what it refuses."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from defenses.input import BitDepth, InputChain, InputDefense, InvalidInputError, Median, RandomNoise, Range
from defenses.input.base import Array, Batch, Content
from defenses.input.chain import to_dtype, working_dtype
from tests.defenses.input.images import FILTERS, LEVELS, NOISE, PLACED, batches, repeatable, seeds_for
from tests.defenses.input.images import Range as Bounds


@dataclass
class Step:
    """A step that returns what it is told to, and keeps what it was given."""

    change: Any = field(default=lambda batch: batch.values)
    takes: Content = "numbers"
    ranged: bool = False
    finite: bool = True
    kind: str = "own"
    given: list[Batch] = field(default_factory=list)

    def __call__(self, batch: Batch) -> Array:
        self.given.append(batch)
        result: Array = self.change(batch)
        return result


@repeatable
@given(batch=batches(), steps=st.lists(st.sampled_from(FILTERS + LEVELS + NOISE + PLACED), min_size=2, max_size=4))
def test_any_chain_keeps_its_promises(batch: tuple[NDArray[Any], Bounds], steps: list[InputDefense]) -> None:
    values, bounds = batch
    chain = InputChain("x", tuple(steps), bounds)
    seeds = seeds_for(len(values))
    before = values.tobytes()
    after = chain(values, seeds)
    assert values.tobytes() == before
    assert (after.shape, after.dtype) == (values.shape, values.dtype)
    if any(step.ranged for step in steps):
        assert after.min() >= bounds[0]
        assert after.max() <= bounds[1]
    for row in range(len(values)):
        assert chain(values[row : row + 1], seeds[row : row + 1]).tobytes() == after[row].tobytes()


def test_without_steps_the_very_array_comes_back() -> None:
    values = np.array([[np.nan]])
    assert InputChain("x", ())(values, seeds_for(1)) is values


def test_steps_follow_their_order() -> None:
    values = np.array([[0.3]], dtype=np.float32)
    add, double = Step(lambda batch: batch.values + 1), Step(lambda batch: batch.values * 2)
    assert InputChain("x", (add, double))(values, seeds_for(1)).tolist() == [[pytest.approx(2.6)]]
    assert InputChain("x", (double, add))(values, seeds_for(1)).tolist() == [[pytest.approx(1.6)]]


def test_the_same_step_twice_draws_other_numbers() -> None:
    values = np.full((1, 400), 0.5)
    once = InputChain("x", (RandomNoise(sigma=0.01),), (0.0, 1.0))(values, seeds_for(1)) - 0.5
    twice = InputChain("x", (RandomNoise(sigma=0.01),) * 2, (0.0, 1.0))(values, seeds_for(1)) - 0.5
    assert abs(np.corrcoef(once[0], (twice - once)[0])[0, 1]) < 0.3


def test_a_step_gets_read_only_floats_and_its_own_seeds() -> None:
    first, second = Step(), Step()
    seeds = seeds_for(2)
    InputChain("x", (first, second))(np.zeros((2, 3), dtype=np.uint8), seeds)
    one, other = first.given[0], second.given[0]
    assert one.values.dtype == np.float32
    assert not one.values.flags.writeable
    assert len({*seeds.tolist(), *one.seeds.tolist(), *other.seeds.tolist()}) == 6


@pytest.mark.parametrize(
    ("expected", "dtypes"),
    [
        ("float32", "float16 float32 int8 uint8 int16 uint16"),
        ("float64", "float64 int32 uint32 int64 uint64"),
    ],
)
def test_the_working_type_depends_on_what_it_has_to_hold(expected: str, dtypes: str) -> None:
    assert {working_dtype(np.dtype(dtype)) for dtype in dtypes.split()} == {np.dtype(expected)}


def test_a_ranged_step_sees_clipped_values_and_is_clipped() -> None:
    step = Step(lambda batch: batch.values * 2, ranged=True)
    after = InputChain("x", (step,), (0.0, 1.0))(np.array([[-5.0, 0.25, 0.75, 9.0]]), seeds_for(1))
    assert step.given[0].values.tolist() == [[0.0, 0.25, 0.75, 1.0]]
    assert step.given[0].range == (0.0, 1.0)
    assert after.tolist() == [[0.0, 0.5, 1.0, 1.0]]


def test_a_range_step_before_refuses_what_would_be_clipped() -> None:
    chain = InputChain("x", (Range(low=0, high=1), BitDepth(bits=1)), (0.0, 1.0))
    with pytest.raises(InvalidInputError, match=r"1\.5"):
        chain(np.array([[0.2], [1.5]]), seeds_for(2))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_results_beyond_an_integer_type_become_its_ends(dtype: str) -> None:
    info = np.iinfo(dtype)
    far = Step(lambda batch: np.where(np.arange(3) == 1, -1e30, 1e30) + 0 * batch.values)
    assert InputChain("x", (far,))(np.ones((1, 3), dtype=dtype), seeds_for(1)).tolist() == [
        [info.max, info.min, info.max]
    ]


@repeatable
@given(
    values=st.lists(st.floats(-1e5, 1e5), min_size=1, max_size=9), dtype=st.sampled_from(["uint8", "int16", "int32"])
)
def test_integers_are_the_nearest(values: list[float], dtype: str) -> None:
    info = np.iinfo(dtype)
    expected = [min(max(round(value), info.min), info.max) for value in values]  # round: halves to even, as here
    assert to_dtype(np.array(values), np.dtype(dtype)).tolist() == expected


def test_float16_ends_at_its_last_finite_number() -> None:
    assert to_dtype(np.array([1e9, -1e9, np.inf], dtype=np.float32), np.dtype(np.float16)).tolist() == [
        65504.0,
        -65504.0,
        np.inf,
    ]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "uint64"])
def test_what_no_step_changes_keeps_its_bits(dtype: str) -> None:
    if dtype.startswith("float"):
        values = np.array([[np.nan, -np.nan, -0.0, np.inf, np.finfo(dtype).smallest_subnormal, 1.0]], dtype=dtype)
    else:
        values = np.array([[np.iinfo(dtype).max, np.iinfo(dtype).max - 1, np.iinfo(dtype).min, 1, 2, 3]], dtype=dtype)
    last = Step(lambda batch: np.where(np.arange(6) == 5, 7.0, batch.values), finite=False)
    after = InputChain("x", (last,))(values, seeds_for(1))
    assert after[:, :5].tobytes() == values[:, :5].tobytes()
    assert after[0, 5] == 7


def test_a_flat_row_is_seen_in_its_shape_and_comes_back_flat() -> None:
    step = Step()
    values = np.arange(24, dtype=np.float32).reshape(2, 12)
    after = InputChain("x", (step, Median(size=2)), shape=(2, 3, 2))(values, seeds_for(2))
    assert step.given[0].values.shape == (2, 2, 3, 2)
    assert after.shape == (2, 12)
    with pytest.raises(InvalidInputError, match=r"^a row has 11 values; 12 are expected, as \[2, 3, 2\]$"):
        InputChain("x", (step,), shape=(2, 3, 2))(values[:, :11], seeds_for(2))


@pytest.mark.parametrize(
    ("steps", "bounds", "text"),
    [
        ((BitDepth(bits=2),), None, "input 'x': bit_depth has to know the range of the values; set range"),
        ((BitDepth(bits=2),), (1.0, 0.0), r"input 'x': range is \[1.0, 0.0\]; write \[LOWEST, HIGHEST\]"),
        ((BitDepth(bits=2),), (0.0, np.inf), r"input 'x': range is \[0.0, inf\]"),
        ((Step(), Step(takes="bytes")), None, "input 'x': steps for numbers and for bytes cannot be mixed"),
    ],
)
def test_a_chain_that_cannot_work_is_refused_when_made(steps: Any, bounds: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        InputChain("x", steps, bounds)


def test_what_a_step_cannot_take_is_refused() -> None:
    chain = InputChain("x", (Median(size=2),))
    with pytest.raises(InvalidInputError, match="a scalar has no rows; send a batch, rows first"):
        chain(np.array(1.0), seeds_for(1))
    with pytest.raises(InvalidInputError, match="takes strings of bytes, not float64; send DT_STRING"):
        InputChain("x", (Step(takes="bytes"),))(np.zeros((1, 1)), seeds_for(1))
    with pytest.raises(ValueError, match=r"seeds have the shape \(3,\); 2 rows need \(2,\)"):
        chain(np.zeros((2, 3, 3)), seeds_for(3))


def test_a_step_that_returns_another_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"input 'x': .*'own'.* returned the shape \(1,\), not \(1, 2\)"):
        InputChain("x", (Step(lambda batch: batch.values[:, 0]),))(np.zeros((1, 2)), seeds_for(1))


def test_strings_pass_as_they_are() -> None:
    step = Step(lambda batch: np.array([value.upper() for value in batch.values], dtype=object), takes="bytes")
    after = InputChain("x", (step,))(np.array([b"a", b"b"], dtype=object), seeds_for(2))
    assert after.tolist() == [b"A", b"B"]
