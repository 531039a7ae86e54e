"""GCRA against an exact leaky bucket and against its own promise: never more than rate x time + burst."""

import doctest
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.limits import gcra
from proxy.limits.gcra import NANOSECONDS, backlog, decide

START = 1_800_000_000 * NANOSECONDS
"""Some moment of 2027, ns since 1970; a float64 of seconds is 240 ns coarse there."""

gaps = st.one_of(st.just(0), st.integers(1, 10**6), st.integers(1, 10 * NANOSECONDS))
costs = st.integers(0, 60)
arrivals = st.lists(st.tuples(gaps, costs), max_size=200)
intervals = st.one_of(
    st.sampled_from([1e9 / 3, 1e9 / 7, 1e9 / 11, 1e5, 1e3, 333.3, 100.1]), st.floats(100, 1e12, allow_nan=False)
)
bursts = st.integers(1, 50)


class LeakyBucket:
    """The same limit in its other form (I.371, continuous-state leaky bucket), in exact arithmetic."""

    def __init__(self, interval: int, burst: int) -> None:
        self.interval, self.burst = interval, burst
        self.level, self.last = Fraction(0), 0

    def offer(self, now: int, cost: int) -> bool:
        self.level = max(Fraction(0), self.level - Fraction(now - self.last, self.interval))
        self.last = now
        if self.level + cost > self.burst:
            return False
        self.level += cost
        return True


def test_examples() -> None:
    assert doctest.testmod(gcra).failed == 0


@given(arrivals, st.integers(1, 10**10), bursts)
def test_decides_as_an_exact_leaky_bucket(calls: list[tuple[int, int]], interval: int, burst: int) -> None:
    bucket = LeakyBucket(interval, burst)
    now = tat = START
    bucket.last = now
    for gap, cost in calls:
        now += gap
        decision = decide(now, tat, cost, float(interval), burst)
        assert decision.allowed == bucket.offer(now, cost)
        assert decision.remaining == int(burst - bucket.level)
        assert decision.reset_after == pytest.approx(float(bucket.level) * interval / NANOSECONDS, abs=1e-9)
        tat = decision.new_tat


@given(arrivals, intervals, bursts)
def test_never_admits_more_than_rate_times_time_and_burst(
    calls: list[tuple[int, int]], interval: float, burst: int
) -> None:
    now = tat = START
    admitted: list[tuple[int, int]] = []
    for gap, cost in calls:
        now += gap
        decision = decide(now, tat, cost, interval, burst)
        if decision.allowed:
            admitted.append((now, cost))
        tat = decision.new_tat
    for first, (start, _) in enumerate(admitted):
        units = 0
        for index, (moment, cost) in enumerate(admitted[first:]):
            units += cost
            rounding = index + 2  # need and tolerance are rounded down to a nanosecond
            assert units * interval <= moment - start + burst * interval + rounding


@pytest.mark.parametrize("rate", [0.5, 3, 7, 999, 1e6, 3e6, 9.9e6])
@pytest.mark.parametrize("cost", [1, 7, 32])
def test_a_saturated_limit_passes_its_rate(rate: float, cost: int) -> None:
    interval, burst, now, tat = 1e9 / rate, 32, START, START + 0
    begin, admitted = now, 0
    for _ in range(20_000):
        decision = decide(now, tat, cost, interval, burst)
        tat = decision.new_tat
        if decision.allowed:
            admitted += cost
        else:
            assert decision.retry_after is not None
            now += max(1, round(decision.retry_after * NANOSECONDS))
    expected = rate * (now - begin) / NANOSECONDS + burst
    assert expected * 0.99 - cost <= admitted <= expected * 1.01


@given(intervals, bursts)
def test_an_idle_limit_admits_exactly_its_burst(interval: float, burst: int) -> None:
    tat = admitted = 0
    while True:
        decision = decide(START, tat, 1, interval, burst)
        if not decision.allowed:
            break
        assert decision.remaining == burst - admitted - 1
        tat, admitted = decision.new_tat, admitted + 1
    assert admitted == burst
    assert decision.new_tat == tat, "a refused call charges nothing"


@given(st.integers(0, 10**12), costs, intervals, bursts)
def test_whoever_waits_as_told_is_admitted_and_not_before(ahead: int, cost: int, interval: float, burst: int) -> None:
    decision = decide(START, START + ahead, cost, interval, burst)
    if decision.allowed or decision.retry_after is None:
        return
    wait = round(decision.retry_after * NANOSECONDS)
    assert decide(START + wait + 1, decision.new_tat, cost, interval, burst).allowed
    if wait > 1:
        assert not decide(START + wait - 2, decision.new_tat, cost, interval, burst).allowed


@given(st.integers(0, 10**12), intervals, bursts)
def test_what_remains_passes_and_one_more_does_not(ahead: int, interval: float, burst: int) -> None:
    remaining = decide(START, START + ahead, burst + 1, interval, burst).remaining
    assert decide(START, START + ahead, remaining, interval, burst).allowed
    assert not decide(START, START + ahead, remaining + 1, interval, burst).allowed


@given(st.integers(0, 10**12), st.integers(0, 1000), intervals, bursts)
def test_never_means_a_cost_above_the_burst(ahead: int, cost: int, interval: float, burst: int) -> None:
    assert decide(START, START + ahead, cost, interval, burst).never == (cost > burst)


@given(st.integers(-(10**15), 10**15), st.integers(1, 10**12))
def test_a_clock_that_goes_back_costs_a_full_burst_at_most(ahead: int, tolerance: int) -> None:
    assert 0 <= backlog(START, START + ahead, tolerance) <= tolerance


def test_years_of_saturation_do_not_drift() -> None:
    interval, tat, now = 1e9 / 3, 0, 0
    begin = now
    for _ in range(10):
        now += 365 * 86_400 * NANOSECONDS  # a year passes, then a thousand admitted calls
        begin, first = now, decide(now, tat, 1, interval, 1)
        tat = first.new_tat
        for _ in range(999):
            now = tat
            tat = decide(now, tat, 1, interval, 1).new_tat
        assert tat - begin == 1000 * int(interval)
