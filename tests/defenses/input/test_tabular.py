"""Tables by column: bounds, grids and what is missing; and one of several ways for each row."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from defenses.input import InputChain, InputStep, InvalidInputError

STEP: TypeAdapter[Any] = TypeAdapter(InputStep)


def chain(*steps: dict[str, Any]) -> InputChain:
    return InputChain("x", tuple(STEP.validate_python(step) for step in steps))


def clean(values: Any, *steps: dict[str, Any], dtype: Any = np.float32) -> Any:
    array = np.asarray(values, dtype=dtype)
    before = array.copy()
    after = chain(*steps)(array, np.arange(len(array), dtype=np.uint64))
    np.testing.assert_array_equal(array, before)
    assert (after.shape, after.dtype) == (array.shape, array.dtype)
    return after.tolist()


def test_range() -> None:
    clip = {"kind": "range", "low": 0, "high": 10, "outside": "clip"}
    assert clean([[-1, 5, 11], [np.inf, -np.inf, 3]], clip) == [[0, 5, 10], [10, 0, 3]]
    assert clean([[-1, 5, 11]], clip | {"columns": [2]}) == [[-1, 5, 10]]
    assert clean([[-999, 11]], clip | {"skip": [-999]}) == [[-999, 10]]
    assert np.isnan(clean([[np.nan, 1]], clip)[0][0])
    with pytest.raises(InvalidInputError, match="row 1, column 2 holds 11; send values from 0 to 10"):
        clean([[1, 2, 3], [4, 5, 11]], {"kind": "range", "low": 0, "high": 10})
    with pytest.raises(InvalidInputError, match="row 0 holds -1; send values from 0"):
        clean([-1, 2], {"kind": "range", "low": 0})
    with pytest.raises(InvalidInputError, match="has 2 columns, and column 5 is expected"):
        clean([[1, 2]], {"kind": "range", "low": 0, "columns": [5]})
    with pytest.raises(ValidationError, match="neither low nor high"):
        chain({"kind": "range"})


def test_quantise() -> None:
    assert clean([[0.24, 0.26, -0.1]], {"kind": "quantise", "step": 0.5}) == [[0, 0.5, 0]]
    assert clean([[3, 4]], {"kind": "quantise", "step": 10, "offset": 3}) == [[3, 3]]
    assert clean([[7, 12]], {"kind": "quantise", "step": 10}, dtype=np.int32) == [[10, 10]]
    assert clean([[-999, 12]], {"kind": "quantise", "step": 10, "skip": [-999]}) == [[-999, 10]]


def test_missing() -> None:
    fill = {"kind": "missing", "nan": "replace", "infinity": "replace", "sentinels": [-999], "fill": 7}
    assert clean([[np.nan, -999, np.inf, 1]], fill) == [[7, 7, 7, 1]]
    assert clean([[-999, 1]], fill, dtype=np.int64) == [[7, 1]]
    with pytest.raises(InvalidInputError, match="row 0, column 1 holds nan; send a number"):
        clean([[1, np.nan]], {"kind": "missing"})
    with pytest.raises(InvalidInputError, match="row 0, column 0 holds inf"):
        clean([[np.inf, np.nan]], {"kind": "missing", "nan": "keep"})
    assert clean([[np.nan, 500]], fill, {"kind": "range", "high": 100, "outside": "clip"}) == [[7, 100]]


def test_identifiers_beyond_a_floats_precision_are_not_touched() -> None:
    identifier = 2**62 + 1
    row = [[identifier, 7]]
    assert clean(row, {"kind": "quantise", "step": 10, "columns": [1]}, dtype=np.int64) == [[identifier, 10]]


RULES: list[tuple[dict[str, Any], ...]] = [
    ({"kind": "missing", "nan": "replace", "infinity": "replace"},),
    ({"kind": "range", "low": -3, "high": 3, "outside": "clip", "columns": [0]},),
    ({"kind": "quantise", "step": 0.25},),
    (
        {"kind": "missing", "nan": "replace", "infinity": "keep"},
        {"kind": "range", "low": -3, "high": 3, "outside": "clip"},
        {"kind": "quantise", "step": 0.5},
    ),
    ({"kind": "choice", "of": [[{"kind": "quantise", "step": 1}], [{"kind": "quantise", "step": 0.5}], []]},),
]


@given(
    st.lists(st.lists(st.floats(width=32), min_size=3, max_size=3), min_size=1, max_size=6),
    st.sampled_from(RULES),
    st.integers(0, 5),
)
@settings(deadline=None, max_examples=200)
def test_a_row_does_not_depend_on_its_neighbours(rows: Any, steps: Any, at: int) -> None:
    made = chain(*steps)
    values, seeds = np.array(rows, dtype=np.float32), np.arange(len(rows), dtype=np.uint64)
    at %= len(rows)
    whole = made(values, seeds)
    alone = made(values[at : at + 1], seeds[at : at + 1])
    assert whole[at].tobytes() == alone[0].tobytes()


def test_choice_draws_for_each_row_and_reaches_every_way() -> None:
    made = chain({"kind": "choice", "of": [[{"kind": "quantise", "step": 1}], [{"kind": "quantise", "step": 10}], []]})
    values = np.full((300, 1), 13.4, dtype=np.float32)
    seeds = np.arange(300, dtype=np.uint64)
    found, counts = np.unique(made(values, seeds), return_counts=True)
    np.testing.assert_allclose(found, [10, 13, 13.4], rtol=1e-6)
    assert counts.min() > 60
    np.testing.assert_array_equal(made(values, seeds), made(values, seeds))
    with pytest.raises(ValidationError, match="all for numbers or all for bytes"):
        chain({"kind": "choice", "of": [[{"kind": "text"}], [{"kind": "quantise", "step": 1}]]})


def test_choice_knows_what_its_ways_need() -> None:
    noisy = {"kind": "choice", "of": [[{"kind": "random_noise"}], [{"kind": "bit_depth", "bits": 2}]]}
    with pytest.raises(ValueError, match="choice has to know the range"):
        chain(noisy)
    made = InputChain("x", (STEP.validate_python(noisy),), (0.0, 1.0))
    after = made(np.random.default_rng(1).random((50, 4)).astype(np.float32), np.arange(50, dtype=np.uint64))
    assert after.min() >= 0
    assert after.max() <= 1
