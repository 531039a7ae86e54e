"""A verdict outlives its process: the same again, or less, never more; and what is damaged is told."""

import json
import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.findings import Cluster, Finding, Reading, Subject, SubjectKind, Technique
from detectors.observation import DIMENSIONS
from proxy.config.detection import Response
from proxy.policy import Policy, Verdict
from proxy.policy.kept import UnusableError, dump, load, technique_of
from proxy.policy.verdict import Evidence
from tests.policy.test_policy import NOW, Configured, configured, found, row_standings, step

__all__ = ["configured"]

RESPONSE = Response()
FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)
TEXT = st.text(max_size=10)


@st.composite
def verdicts(draw: st.DrawFn) -> Verdict:
    technique = draw(st.sampled_from(Technique))
    kind: SubjectKind = draw(st.sampled_from(["caller", "group", "cluster"]))
    subject = Subject(kind, draw(TEXT))
    rows = draw(st.integers(1, 3))
    cluster = Cluster(np.full((rows, DIMENSIONS), draw(FINITE), np.float32), draw(FINITE))
    evidence = {}
    for name in draw(st.sets(TEXT, max_size=3)):
        near = draw(st.booleans())
        reading = Reading(
            name,
            draw(TEXT),
            subject,
            technique,
            draw(FINITE),
            draw(FINITE),
            draw(FINITE),
            draw(st.integers(0, 99)),
            draw(st.integers(0, 99)),
            cluster if near and kind == "cluster" else None,
            draw(TEXT),
        )
        finding = Finding(reading, draw(FINITE), draw(st.one_of(FINITE, st.just(math.inf))), draw(st.booleans()))
        evidence[name] = Evidence(finding, draw(FINITE))
    level = draw(st.integers(0, len(RESPONSE.ladder) - 1))
    callers = draw(st.dictionaries(TEXT, st.integers(0, 9), max_size=3))
    highest = draw(st.integers(level, len(RESPONSE.ladder) - 1))
    since, updated, until = draw(FINITE), draw(FINITE), draw(FINITE)
    return Verdict(
        draw(TEXT),
        "m",
        subject,
        technique,
        RESPONSE,
        "shadow",
        False,
        since,
        updated,
        level,
        until,
        highest,
        3,
        4,
        evidence,
        callers,
    )


@given(verdicts())
def test_it_comes_back_as_it_was(verdict: Verdict) -> None:
    raw = dump(verdict, "mark")
    again = load(raw, "m", RESPONSE)
    assert technique_of(raw) == (verdict.technique, "mark")
    for field in fields(Verdict):
        if field.name != "evidence":
            assert getattr(again, field.name) == getattr(verdict, field.name)
    assert again.to_json(NOW) == verdict.to_json(NOW)
    assert dump(again, "mark") == raw


@given(verdicts(), st.data())
def test_what_is_damaged_is_told(verdict: Verdict, data: st.DataObject) -> None:
    value = json.loads(dump(verdict, "mark"))
    other = st.one_of(st.none(), st.integers(), st.text(max_size=3), st.lists(st.integers(), max_size=3), FINITE)
    value[data.draw(st.sampled_from(sorted(value)))] = data.draw(other)
    try:
        again = load(json.dumps(value).encode(), "m", RESPONSE)
    except UnusableError:
        return
    json.dumps(again.to_json(NOW))


@given(st.binary(max_size=30))
def test_anything_else_is_told(raw: bytes) -> None:
    with pytest.raises(UnusableError):
        load(raw, "m", RESPONSE)


def handed(policy: Policy, to: Policy, now: float = NOW) -> None:
    settings = to.settings("m")
    assert settings is not None
    for verdict in policy.verdicts(now):
        to.take(load(dump(verdict, ""), "m", settings.policy.of(verdict.technique)), now)


def test_it_acts_in_another_process_and_runs_out_there(configured: Configured) -> None:
    (one, _), (other, told) = configured(), configured()
    one.judge("m", [found(7)], NOW)
    handed(one, other)
    assert not told, "who reached it has reported it"
    assert step(other) == "block"
    assert step(other, now=NOW + 201) == "coarsen"
    assert step(other, now=NOW + 301) is None
    assert other.verdicts(NOW + 351) == []


def test_the_harder_one_counts_and_evidence_goes_on(configured: Configured) -> None:
    (one, _), (other, _) = configured(), configured()
    one.judge("m", [found(3.5)], NOW)
    other.judge("m", [found(7)], NOW)
    handed(one, other)
    assert step(other) == "block", "its own is the harder"
    handed(other, one)
    assert step(one) == "block"
    (weak, _), (third, told) = configured(), configured()
    weak.judge("m", [found(3.5)], NOW)
    handed(weak, third)
    third.judge("m", [found(4, detector="e")], NOW)
    assert step(third) == "block", "3.5 and 4 less a decade, of two detectors"
    assert [verdict.step for verdict in told] == ["block"]


def test_shadow_and_immunity_are_those_of_who_takes_it(configured: Configured) -> None:
    one, _ = configured()
    one.judge("m", [found(7)], NOW)
    for settings in ({"immune": ["a"]}, {"mode": "shadow"}, {"percent": 0}):
        other, _ = configured(**settings)
        handed(one, other)
        assert step(other) is None
        assert [verdict.step for verdict in other.verdicts(NOW)] == ["block"]


def test_rows_of_a_cluster_are_known_again(configured: Configured) -> None:
    (one, _), (other, _) = configured(), configured()
    members = np.eye(3, DIMENSIONS, dtype=np.float32)
    one.judge("m", [found(7, Subject("cluster", "x"), cluster=Cluster(members, 0.1, {"a": 5}))], NOW)
    handed(one, other)
    rows = np.eye(4, DIMENSIONS, dtype=np.float32)
    assert [each.step for each in row_standings(other, "a", rows, NOW)] == ["block"] * 3 + [None]
    assert step(other) == "block", "and who was part of it"
