"""Keys belong to the content of a row: to all of it, and to nothing else."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defenses.output import row_bytes, row_keys
from defenses.output.keys import position_keys, uniform
from tests.defenses.output.rows import keys_for, repeatable

SECRET = b"sixteen bytes or"


def key_of(values: Any, step: float | None = None) -> int:
    array = np.asarray([values])
    return int(row_keys(row_bytes({"x": array}, 1, step), SECRET)[0])


def test_the_same_row_has_the_same_key_wherever_it_is() -> None:
    images = np.random.default_rng(0).random((5, 8, 8), dtype=np.float32)
    keys = row_keys(row_bytes({"x": images}, 5), SECRET, "mnist/3/probs")
    again = row_keys(row_bytes({"x": images[[3, 3, 0]]}, 3), SECRET, "mnist/3/probs")
    assert again.tolist() == keys[[3, 3, 0]].tolist()
    assert len(set(keys.tolist())) == 5
    assert keys.dtype == np.uint64


def test_keys_differ_with_secret_context_and_every_part_of_the_row() -> None:
    x, y = np.array([[1.0, 2.0]], dtype=np.float32), np.array([[7]], dtype=np.int64)
    variants: list[dict[str, Any]] = [
        {"x": x},
        {"z": x},
        {"x": x, "y": y},
        {"x": x, "y": y + 1},
        {"x": x[:, ::-1]},
        {"x": x.reshape(1, 1, 2)},
        {"x": x.astype(np.float64)},
        {"x": x, "scale": np.array(2.0)},
        {"x": x, "scale": np.array(3.0)},
        {"s": np.array([[b"a", b"bc"]], dtype=object)},
        {"s": np.array([[b"ab", b"c"]], dtype=object)},
        {},
    ]
    keys = [int(row_keys(row_bytes(each, 1), SECRET)[0]) for each in variants]
    keys.append(int(row_keys(row_bytes({"x": x}, 1), SECRET[::-1])[0]))
    keys.append(int(row_keys(row_bytes({"x": x}, 1), SECRET, "model")[0]))
    assert len(set(keys)) == len(keys)


def test_the_order_of_inputs_and_the_layout_in_memory_do_not_matter() -> None:
    x, y = np.random.default_rng(1).random((4, 6)), np.arange(4)
    expected = row_bytes({"x": x, "y": y}, 4)
    assert row_bytes({"y": y, "x": np.asfortranarray(x)}, 4) == expected


def test_rows_that_are_alike_share_their_bytes() -> None:
    x, y = np.array([1, 1, 2, 2, 2, 1]), np.array([b"a", b"a", b"a", b"b", b"b", b"a"], dtype=object)
    found = row_bytes({"x": x, "y": y}, 6)
    assert found == [row_bytes({"x": x[at : at + 1], "y": y[at : at + 1]}, 1)[0] for at in range(6)]
    assert found[0] is found[1]
    assert found[3] is found[4], "and take no more memory"
    assert len(set(found)) == 3
    assert found[5] == found[0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_minus_zero_is_zero_and_nan_is_nan(dtype: Any) -> None:
    assert key_of(np.array([-0.0, 1.0], dtype=dtype)) == key_of(np.array([0.0, 1.0], dtype=dtype))
    quiet = np.array([np.nan], dtype=dtype)
    other = quiet.copy()
    other.view(np.uint8)[0] ^= 1  # another payload, and another sign
    other = -other
    assert np.isnan(other).all()
    assert other.tobytes() != quiet.tobytes()
    assert key_of(other) == key_of(quiet) != key_of(np.array([np.inf], dtype=dtype))


def test_a_step_joins_near_duplicates_within_a_cell() -> None:
    row = np.array([0.31, 0.52, 1e300, -np.inf])
    near = row + np.array([0.01, -0.02, 0.0, 0.0])
    assert key_of(row, step=0.1) == key_of(near, step=0.1)
    assert key_of(row) != key_of(near)
    assert key_of(np.array([0.349]), step=0.1) != key_of(np.array([0.351]), step=0.1)  # a boundary remains one
    assert key_of(np.array([-0.01]), step=0.1) == key_of(np.array([0.01]), step=0.1)
    assert key_of(np.array([1]), step=10.0) != key_of(np.array([2]), step=10.0)  # identifiers stay exact


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan"), float("inf")])
def test_a_step_has_to_be_a_positive_number(step: float) -> None:
    with pytest.raises(ValueError, match="positive number"):
        row_bytes({"x": np.zeros((1, 1))}, 1, step)


@pytest.mark.parametrize("size", [0, 15, 65])
def test_a_secret_of_a_wrong_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=rf"has {size} bytes; give it 16 to 64"):
        row_keys([b"row"], b"s" * size)


def test_no_rows_have_no_keys() -> None:
    keys = row_keys(row_bytes({"x": np.zeros((0, 3))}, 0), SECRET)
    assert keys.shape == (0,)
    assert uniform(keys, 5).shape == (0, 5)


@repeatable
@given(st.lists(st.binary(max_size=30), max_size=5), st.integers(0, 30))
def test_streams_are_repeatable_within_their_range_and_independent_of_neighbours(rows: list[bytes], count: int) -> None:
    keys = row_keys(rows, SECRET)
    drawn = uniform(keys, count)
    assert drawn.shape == (len(rows), count)
    assert (np.abs(drawn) < 1.0).all()
    for i in range(len(rows)):
        np.testing.assert_array_equal(uniform(keys[i : i + 1], count)[0], drawn[i])


def test_draws_are_uniform_and_uncorrelated() -> None:
    keys = np.arange(2000, dtype=np.uint64)  # as related as keys can be
    drawn = uniform(keys, 20)
    counts, _ = np.histogram(drawn, bins=20, range=(-1, 1))
    assert np.abs(counts - 2000).max() < 5 * np.sqrt(2000)
    correlation = np.corrcoef(drawn.T) - np.eye(20)
    assert np.abs(correlation).max() < 0.12
    between_rows = np.corrcoef(drawn[:-1].ravel(), drawn[1:].ravel())[0, 1]
    assert abs(between_rows) < 0.03


def test_positions_of_a_row_have_their_own_keys() -> None:
    keys = keys_for(3)
    spread = position_keys(keys, 4)
    assert len({*spread.tolist(), *keys.tolist()}) == 15
    np.testing.assert_array_equal(position_keys(keys[1:2], 4), spread[4:8])
    assert position_keys(keys, 1) is keys
