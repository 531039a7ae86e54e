"""Detection as callers and operators meet it: a real model, a real proxy, verdicts that act."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from detectors.profile import Profile
from protos import serving_pb2 as serving
from proxy.detection.glance import BLOCK_ROWS
from proxy.detection.sightings import MAX_ROWS
from proxy.tensors import to_array
from tests.processes import START_SECONDS, admin_page
from tests.protection.conftest import Protect, Protected
from tests.protection.toy import X, example, predict_request, send

ROWS = np.random.default_rng(0).normal(0, 1, (400, 4)).astype(np.float32)

Detecting = Callable[..., Protected]


@pytest.fixture
def detecting(protect: Protect, tmp_path: Path) -> Detecting:
    """A proxy with detection of `toy` enforced by a detector that finds whoever sends more than ten rows."""
    replace(Profile.defaults("toy", b"0123456789abcdef"), calibrated=True).write(tmp_path / "toy.json")

    def start(
        answer: str = "refuse", most: int = 10, sections: dict[str, Any] | None = None, **settings: Any
    ) -> Protected:
        detection = {
            "mode": "enforce",
            "profile": str(tmp_path / "toy.json"),
            "own": [{"path": "tests.detection.own:Rows", "settings": {"most": most}}],
            "policy": {"extraction": {"answer": answer}},
        }
        identity = {"order": ["forwarded_for"]}
        return protect({"detection": detection | settings}, identity=identity, **(sections or {}))

    return start


def ask(protected: Protected, rows: Any, caller: str = "10.0.0.1") -> dict[str, Any]:
    body = predict_request(x=np.asarray(rows, np.float32)).SerializeToString()
    reply = send(protected.channel, "Predict", body, **{"x-forwarded-for": caller})
    return {name: to_array(each) for name, each in serving.PredictResponse.FromString(reply).outputs.items()}


def verdicts(protected: Protected) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(admin_page(protected.proxy.admin, "/verdicts"))["verdicts"]
    return found


def until(protected: Protected, condition: Callable[[list[dict[str, Any]]], Any]) -> list[dict[str, Any]]:
    """Waits for the detectors, which run beside the calls."""
    deadline = time.monotonic() + START_SECONDS
    while not condition(found := verdicts(protected)):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def refusal(protected: Protected, caller: str = "10.0.0.1") -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as refused:
        ask(protected, X, caller)
    return refused.value


def test_who_is_found_is_refused_and_learns_nothing_of_why(detecting: Detecting) -> None:
    protected = detecting()
    ask(protected, ROWS[:20])
    shown = until(protected, len)[0]
    assert shown["subject"] == {"kind": "caller", "id": "forwarded_for:10.0.0.1"}
    assert (shown["step"], shown["mode"], shown["evidence"][0]["detector"]) == ("block", "enforce", "rows")
    error = refusal(protected)
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    said = error.details().lower()
    assert not any(word in said for word in ("rows", "score", "threshold", "detect", "extraction", "verdict"))
    ask(protected, X, "10.0.0.2")  # nobody else is
    assert protected.count("tensorwall_refusals_total", reason="verdict") == 1
    assert protected.count("tensorwall_verdicts", step="block", subject="caller") == 1


def test_silence_answers_like_earlier_rows(detecting: Detecting, direct: grpc.Channel) -> None:
    protected = detecting("silent", most=0)
    ask(protected, ROWS[:1])
    until(protected, len)
    told = ask(protected, ROWS[10:18])
    true = ask(protected, ROWS[10:18], "10.9.9.9")
    np.testing.assert_array_equal(told["logits"], true["logits"], "eight rows are told truly")
    late = ask(protected, ROWS[100:160])
    assert set(map(bytes, late["logits"])) <= set(map(bytes, told["logits"])), "and then nothing new"
    assert (late["probs"].max(axis=1) == 1).all(), "and probabilities say the class only"
    assert protected.count("tensorwall_verdict_rows_total") == 60


def test_silence_covers_the_other_methods(detecting: Detecting) -> None:
    protected = detecting("silent", most=0)
    header = {"x-forwarded-for": "10.0.0.1"}
    request = serving.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = "toy", "classify"
    request.input.example_list.examples.extend(example(row) for row in ROWS[:40].tolist())
    send(protected.channel, "Classify", request.SerializeToString(), **header)
    until(protected, len)
    first = serving.ClassificationResponse.FromString(
        send(protected.channel, "Classify", request.SerializeToString(), **header)
    )
    assert len(first.result.classifications) == 40
    again = serving.ClassificationResponse.FromString(
        send(protected.channel, "Classify", request.SerializeToString(), **header)
    )
    assert again == first, "the same rows get the same answers"
    assert protected.count("tensorwall_verdict_rows_total") == (40 - 8) + 40


def test_silence_covers_all_rows_of_a_call_however_many(detecting: Detecting) -> None:
    protected = detecting("silent", most=0)
    ask(protected, ROWS[:1])
    until(protected, len)
    told = ask(protected, ROWS[10:18])
    many = np.random.default_rng(1).normal(0, 1, (MAX_ROWS + 1500, 4)).astype(np.float32)
    late = ask(protected, many)
    assert len(late["logits"]) == len(many)
    assert set(map(bytes, late["logits"])) <= set(map(bytes, told["logits"]))
    assert protected.count("tensorwall_verdict_rows_total") == len(many)


@pytest.mark.parametrize("place", [0, MAX_ROWS - 1, MAX_ROWS, MAX_ROWS + BLOCK_ROWS, MAX_ROWS + BLOCK_ROWS + 75])
def test_a_row_of_a_blocked_cluster_is_found_wherever_it_is_in_a_call(detecting: Detecting, place: int) -> None:
    protected = detecting(own=[{"path": "tests.detection.own:Around"}])
    ask(protected, ROWS[:1])
    until(protected, len)
    far = np.random.default_rng(1).normal(5, 1, (MAX_ROWS + BLOCK_ROWS + 76, 4)).astype(np.float32)
    assert len(ask(protected, far, "10.9.9.9")["logits"]) == len(far)
    far[place] = ROWS[0]
    with pytest.raises(grpc.RpcError) as refused:
        ask(protected, far, "10.9.9.9")
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_shadow_and_immunity_change_no_byte(detecting: Detecting, direct: grpc.Channel) -> None:
    body = predict_request(x=ROWS[:30]).SerializeToString()
    expected = send(direct, "Predict", body)
    for settings in ({"mode": "shadow"}, {"immune": ["forwarded_for:10.0.*"]}, {"percent": 0}, {"mode": "off"}):
        protected = detecting(**settings)
        header = {"x-forwarded-for": "10.0.0.1"}
        assert send(protected.channel, "Predict", body, **header) == expected
        if settings.get("mode") != "off":
            shown = until(protected, len)[0]
            assert (shown["mode"], shown["immune"]) == ("shadow", "immune" in settings)
        assert send(protected.channel, "Predict", body, **header) == expected


def test_a_detector_that_raises_is_left_out_and_harms_nobody(detecting: Detecting) -> None:
    own = [{"path": "tests.detection.own:Broken"}, {"path": "tests.detection.own:Rows", "settings": {"most": 10}}]
    protected = detecting(own=own)
    ask(protected, ROWS[:20])
    until(protected, len)
    protected.proxy.process.wait_until(
        lambda: protected.count("tensorwall_detector_failures_total", detector="broken") == 1, "told of it"
    )
    assert refusal(protected).code() is grpc.StatusCode.PERMISSION_DENIED


def test_without_a_profile_it_stays_in_shadow_and_says_so(detecting: Detecting) -> None:
    protected = detecting(profile=None)
    ask(protected, ROWS[:20])
    assert until(protected, len)[0]["mode"] == "shadow"
    ask(protected, X)
    assert "has no profile" in protected.proxy.process.log()


def test_what_cannot_be_read_is_counted_or_refused(detecting: Detecting) -> None:
    protected = detecting(most=10**6)
    request = predict_request(x=ROWS[:3])
    request.inputs["x"].tensor_content = b"short"
    with pytest.raises(grpc.RpcError) as refused:
        send(protected.channel, "Predict", request.SerializeToString(), **{"x-forwarded-for": "10.0.0.1"})
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as refused:
        send(protected.channel, "Predict", b"\xff\xff", **{"x-forwarded-for": "10.0.0.1"})
    assert "no valid message" in str(refused.value.details())
    ask(protected, ROWS[:3])
    deadline = time.monotonic() + START_SECONDS
    while protected.count("tensorwall_observed_rows_total") < 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert protected.count("tensorwall_observed_rows_total") == 3


def test_rows_in_a_shared_context_are_seen(detecting: Detecting) -> None:
    protected = detecting(most=2)
    for row in ROWS[:4].tolist():
        request = serving.RegressionRequest()
        request.model_spec.name, request.model_spec.signature_name = "toy", "regress"
        request.input.example_list_with_context.examples.add()
        request.input.example_list_with_context.context.CopyFrom(example(row))
        send(protected.channel, "Regress", request.SerializeToString(), **{"x-forwarded-for": "10.0.0.1"})
    until(protected, lambda shown: shown and shown[0]["evidence"][0]["seen"] == 4)
    assert protected.count("tensorwall_unobserved_rows_total") == 0


def test_a_caller_is_not_held_back_for_longer_than_it_waits(detecting: Detecting) -> None:
    ladder = [{"step": "slow", "score": 1, "ttl": 60}]
    protected = detecting(most=0, policy={"extraction": {"answer": "refuse", "ladder": ladder}})
    ask(protected, ROWS[:1])
    until(protected, len)
    body = predict_request(x=ROWS[:1]).SerializeToString()
    call = protected.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    call(body, timeout=0.4, metadata=(("x-forwarded-for", "10.0.0.1"),))  # a delay is 0.25 s at least, half of it here
    assert protected.count("tensorwall_verdict_calls_total", action="slowed") == 1
