"""What operators decide: who wins, how long it lasts, what a release forgives and what it does not."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detectors.findings import Cluster, Finding, Reading, Subject, Technique
from detectors.observation import DIMENSIONS
from proxy.policy import CLEAR, Action, Policy, TooManyDecisionsError, Verdict
from proxy.policy import manual as module
from proxy.policy.manual import ActionKind, Manual
from tests.policy.test_policy import NOW, Configured, configured, found, row_standings, step

__all__ = ["configured"]


def action(
    kind: ActionKind, caller: str = "a", model: str | None = None, time: float = NOW, until: float | None = None
) -> Action:
    return Action(kind, caller, model, "alice", "why", time, until)


def decide(manual: Manual, kind: ActionKind, at: float = 0, **given: Any) -> None:
    manual.decide(action(kind, time=NOW + at, **given), [], NOW + at)


def test_a_block_is_of_one_caller_and_of_one_model_or_all() -> None:
    manual = Manual()
    decide(manual, "block", model="m")
    decide(manual, "block", caller="b")
    assert manual.blocks("a", "m", NOW)
    assert not manual.blocks("a", "n", NOW)
    assert not manual.blocks("a", "", NOW), "a call of no known model is refused by a block of all only"
    assert manual.blocks("b", "m", NOW)
    assert manual.blocks("b", "", NOW)
    assert not manual.blocks("c", "m", NOW)


def test_the_last_word_counts_until_it_has_run_out() -> None:
    manual = Manual()
    decide(manual, "block")
    decide(manual, "immunise", at=1, model="m", until=NOW + 100)
    assert manual.immune("a", "m", NOW + 99)
    assert not manual.blocks("a", "m", NOW + 99)
    assert manual.blocks("a", "n", NOW + 99)
    assert manual.blocks("a", "m", NOW + 100), "then the one before counts again"
    decide(manual, "release", at=101)
    assert not manual.blocks("a", "m", NOW + 102)


def test_a_release_of_all_models_ends_blocks_of_one_and_the_other_way_round() -> None:
    manual = Manual()
    decide(manual, "block", model="m")
    decide(manual, "release", at=1)
    assert not manual.blocks("a", "m", NOW + 1)
    decide(manual, "block", at=2)
    decide(manual, "release", at=3, model="m")
    assert not manual.blocks("a", "m", NOW + 3)
    assert manual.blocks("a", "n", NOW + 3)
    assert [each.kind for each in manual.standing(NOW + 3)] == ["block"]


def test_a_release_leaves_an_immunity_alone_and_its_end_a_block() -> None:
    manual = Manual()
    decide(manual, "immunise")
    decide(manual, "release", at=1)
    assert manual.immune("a", "m", NOW + 1)
    decide(manual, "end_immunity", at=2)
    assert not manual.immune("a", "m", NOW + 2)
    decide(manual, "block", at=3)
    decide(manual, "end_immunity", at=4)
    assert manual.blocks("a", "m", NOW + 4)


def test_the_table_is_bounded_and_refuses_rather_than_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DECISIONS", 3)
    manual = Manual()
    for caller in "abc":
        decide(manual, "block", caller=caller, until=NOW + 50 if caller == "a" else None)
    with pytest.raises(TooManyDecisionsError, match="3 decisions stand"):
        decide(manual, "block", caller="d")
    decide(manual, "block", at=50, caller="d")
    assert not manual.blocks("a", "m", NOW + 50)
    assert all(manual.blocks(caller, "m", NOW + 50) for caller in "bcd")
    decide(manual, "release", at=51, caller="b")
    decide(manual, "block", at=52, caller="e")
    assert [each.caller for each in manual.standing(NOW + 52)] == ["c", "d", "e"]


def test_an_action_survives_json_and_nonsense_is_refused() -> None:
    one = action("block", caller="a\u202e", model="m", until=NOW + 1)
    assert Action.from_json(one.to_json()) == one
    for nonsense in ({}, {"kind": "block"}, one.to_json() | {"more": 1}, one.to_json() | {"kind": "explode"}):
        with pytest.raises(ValueError, match="no action"):
            Action.from_json(nonsense)


def test_a_decision_is_shown_as_verdicts_are(configured: Configured) -> None:
    held, _ = configured()
    held.judge("m", [found(9.0)], NOW)
    for kind in ("block", "immunise"):
        shown = action(kind, until=NOW + 5).as_verdict()
        assert set(shown) - set(held.verdicts(NOW)[0].to_json(NOW)) == {"manual"}
        assert set(held.verdicts(NOW)[0].to_json(NOW)) <= set(shown)


@pytest.fixture
def policy(configured: Configured) -> tuple[Policy, list[Verdict]]:
    return configured()


def test_an_immunity_is_reported_and_ends_by_itself(policy: tuple[Policy, list[Verdict]]) -> None:
    held, _ = policy
    held.judge("m", [found(6.5)], NOW)
    assert held.standing("m", "a", (), NOW).blocked
    held.apply(action("immunise", until=NOW + 60), NOW)
    assert held.standing("m", "a", (), NOW + 59) == CLEAR
    shown = held.verdicts(NOW + 59)[0]
    assert (shown.mode, shown.immune, shown.step) == ("shadow", True, "block")
    assert held.standing("m", "a", (), NOW + 61).blocked
    shown = held.verdicts(NOW + 61)[0]
    assert (shown.mode, shown.immune) == ("enforce", False)


def test_what_is_found_of_an_immune_caller_is_told_as_such(policy: tuple[Policy, list[Verdict]]) -> None:
    held, told = policy
    held.apply(action("immunise"), NOW)
    held.judge("m", [found(9.0)], NOW)
    assert [(each.mode, each.immune) for each in told] == [("shadow", True)]
    assert held.standing("m", "a", (), NOW) == CLEAR


def test_decisions_survive_a_reload(policy: tuple[Policy, list[Verdict]]) -> None:
    held, _ = policy
    held.apply(action("block"), NOW)
    held.configure({})
    assert held.manual.blocks("a", "m", NOW)


def reading(surprise: float, rows: int, seen: int, at: float, window: float = 1000.0) -> Finding:
    made = Reading("d", "d.s", Subject("caller", "a"), Technique.EVASION, 1.0, NOW + at, window, rows, seen)
    return Finding(made, surprise, 0.5, False)


def test_a_release_ends_verdicts_and_old_evidence_does_not_raise_them_again(
    policy: tuple[Policy, list[Verdict]],
) -> None:
    held, _ = policy
    held.judge("m", [reading(6.5, rows=40, seen=100, at=0)], NOW)
    assert held.standing("m", "a", (), NOW).blocked
    assert [each.subject.id for each in held.apply(action("release", time=NOW + 1), NOW + 1)] == ["a"]
    assert step(held, now=NOW + 1) is None
    held.judge("m", [reading(9.0, rows=40, seen=100, at=0.5)], NOW + 2)
    assert step(held, now=NOW + 2) is None, "rows from before the release, read late"
    held.judge("m", [reading(6.9, rows=41, seen=101, at=2)], NOW + 2)
    assert step(held, now=NOW + 2) is None, "one row more over the same old window"
    held.apply(action("release", time=NOW + 3), NOW + 3)
    held.judge("m", [reading(6.9, rows=42, seen=102, at=4)], NOW + 4)
    assert step(held, now=NOW + 4) is None, "released twice is not forgiven less"


def replace_detector(finding: Finding) -> Finding:
    return replace(finding, reading=replace(finding.reading, detector="other", statistic="other.s"), surprise=6.5)


@pytest.mark.parametrize(
    ("finding", "why"),
    [
        (reading(6.5, rows=41, seen=140, at=60), "as many rows again"),
        (reading(7.6, rows=60, seen=120, at=60), "a decade more"),
        (replace_detector(reading(2.5, rows=10, seen=110, at=60)), "of a detector that had found nothing"),
    ],
)
def test_new_evidence_counts_after_a_release(policy: tuple[Policy, list[Verdict]], finding: Finding, why: str) -> None:
    held, _ = policy
    held.judge("m", [reading(6.5, rows=40, seen=100, at=0)], NOW)
    held.apply(action("release", time=NOW + 1), NOW + 1)
    held.judge("m", [finding], NOW + 60)
    assert step(held, now=NOW + 60) == "block", why


def test_a_released_caller_is_not_held_to_older_verdicts_on_its_group_or_cluster(configured: Configured) -> None:
    held, _ = configured()
    members = np.zeros((4, DIMENSIONS), np.float32)

    def cluster(rows: int, at: float) -> Finding:
        return found(9.0, Subject("cluster", "c"), time=NOW + at, cluster=Cluster(members, 0.1, {"a": rows, "b": 5}))

    held.judge("m", [found(9.0, Subject("group", "g")), cluster(6, 0)], NOW)
    assert step(held) == "block"
    held.apply(action("release", time=NOW + 1), NOW + 1)
    assert step(held, now=NOW + 2, groups=("g",)) is None
    assert row_standings(held, "a", members[:1], NOW + 2) == [CLEAR]
    assert row_standings(held, "b", members[:1], NOW + 2)[0].blocked, "others are"
    held.judge("m", [cluster(11, 3)], NOW + 3)
    assert step(held, now=NOW + 3) is None, "fewer near rows than it was released from"
    held.judge("m", [cluster(12, 4)], NOW + 4)
    assert step(held, now=NOW + 4) == "block", "as many again"


def test_a_release_of_one_model_leaves_the_others(configured: Configured) -> None:
    held, _ = configured()
    held.judge("m", [found(9.0)], NOW)
    held.apply(action("release", model="n"), NOW)
    assert step(held) == "block"
