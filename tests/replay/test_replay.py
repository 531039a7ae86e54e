"""Recordings of known content through candidates of known effect, by the command itself."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from detectors.findings import Subject, Technique
from detectors.profile import Profile
from protos import prediction_log_pb2 as log
from proxy.__main__ import main
from proxy.capture.record import RecordedCall
from proxy.capture.tfrecord import framed
from proxy.config.detection import Response
from proxy.policy import Verdict
from proxy.replay.tally import Tally
from tests.capture.made import MARK, call, write

NOON = 1_800_000_000.0
ROWS = np.random.default_rng(0).normal(0, 1, (400, 4)).astype(np.float32)

Replaying = Callable[..., dict[str, Any]]


@pytest.fixture
def replaying(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Replaying:
    """Replays calls through a candidate and gives the JSON; `printed` in it is what was printed."""

    def run(calls: Sequence[RecordedCall], config: dict[str, Any], code: int = 0, end: bytes = b"") -> dict[str, Any]:
        write(tmp_path / "captured" / "toy" / "a.tfrecord", calls, end)
        (tmp_path / "candidate.yaml").write_text(yaml.safe_dump({"upstream": "127.0.0.1:1"} | config))
        out = tmp_path / "report.json"
        arguments = ["--config", str(tmp_path / "candidate.yaml"), "--capture", str(tmp_path / "captured")]
        assert main(["replay", *arguments, "--json", str(out)]) == code
        captured = capsys.readouterr()
        report: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
        return report | {"printed": captured.out, "said": captured.err}

    return run


def detection(tmp_path: Path, most: int = 10, **more: Any) -> dict[str, Any]:
    """Whoever sends more than `most` rows is found at once."""
    profile = tmp_path / "toy.json"
    replace(Profile.defaults("toy", b"0123456789abcdef"), calibrated=True).write(profile)
    own = [{"path": "tests.detection.own:Rows", "settings": {"most": most}}]
    policy = {"extraction": {"answer": "refuse"}}
    found = {"mode": "enforce", "profile": str(profile), "own": own, "policy": policy}
    return {"models": {"toy": {"detection": found | more}}}


def rule(report: dict[str, Any], **wanted: Any) -> dict[str, Any]:
    rules: list[dict[str, Any]] = report["rules"]
    found = [each for each in rules if wanted.items() <= each.items()]
    assert len(found) == 1, rules
    return found[0]


def test_a_limit_counts_as_it_would_have_at_the_recorded_times(replaying: Replaying) -> None:
    # One row a second for a minute, of a caller that may have one in two seconds, and five at once.
    calls = [call(NOON + at) for at in range(60)] + [call(NOON + 60, who="10.0.0.2", marks=[MARK])]
    limits = [{"name": "slow", "by": "caller", "rate": "30/m", "burst": 5}]
    report = replaying(calls, {"limits": limits})
    found = rule(report, kind="limit", name="slow", mode="enforce")
    # 5 at once and then one each two seconds: 5 + 59/2 = 34 of 60 pass.
    assert found["calls"] == found["rows"] == report["refused"]["calls"] == 26
    assert found["first"] == "2027-01-15T08:00:09.000Z"
    assert (found["callers"], found["callers_marked"], found["callers_unmarked"]) == (1, 0, 1)
    assert found["by_caller"][0]["caller"] == "forwarded_for:10.0.0.1"
    assert found["evidence"] == {"by": "caller", "unit": "rows", "cost": 1, "most": 5}
    assert report["acted_on"] == {"callers": 1, "marked": 0, "unmarked": 1}
    assert report["marked_not_acted_on"] == 1
    assert "1 were not (wrongly acted on, as far as the recording knows)" in report["printed"]


def test_a_limit_in_shadow_refuses_nobody(replaying: Replaying) -> None:
    limits = [{"name": "slow", "by": "caller", "rate": "30/m", "burst": 5, "mode": "shadow"}]
    report = replaying([call(NOON + at) for at in range(60)], {"limits": limits})
    assert rule(report, kind="limit", mode="shadow")["calls"] == 26
    assert report["refused"]["calls"] == report["acted_on"]["callers"] == 0


def test_slots_are_held_for_as_long_as_calls_took(replaying: Replaying) -> None:
    limits = [{"name": "few", "by": "caller", "in_flight": 2}]
    slow = [replace(call(NOON + at), seconds=2.5) for at in range(10)]
    # Held for 2.5 s: of each three that begin a second apart, the third is refused.
    assert rule(replaying(slow, {"limits": limits}), name="few")["calls"] == 3
    quick = [replace(call(NOON + at), seconds=1.5) for at in range(10)]
    assert replaying(quick, {"limits": limits})["rules"] == []


def test_days_pass_at_the_recorded_times(replaying: Replaying) -> None:
    limits = [{"name": "daily", "by": "caller", "budget": 3, "per": "day"}]
    calls = [call(NOON + day * 86_400 + at) for day in range(3) for at in range(5)]
    assert rule(replaying(calls, {"limits": limits}), name="daily")["calls"] == 3 * 2


def test_verdicts_follow_their_evidence_and_run_out(replaying: Replaying, tmp_path: Path) -> None:
    attack = [call(NOON + at, ROWS[at : at + 1], marks=[MARK] if at > 20 else []) for at in range(30)]
    late = [call(NOON + 20_000, ROWS[:1])]  # after the ladder's hours
    benign = [call(NOON + at + 0.5, ROWS[100:101], who="10.0.0.2") for at in range(5)]
    report = replaying(sorted([*attack, *late, *benign], key=lambda each: each.time), detection(tmp_path))
    found = rule(report, kind="verdict", name="extraction", step="block", mode="enforce")
    # Row 11 is one too many; from the twelfth call on it is blocked, until the verdict has run out.
    assert found["calls"] == report["refused"]["calls"] == 19
    assert found["first"] == "2027-01-15T08:00:10.030Z"
    assert found["by_caller"] == [
        {
            "caller": "forwarded_for:10.0.0.1",
            "calls": 19,
            "rows": 19,
            "first": found["first"],
            "marked": True,
        }
    ]
    evidence = found["evidence"]["evidence"][0]
    assert (evidence["statistic"], evidence["seen"]) == ("rows.count", 11)
    assert report["acted_on"] == {"callers": 1, "marked": 1, "unmarked": 0}
    assert "rows.count" in report["printed"]


def test_a_call_counts_once_however_many_verdicts_say_the_same() -> None:
    tally, response = Tally(), Response()
    verdicts = [
        Verdict(kind, "m", Subject(kind, "x"), Technique.EVASION, response, "enforce", False, NOON, NOON)
        for kind in ("caller", "cluster")
    ]
    for at in range(3):
        seen = call(NOON + at, ROWS[at : at + 2])
        tally.begin(seen)
        for verdict in verdicts:
            tally.under(seen, verdict, "block", True)
    (effect,) = tally.effects.values()
    assert (effect.calls, effect.rows) == (3, 6)
    assert [(share.calls, share.rows) for share in effect.callers.values()] == [(3, 6)]


def test_steps_of_the_ladder_are_told_apart(replaying: Replaying, tmp_path: Path) -> None:
    ladder = [{"step": "observe", "score": 1, "ttl": 60}, {"step": "coarsen", "score": 2, "ttl": 600}]
    config = detection(tmp_path, policy={"extraction": {"answer": "silent", "ladder": ladder}})
    report = replaying([call(NOON + at, ROWS[at : at + 1]) for at in range(30)], config)
    assert rule(report, step="coarsen", answer="silent", mode="enforce")["calls"] == 19
    assert report["refused"]["calls"] == 0
    assert "extraction, coarsened, silently" in report["printed"]
    shadow = replaying([call(NOON + at, ROWS[at : at + 1]) for at in range(30)], detection(tmp_path, mode="shadow"))
    assert rule(shadow, step="block", mode="shadow")["calls"] == 19
    assert shadow["acted_on"]["callers"] == shadow["refused"]["calls"] == 0


def test_the_throttled_have_the_ladders_limits(replaying: Replaying, tmp_path: Path) -> None:
    ladder = [{"step": "throttle", "score": 1, "ttl": 6000}]
    config = detection(tmp_path, policy={"extraction": {"answer": "refuse", "ladder": ladder}})
    config["models"]["toy"]["ladder"] = {"throttle": {"limits": [{"name": "drop", "by": "caller", "rate": "1/m"}]}}
    report = replaying([call(NOON + at, ROWS[at : at + 1]) for at in range(60)], config)
    assert rule(report, kind="verdict", step="throttle")["calls"] == 49
    limited = rule(report, kind="limit", name="drop", model="toy")
    assert limited["calls"] == 48, "the first of them is within the rate"


def test_the_immune_are_reported_and_left_alone(replaying: Replaying, tmp_path: Path) -> None:
    report = replaying(
        [call(NOON + at, ROWS[at : at + 1]) for at in range(30)],
        detection(tmp_path, immune=["forwarded_for:10.0.0.*"]),
    )
    assert rule(report, step="block", mode="shadow")["calls"] == 19
    assert report["acted_on"]["callers"] == 0


def test_hours_are_replayed_in_seconds(replaying: Replaying, tmp_path: Path) -> None:
    calls = [call(NOON + 60 * at, ROWS[at : at + 1], who=f"10.0.{at % 7}.1") for at in range(300)]
    began = time.monotonic()
    report = replaying(calls, detection(tmp_path, most=10**6))
    assert (report["from"], report["to"]) == ("2027-01-15T08:00:00.000Z", "2027-01-15T12:59:00.000Z")
    assert time.monotonic() - began < 60, "five hours"


def test_what_to_know_of_the_recording_is_said(replaying: Replaying) -> None:
    other = log.PredictionLog()
    other.predict_log.request.model_spec.name = "toy"
    end = framed(other.SerializeToString()) + framed(b"x")[:-1]
    report = replaying([call(NOON, share=0.25)], {}, end=end)
    assert report["captured_share"] == {"toy": 0.25}
    assert report["foreign_records"] == 1
    assert "toy: 25% of the calls were captured" in report["printed"]
    assert "nothing would have happened" in report["printed"]
    assert "a.tfrecord: damaged at byte" in report["said"]
    assert report["problems"]


def test_mistakes_are_told(replaying: Replaying, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no call to replay in 1 files" in replaying([], {}, code=1)["said"]
    config = tmp_path / "candidate.yaml"
    assert main(["replay", "--config", str(config), "--capture", str(tmp_path / "nowhere")]) == 2
    assert "no such file" in capsys.readouterr().err
    assert main(["replay", "--config", "c", "--capture", "d", "--json", str(tmp_path / "no" / "where.json")]) == 2
    assert "its folder is not there" in capsys.readouterr().err
    config.write_text("upstream: a:1\nlimits: 3\n")
    assert main(["replay", "--config", str(config), "--capture", str(tmp_path)]) == 2
    assert ":2: limits" in capsys.readouterr().err
