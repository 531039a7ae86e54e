"""The queue keeps order, is fair when full, and counts what it loses."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detectors.observation import Observation
from proxy.detection.queue import ObservationQueue
from tests.detectors.made import natural, observed

ROWS = natural(40, np.random.default_rng(0))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), max_size=60), st.integers(10, 40))
def test_nothing_is_lost_uncounted_and_nothing_overtakes(sent: list[tuple[str, int]], most: int) -> None:
    lost: list[Observation] = []
    queue = ObservationQueue(lost.append, most)
    for at, (caller, rows) in enumerate(sent):
        queue.put(observed(ROWS[:rows], float(at), caller))
        assert queue.rows <= most
    taken = []
    while batch := queue.take(8):
        taken += batch
    assert queue.rows == 0
    assert [each.time for each in taken] == sorted(each.time for each in taken)
    assert Counter(each.time for each in taken + lost) == Counter(float(at) for at in range(len(sent)))


def test_a_flood_costs_the_flooder() -> None:
    lost: list[Observation] = []
    queue = ObservationQueue(lost.append, 100)
    queue.put(observed(ROWS[:5], 0.0, "quiet"))
    for at in range(200):
        queue.put(observed(ROWS[:3], float(at), "loud"))
    assert {each.caller for each in lost} == {"loud"}
    assert lost[0].time == 0, "the oldest goes first"
    assert queue.take(1)[0].caller == "quiet"
