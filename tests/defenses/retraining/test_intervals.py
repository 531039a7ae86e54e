"""Intervals against scipy's, and where they must hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from defenses.retraining.intervals import difference, mcnemar, share


@given(right=st.lists(st.booleans(), min_size=1, max_size=300))
def test_wilson_is_scipys(right: list[bool]) -> None:
    found = share(np.array(right))
    expected = binomtest(sum(right), len(right)).proportion_ci(method="wilson")
    assert found.low == pytest.approx(expected.low, abs=1e-6)
    assert found.high == pytest.approx(expected.high, abs=1e-6)
    assert 0 <= found.low <= found.value <= found.high <= 1


@given(gained=st.integers(0, 200), lost=st.integers(0, 200))
def test_mcnemar_is_the_binomial_test(gained: int, lost: int) -> None:
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar(gained, lost) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_of_many_rows_neither_overflows_nor_takes_long() -> None:
    assert mcnemar(20_000, 20_400) == pytest.approx(0.047, abs=0.005)


def test_the_interval_of_a_difference_covers_it_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    chances = np.array([0.05, 0.12, 0.6, 0.23])  # right by both, by the one, by the other, by none
    covered = 0
    for _ in range(500):
        cell = rng.choice(4, 200, p=chances)
        gap = difference((cell == 0) | (cell == 1), (cell == 0) | (cell == 2))
        covered += gap.low <= 0.12 - 0.6 <= gap.high
    assert 0.92 <= covered / 500 <= 0.98


def test_rows_that_are_not_paired_are_refused() -> None:
    with pytest.raises(ValueError, match="there are 2 and 3"):
        difference(np.ones(2, bool), np.ones(3, bool))
    with pytest.raises(ValueError, match="at least one row"):
        share(np.ones(0, bool))
