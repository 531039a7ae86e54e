"""From findings to verdicts: what it takes, how long it lasts, whom it spares."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from detectors.findings import Cluster, Finding, Reading, Subject, Technique
from detectors.observation import DIMENSIONS, Floats
from detectors.profile import Profile
from proxy.config.detection import Detection
from proxy.policy import CLEAR, Policy, Standing, Verdict
from proxy.policy.clusters import AT_ONCE
from proxy.policy.policy import MAX_VERDICTS

NOW = 1_800_000_000.0
A = Subject("caller", "a")
LADDER = [
    {"step": "observe", "score": 2, "ttl": 50},
    {"step": "coarsen", "score": 3, "ttl": 100},
    {"step": "block", "score": 6, "ttl": 200},
]

Configured = Callable[..., tuple[Policy, list[Verdict]]]


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    """A policy for model `m`, enforced, and the list of what it told."""
    replace(Profile.defaults("m", b"0123456789abcdef"), calibrated=True).write(tmp_path / "m.json")

    def make(answer: str = "refuse", **settings: Any) -> tuple[Policy, list[Verdict]]:
        told: list[Verdict] = []
        response = {"answer": answer, "ladder": LADDER, "half_life": 1000}
        base = {
            "mode": "enforce",
            "profile": str(tmp_path / "m.json"),
            "policy": dict.fromkeys([each.value for each in Technique], response),
        }
        policy = Policy(lambda verdict, now: told.append(verdict))
        policy.configure({"m": Detection.model_validate(base | settings)})
        return policy, told

    return make


def found(
    surprise: float,
    subject: Subject = A,
    detector: str = "d",
    alone: bool = False,
    time: float = NOW,
    cluster: Cluster | None = None,
) -> Finding:
    reading = Reading(detector, f"{detector}.s", subject, Technique.EVASION, 1.0, time, 9.0, 12, 34, cluster, "why")
    return Finding(reading, surprise, 0.5, alone)


def step(policy: Policy, caller: str = "a", now: float = NOW, groups: tuple[str, ...] = ()) -> str | None:
    return policy.standing("m", caller, groups, now).step


def row_standings(policy: Policy, caller: str, rows: Floats, now: float) -> list[Standing]:
    return policy.row_standings("m", caller, policy.members("m", caller).of(rows), now)


def test_evidence_climbs_the_ladder_and_time_comes_down_it_step_by_step(configured: Configured) -> None:
    policy, told = configured()
    policy.judge("m", [found(1.5)], NOW)
    assert step(policy) is None
    policy.judge("m", [found(2.2)], NOW)
    assert step(policy) is None, "observe is reported and does nothing"
    assert [each.step for each in policy.verdicts(NOW)] == ["observe"]
    policy.judge("m", [found(3.1)], NOW)
    assert step(policy) == "coarsen"
    policy.judge("m", [found(6.5)], NOW)
    assert policy.standing("m", "a", (), NOW).blocked
    assert step(policy, now=NOW + 199) == "block"
    assert step(policy, now=NOW + 201) == "coarsen"
    assert step(policy, now=NOW + 299) == "coarsen"
    assert step(policy, now=NOW + 301) is None
    assert not policy.verdicts(NOW + 5000)
    assert len(told) == 3, "each new step is told once"


def test_weak_findings_add_up_and_fade(configured: Configured) -> None:
    policy, _ = configured()
    policy.judge("m", [found(2.5, detector="d"), found(2.0, detector="e")], NOW)
    assert step(policy) == "coarsen", "2.5 and 2.0 less 1"
    other, _ = configured()
    other.judge("m", [found(2.5, detector="d")], NOW)
    other.judge("m", [found(2.0, detector="e", time=NOW + 1000)], NOW + 1000)
    assert step(other, now=NOW + 1000) is None, "the first is worth 1.25 by now"


def test_what_is_enough_alone_reaches_the_first_acting_step(configured: Configured) -> None:
    policy, _ = configured()
    policy.judge("m", [found(2.0, alone=True)], NOW)
    assert step(policy) == "coarsen"


def test_every_verdict_carries_its_evidence(configured: Configured) -> None:
    policy, _ = configured()
    policy.judge("m", [found(3.5)], NOW)
    shown = policy.verdicts(NOW)[0].to_json(NOW)
    assert shown["subject"] == {"kind": "caller", "id": "a"}
    assert (shown["technique"], shown["step"], shown["mode"], shown["found_at"]) == (
        "evasion",
        "coarsen",
        "enforce",
        34,
    )
    evidence = shown["evidence"][0]
    assert {"rows": 12, "window": 9.0, "statistic": "d.s", "value": 1.0, "threshold": 0.5}.items() <= evidence.items()
    assert (evidence["atlas"], evidence["owasp"], evidence["note"]) == ("AML.T0043.001", "ML01", "why")


def test_the_immune_are_reported_and_never_acted_on(configured: Configured) -> None:
    policy, told = configured(immune=["api_key:batch-*"])
    members = np.zeros((4, DIMENSIONS), np.float32)
    cluster = Cluster(members, 0.1, {"api_key:batch-7": 90, "b": 9})
    policy.judge("m", [found(9.0, Subject("caller", "api_key:batch-7")), found(9.0, Subject("group", "owner:x"))], NOW)
    policy.judge("m", [found(9.0, Subject("cluster", "c"), cluster=cluster)], NOW)
    assert policy.standing("m", "api_key:batch-7", ("owner:x",), NOW) == CLEAR
    assert row_standings(policy, "api_key:batch-7", members, NOW) == [CLEAR] * 4
    assert any(each.immune and each.subject.id == "api_key:batch-7" for each in told)
    assert step(policy, "b") == "block", "the others of the cluster are not spared"


def test_shadow_and_percent_report_and_do_nothing(configured: Configured) -> None:
    for settings in ({"mode": "shadow"}, {"percent": 0}, {"profile": None}):
        policy, told = configured(**settings)
        policy.judge("m", [found(9.0)], NOW)
        assert step(policy) is None
        assert [each.mode for each in told] == ["shadow"]
        assert [each.step for each in policy.verdicts(NOW)] == ["block"], "the metrics are the same"


def test_a_group_is_held_a_step_milder(configured: Configured) -> None:
    policy, _ = configured()
    policy.judge("m", [found(6.5, Subject("group", "owner:x"))], NOW)
    assert step(policy, "whoever", groups=("network:1", "owner:x")) == "throttle"
    assert step(policy, "whoever", groups=("network:1",)) is None


def test_a_cluster_acts_on_its_rows_whoever_sends_them(configured: Configured) -> None:
    policy, _ = configured("silent")
    members = np.eye(3, DIMENSIONS, dtype=np.float32)
    cluster = Cluster(members, 0.2, {"a": 40, "b": 3, "c": 2})
    assert not policy.members("m", "caller")
    policy.judge("m", [found(3.5, Subject("cluster", "c"), cluster=cluster)], NOW)
    assert policy.members("m", "caller")
    near, far = members[1] + np.float32(0.01), members[1] * np.float32(2)
    standings = row_standings(policy, "stranger", np.stack([near, far]), NOW)
    assert [each.echoes for each in standings] == [True, False]
    assert (step(policy, "b"), step(policy, "c")) == ("coarsen", None), "two near rows are a coincidence"
    assert row_standings(policy, "stranger", near[np.newaxis], NOW + 151) == [CLEAR]


def test_what_one_caller_did_alone_is_held_against_nobody_else(configured: Configured) -> None:
    policy, _ = configured("silent")
    members = np.eye(3, DIMENSIONS, dtype=np.float32)
    policy.judge("m", [found(3.5, Subject("cluster", "c"), cluster=Cluster(members, 0.2, {"a": 40, "b": 2}))], NOW)
    assert row_standings(policy, "stranger", members, NOW) == [CLEAR] * 3
    assert all(each.echoes for each in row_standings(policy, "a", members, NOW))
    everyone = Cluster(members, 0.2, {"a": 42, "stranger": 30})
    policy.judge("m", [found(1.5, Subject("cluster", "c"), cluster=everyone)], NOW + 1)
    assert row_standings(policy, "stranger", members, NOW + 1) == [CLEAR] * 3, "weak evidence draws nobody in"
    policy.judge("m", [found(4.5, Subject("cluster", "c"), cluster=everyone)], NOW + 2)
    assert all(each.echoes for each in row_standings(policy, "stranger", members, NOW + 2))


def test_silence_never_refuses(configured: Configured) -> None:
    policy, _ = configured("silent")
    policy.judge("m", [found(9.0)], NOW)
    standing = policy.standing("m", "a", (), NOW)
    assert (standing.step, standing.blocked, standing.echoes, standing.slowed) == ("block", False, True, True)
    assert standing.rules == "coarsen", "no limit that would refuse"


def test_the_table_is_bounded_and_keeps_the_hardest(configured: Configured) -> None:
    policy, _ = configured()
    policy.judge("m", [found(9.0, Subject("caller", "worst"))], NOW)
    for at in range(MAX_VERDICTS + 50):
        policy.judge("m", [found(2.2, Subject("caller", f"c{at}"), time=NOW + at / 1e3)], NOW + at / 1e3)
    assert len(policy.verdicts(NOW)) <= MAX_VERDICTS
    assert policy.evicted >= 50
    assert step(policy, "worst") == "block"


def test_a_reload_keeps_verdicts_and_drops_those_on_models_that_are_gone(configured: Configured) -> None:
    policy, _ = configured()
    policy.judge("m", [found(9.0)], NOW)
    policy.configure({"m": Detection(mode="shadow")})
    assert step(policy) is None
    assert policy.verdicts(NOW)
    policy.configure({})
    assert not policy.verdicts(NOW)
    assert policy.judge("m", [found(9.0)], NOW) == []


def test_a_reload_with_a_shorter_ladder_takes_its_last_step(configured: Configured) -> None:
    policy, _ = configured()
    policy.judge("m", [found(9.0)], NOW)
    short = {"extraction": {}, "evasion": {"ladder": LADDER[:2]}}
    policy.configure({"m": Detection.model_validate({"policy": short})})
    shown = policy.verdicts(NOW)[0].to_json(NOW)
    assert (shown["step"], shown["highest"], shown["mode"]) == ("coarsen", "coarsen", "shadow")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"detectors": {"prada": True}}, "no detector 'prada'; known: query_provenance"),
        ({"policy": {"evasion": {"ladder": LADDER[::-1]}}}, "must rise"),
        ({"semantics": "logits"}, "name it as output"),
        ({"profile": "/nowhere.json"}, "cannot be read"),
        ({"own": [{"path": "nowhere:Thing"}]}, "cannot be imported"),
        ({"own": [{"path": "collections:Counter"}]}, "lack name, see, stats"),
        ({"mode": "on"}, "shadow"),
    ],
)
def test_wrong_settings_are_told(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Detection.model_validate(settings)


def test_a_verdict_on_a_cluster_is_told_with_its_callers(configured: Configured) -> None:
    settings = configured()[0].settings("m")
    assert settings is not None
    seen: list[dict[str, Any]] = []
    policy = Policy(lambda verdict, now: seen.append(verdict.to_json(now)))
    policy.configure({"m": settings})
    cluster = Cluster(np.zeros((1, DIMENSIONS), np.float32), 0.1, {"a": 4, "b": 1})
    policy.judge("m", [found(4, Subject("cluster", "c"), cluster=cluster)], NOW)
    assert [each["callers"] for each in seen if each["subject"]["kind"] == "cluster"] == [{"a": 4}]


def test_a_row_belongs_to_the_cluster_whose_member_is_nearest_in_radii(configured: Configured) -> None:
    policy, _ = configured()
    members = np.zeros((2, DIMENSIONS), np.float32)
    members[:, 0] = 5, 6
    for name, member, radius in zip("nw", members, (0.3, 0.8), strict=True):
        cluster = Cluster(member[np.newaxis], radius, {"a": 2, "b": 2})
        policy.judge("m", [found(3.5, Subject("cluster", name), cluster=cluster)], NOW)
    rows = np.zeros((6, DIMENSIONS), np.float32)
    rows[:, 0] = 4.65, 4.75, 5.25, 5.31, 6.75, 6.85
    owners = policy.members("m", "a").of(rows)
    assert [each and each.subject.id for each in owners] == [None, "n", "n", "w", "w", None]


def test_rows_are_compared_with_members_some_at_a_time_and_none_is_missed(configured: Configured) -> None:
    policy, _ = configured("silent")
    rng = np.random.default_rng(0)
    members = rng.normal(size=(3000, DIMENSIONS)).astype(np.float32)
    cluster = Cluster(members, 0.1, {"a": 40, "b": 40})
    policy.judge("m", [found(3.5, Subject("cluster", "c"), cluster=cluster)], NOW)
    rows = rng.normal(size=(300, DIMENSIONS)).astype(np.float32)
    assert len(rows) * len(members) > 3 * AT_ONCE
    near = rng.choice(len(rows), 40, replace=False)
    rows[near] = members[rng.choice(len(members), 40)] + np.float32(0.001)
    standings = row_standings(policy, "a", rows, NOW)
    assert [at for at, each in enumerate(standings) if each.echoes] == sorted(near.tolist())
