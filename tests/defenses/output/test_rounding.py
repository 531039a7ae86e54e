"""Rounding keeps its meaning: multiples of the unit, as near as they can be, that still sum to 1."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from defenses.output import Chain, Round, Semantics
from tests.defenses.output.rows import keys_for


def rounded(values: Any, semantics: Semantics = Semantics.PROBABILITIES, **settings: Any) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    return Chain("out", semantics, (Round(**settings),))(array, keys_for(len(array))).values


def compositions(total: int, parts: int) -> NDArray[np.float64]:
    """All rows of `parts` whole numbers that sum to `total`."""
    if parts == 1:
        return np.array([[total]])
    rest = [np.insert(compositions(total - first, parts - 1), 0, first, axis=1) for first in range(total + 1)]
    return np.concatenate(rest)


def hare_niemeyer(row: NDArray[np.float64], units: int) -> list[int]:
    """The textbook's way, one row at a time, without care for the winner."""
    shares = [units * p for p in row]
    seats = [int(np.floor(share + 1e-9)) for share in shares]
    order = sorted(range(len(row)), key=lambda i: (-(shares[i] - seats[i]), i))
    for i in order[: units - sum(seats)]:
        seats[i] += 1
    return seats


@pytest.mark.parametrize("decimals", [0, 1, 2])
def test_every_row_of_a_grid_becomes_multiples_that_sum_to_one_near_where_they_were(decimals: int) -> None:
    p = compositions(37, 4) / 37.0
    units = rounded(p, decimals=decimals) * 10**decimals
    np.testing.assert_allclose(units, np.rint(units), atol=1e-9)
    np.testing.assert_array_equal(np.rint(units).sum(axis=1), 10**decimals)
    moved = units - p * 10**decimals
    winner = p.argmax(axis=1)[:, None]
    assert np.take_along_axis(moved, winner, axis=1).max() <= 2.0 + 1e-9
    np.put_along_axis(moved, winner, 0.0, axis=1)
    assert np.abs(moved).max() < 1.0 + 1e-9
    assert (units.argmax(axis=1) == winner[:, 0]).all()


def test_where_no_class_comes_level_with_the_winner_it_is_plain_apportionment() -> None:
    p = compositions(23, 4) / 23.0
    units = np.rint(rounded(p, decimals=1) * 10).astype(int)
    plain = np.array([hare_niemeyer(row, 10) for row in p])
    winner = p.argmax(axis=1)[:, None]
    own = np.take_along_axis(plain, winner, axis=1)
    others = plain.copy()
    np.put_along_axis(others, winner, -1, axis=1)
    clear = (others < own).all(axis=1)
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(units[clear], plain[clear])


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([0.42, 0.43, 0.15], [0.4, 0.5, 0.1]),  # 0.4, 0.4, 0.2 would be level
        ([0.38, 0.39, 0.23], [0.3, 0.4, 0.3]),
        ([0.49, 0.5, 0.01], [0.4, 0.5, 0.1]),
        ([0.5, 0.5], [0.5, 0.5]),  # a tie of the model's own stays
        ([0.25, 0.25, 0.25, 0.25], [0.3, 0.3, 0.2, 0.2]),
        ([0.0, 1.0, 0.0], [0.0, 1.0, 0.0]),
        ([0.3, 0.7], [0.3, 0.7]),
    ],
)
def test_rows_worked_out_by_hand(row: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(rounded([row], decimals=1)[0], expected, atol=1e-12)


def test_a_thousand_nearly_equal_classes_keep_their_winner_and_their_sum() -> None:
    p = np.full((1, 1000), 0.001)
    p[0, 700] += 1e-6
    p /= p.sum()
    row = rounded(p, decimals=1)[0]
    assert row.argmax() == 700
    assert row[700] == pytest.approx(0.2)  # nothing less leaves room for eight more tenths
    assert sorted(row)[-9:-1] == pytest.approx([0.1] * 8)
    assert row.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("decimals", [0, 1, 2, 4])
def test_rounding_twice_is_rounding_once(dtype: Any, decimals: int) -> None:
    p = np.random.default_rng(0).dirichlet(np.full(12, 0.4), size=500).astype(dtype)
    chain = Chain("out", Semantics.PROBABILITIES, (Round(decimals=decimals),))
    once = chain(p, keys_for(500)).values
    np.testing.assert_array_equal(chain(once, keys_for(500)).values, once)


def test_the_numbers_print_as_what_they_are() -> None:
    p = np.array([[0.123456, 0.2, 0.676544]], dtype=np.float32)
    row = Chain("out", Semantics.PROBABILITIES, (Round(decimals=2),))(p, keys_for(1)).values[0]
    assert [str(x) for x in row] == ["0.12", "0.2", "0.68"]


def test_logits_are_rounded_one_by_one_and_a_level_winner_is_raised_by_one_unit() -> None:
    assert rounded([[1.04, 1.01, -3.26]], Semantics.LOGITS, decimals=1).tolist() == [[1.1, 1.0, -3.3]]
    assert rounded([[1.01, 1.04, -3.26]], Semantics.LOGITS, decimals=1).tolist() == [[1.0, 1.1, -3.3]]
    assert rounded([[-12.34, -12.31, 0.0001]], Semantics.LOGITS, significant=2).tolist() == [[-12.0, -12.0, 0.0001]]
    assert rounded([[-124.0, -121.0, -130.0]], Semantics.LOGITS, significant=2).tolist() == [[-120.0, -110.0, -130.0]]


def test_values_of_every_size_keep_their_significant_digits() -> None:
    values = [[123456.0, -0.00123456, 0.0, 9.996, 1.5e300, -2.5e-300, 5e-324, 1.7976931348623157e308]]
    expected = [[123000.0, -0.00123, 0.0, 10.0, 1.5e300, -2.5e-300, 5e-324, 1.7976931348623157e308]]
    np.testing.assert_allclose(rounded(values, Semantics.VALUES, significant=3), expected, rtol=2e-3)
    assert rounded(values, Semantics.VALUES, significant=3)[0, :4].tolist() == expected[0][:4]


@pytest.mark.parametrize(
    ("p", "threshold", "expected"),
    [
        (0.4999, 0.5, 0.49),
        (0.5001, 0.5, 0.51),
        (0.5, 0.5, 0.5),
        (0.496, 0.5, 0.49),
        (0.294, 0.29, 0.3),
        (0.2894, 0.29, 0.28),
        (0.3, 0.333, 0.3),
        (0.3331, 0.333, 0.34),
        (0.9999, 0.999, 1.0),
        (0.0001, 0.001, 0.0),
    ],
)
def test_a_binary_probability_goes_to_the_nearest_multiple_on_its_side(
    p: float, threshold: float, expected: float
) -> None:
    chain = Chain("out", Semantics.BINARY, (Round(decimals=2),), threshold)
    for dtype in (np.float32, np.float64):
        hardened = chain(np.array([[p]], dtype=dtype), keys_for(1))
        assert hardened.values[0, 0] == dtype(expected)
        assert hardened.repaired == 0
