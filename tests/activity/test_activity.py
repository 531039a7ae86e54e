"""What is remembered of calls, attacks and rows: right, bounded, and of the callers that matter."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.features import unknown
from detectors.findings import Subject, Technique
from detectors.observation import DIMENSIONS, FINGERPRINT, Features, Floats, Observation
from detectors.profile import Profile
from proxy.activity import CallerTable, Traffic, caller_key
from proxy.activity import attacks as attacks_module
from proxy.activity import callers as callers_module
from proxy.activity.attacks import Attacks
from proxy.activity.callers import MAX_MODELS
from proxy.activity.traffic import SECONDS, quantile
from proxy.config.detection import Response
from proxy.detection import history as history_module
from proxy.detection.history import WINDOW, History
from proxy.events import Event
from proxy.identity import Caller
from proxy.policy import Verdict

NOW = 1_800_000_000.0


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


def caller(name: str) -> Caller:
    return Caller(name, "peer", "network:g", None, "192.0.2.1")


def test_traffic_counts_what_was_refused_and_what_failed_and_forgets_old_seconds() -> None:
    clock = Clock()
    traffic = Traffic(clock)
    traffic.note("OK", 5, False, 0.02, 0.001)
    traffic.note("PERMISSION_DENIED", 0, True, 0.0005, 0.0005)
    traffic.note("UNAVAILABLE", 0, False, 1.0, 0.001)
    assert not any(point["calls"] for point in traffic.points()), "a second counts once it is over"
    clock.now += 1
    point = traffic.points(1)[0]
    assert (point["time"], point["calls"], point["rows"], point["refused"], point["failed"]) == (int(NOW), 3, 5, 1, 1)
    assert 0.02 <= point["p50"] <= 0.02 * 1.35
    assert 1.0 <= point["p99"] <= 1.35
    clock.now += SECONDS
    assert not any(point["calls"] for point in traffic.points(SECONDS))
    assert traffic.points(3)[0]["p50"] is None


@given(st.lists(st.floats(1e-4, 50), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_quantiles_are_right_to_within_a_third(values: list[float], share: float) -> None:
    clock = Clock()
    traffic = Traffic(clock)
    for value in values:
        traffic.note("OK", 1, False, value, value)
    found = quantile(traffic._ring[int(NOW) % SECONDS].whole, share)
    exact = sorted(values)[max(0, int(np.ceil(share * len(values))) - 1)]
    assert found is not None
    assert exact * 0.99 <= found <= exact * 1.37


def test_callers_are_bounded_and_the_silent_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers_module, "MAX_CALLERS", 3)
    table = CallerTable(lambda model: model, Clock())
    for name in "abcab":
        table.note(caller(name), "m", 2, False)
    table.remember("c")
    table.note(caller("d"), "m", 1, False)
    assert (len(table), table.evicted) == (3, 1)
    assert table.by_name("c") is None
    assert table.by_key(caller_key("a")) is table.by_name("a")
    forgotten = table.by_key(caller_key("c"))
    assert forgotten is not None, "something stood against it, so its key is still known"
    assert (forgotten.name, forgotten.calls) == ("c", 0)
    for number in range(MAX_MODELS + 10):
        table.note(caller("a"), f"m{number}", 1, False)
    record = table.by_name("a")
    assert record is not None
    assert (len(record.models), record.rows) == (MAX_MODELS, 4 + MAX_MODELS + 10)


def verdict(name: str, level: int = 0) -> Verdict:
    subject = Subject("caller", name)
    return Verdict(name, "m", subject, Technique.EVASION, Response(), "enforce", False, NOW, NOW, level)


async def test_an_attacks_steps_are_told_as_they_change_and_when_they_end() -> None:
    told: list[Event] = []
    clock = Clock()
    held = Attacks(told.append)
    one = verdict("a")
    held.reached(one, clock())
    one.level = 2
    clock.now += 5
    held.reached(one, clock())
    one.level = 1
    clock.now += 5
    await held.look(lambda *_: True, clock)
    await held.look(lambda *_: True, clock)
    await held.look(lambda *_: False, clock)
    assert [(each.event, getattr(each, "before", "")) for each in told] == [
        ("verdict.new", None),
        ("verdict.reached", "observe"),
        ("verdict.lowered", "throttle"),
        ("verdict.expired", "coarsen"),
    ]
    shown = held.all()[0].to_json(clock())
    assert [each["step"] for each in shown["steps"]] == ["observe", "throttle", "coarsen"]
    assert (shown["step"], shown["ended"], held.last) == (None, NOW + 10, NOW + 5)


async def test_attacks_that_are_over_are_bounded_and_those_under_way_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attacks_module, "KEPT", 3)
    held = Attacks(lambda event: None)
    held.reached(verdict("open"), NOW)
    for number in range(6):
        held.reached(verdict(str(number)), NOW)
    await held.look(lambda each, now: each.id == "open", lambda: NOW)
    assert [attack.verdict.id for attack in held.all()] == ["5", "4", "3", "open"]


def observed(name: str, rows: Floats, time: float = NOW) -> Observation:
    count = len(rows)
    zeros = np.zeros((count, FINGERPRINT), np.uint64)
    features = Features(np.zeros(count, np.uint64), zeros, rows)
    return Observation(time, name, (), "m", "", features, unknown(count))


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    return replace(Profile.defaults("m", b"0123456789abcdef"), calibrated=True)


def test_distances_are_to_the_nearest_of_the_callers_own_earlier_rows(profile: Profile) -> None:
    rows = np.random.default_rng(0).normal(0, 1, (60, DIMENSIONS)).astype(np.float32)
    history = History(profile, lambda name: None)
    for start in range(0, 60, 7):
        history.take([observed("a", rows[start : start + 7]), observed("b", rows[:1])], ())
    expected = [
        min(float(np.linalg.norm(rows[at] - rows[back])) for back in range(max(0, at - WINDOW), at))
        for at in range(1, 60)
    ]
    shown = history.show("a")
    assert shown is not None
    found = shown["distances"]
    assert found["rows"] == 59
    counts, _ = np.histogram(np.clip(expected, 0, found["edges"][-1]), np.array(found["edges"]))
    np.testing.assert_allclose(np.array(found["own"]) * 59, counts, atol=1.1)
    assert f"within {np.median(expected):.3g} of" in found["said"]
    assert history.show("nobody") is None


def test_progress_keeps_the_whole_curve_in_a_bounded_number_of_points(profile: Profile) -> None:
    share = iter(np.linspace(0, 1, 1000))
    history = History(profile, lambda name: float(next(share)) if name == "a" else None)
    row = np.zeros((1, DIMENSIONS), np.float32)
    for at in range(1000):
        history.take([observed("a", row, NOW + at)], ())
    history.take([observed("b", row)], ())
    shown, other = history.show("a"), history.show("b")
    assert shown is not None
    assert other is not None
    points = shown["progress"]["points"]
    assert 40 < len(points) <= 128
    assert points[0]["time"] < NOW + 20
    assert points[-1]["time"] > NOW + 900
    assert [each["fidelity"] for each in points] == sorted(each["fidelity"] for each in points)
    assert other["progress"] is None


def test_those_of_whom_something_was_found_are_kept_longest(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "MAX_CALLERS", 4)
    monkeypatch.setattr(history_module, "MAX_FOUND", 2)
    history = History(profile, lambda name: None)
    row = np.zeros((2, DIMENSIONS), np.float32)
    history.take([observed("attacker", row)], {"attacker"})
    for number in range(10):
        history.take([observed(f"c{number}", row)], ())
    assert history.show("attacker") is not None
    assert history.show("c0") is None
    for number in range(10):
        history.take([observed(f"a{number}", row)], {f"a{number}"})
    assert (len(history), history.evicted) == (4, 17)
    assert history.show("a9") is not None
