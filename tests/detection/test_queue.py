"""The queue keeps order, is fair when full, and counts what it loses."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from proxy.detection.queue import ObservationQueue
from proxy.detection.sightings import UNIT, Sighting


def sighting(time: float, caller: str, rows: int = 1, request: bytes = b"") -> Sighting:
    return Sighting(time, caller, (), "m", "", "", rows, 0, request, b"")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), max_size=60), st.integers(10, 40))
def test_nothing_is_lost_uncounted_and_nothing_overtakes(sent: list[tuple[str, int]], most: int) -> None:
    lost: list[Sighting] = []
    queue = ObservationQueue(lost.append, most)
    for at, (caller, rows) in enumerate(sent):
        queue.put(sighting(float(at), caller, rows))
        assert queue.rows <= most
    taken = []
    while batch := queue.take(8):
        taken += batch
    assert queue.rows == 0
    assert [each.time for each in taken] == sorted(each.time for each in taken)
    assert Counter(each.time for each in taken + lost) == Counter(float(at) for at in range(len(sent)))


def test_a_flood_costs_the_flooder() -> None:
    lost: list[Sighting] = []
    queue = ObservationQueue(lost.append, 100)
    queue.put(sighting(0.0, "quiet", 5))
    for at in range(200):
        queue.put(sighting(float(at), "loud", 3))
    assert {each.caller for each in lost} == {"loud"}
    assert lost[0].time == 0, "the oldest goes first"
    assert queue.most == 31, "of 3 rows each, beside the 5"
    assert queue.take(1)[0].caller == "quiet"


def test_long_messages_count_for_as_many_rows_as_they_take_room() -> None:
    lost: list[Sighting] = []
    queue = ObservationQueue(lost.append, 100)
    for at in range(20):
        queue.put(sighting(float(at), "large", 1, bytes(10 * UNIT)))
    assert (queue.rows, len(lost)) == (10, 10)
