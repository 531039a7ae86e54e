"""What a real proxy did, found again in its own recording."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import yaml

from detectors.profile import Profile
from proxy.__main__ import main
from proxy.capture.source import Source
from tests.protection.conftest import Protect
from tests.protection.toy import classify, example, predict_request, send

ROWS = np.random.default_rng(0).normal(0, 1, (400, 4)).astype(np.float32)


def replay(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    (folder / "candidate.yaml").write_text(yaml.safe_dump({"upstream": "127.0.0.1:1"} | config))
    where = ["--config", str(folder / "candidate.yaml"), "--capture", str(folder / "captured")]
    assert main(["replay", *where, "--json", str(folder / "report.json")]) == 0
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def test_the_same_configuration_finds_the_same_caller(protect: Protect, tmp_path: Path) -> None:
    replace(Profile.defaults("toy", b"0123456789abcdef"), calibrated=True).write(tmp_path / "toy.json")
    detection = {
        "mode": "shadow",
        "profile": str(tmp_path / "toy.json"),
        "own": [{"path": "tests.detection.own:Rows", "settings": {"most": 50}}],
        "policy": {"extraction": {"answer": "refuse"}},
    }
    capture = {"path": str(tmp_path / "captured"), "models": {"toy": 1}}
    identity = {"order": ["forwarded_for"]}
    protected = protect({"detection": detection}, capture=capture, identity=identity)
    for at in range(20):
        body = predict_request(x=ROWS[10 * at : 10 * at + 10]).SerializeToString()
        send(protected.channel, "Predict", body, **{"x-forwarded-for": "10.0.0.1"})
        if at < 4:
            send(protected.channel, "Predict", body, **{"x-forwarded-for": "10.7.0.2"})
    deadline = time.monotonic() + 20
    while not protected.count("tensorwall_verdicts", subject="caller"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert protected.proxy.process.stop() == 0
    marked = [call for call in Source([str(tmp_path / "captured")]) if call.marks]
    assert {call.caller.id for call in marked} <= {"forwarded_for:10.0.0.1"}

    report = replay(tmp_path, {"models": {"toy": {"detection": detection | {"mode": "enforce"}}}})
    assert (report["calls"], report["rows"], report["callers"]) == (24, 240, 2)
    blocked = next(each for each in report["rules"] if each["step"] == "block" and each["mode"] == "enforce")
    assert [each["caller"] for each in blocked["by_caller"]] == ["forwarded_for:10.0.0.1"]
    assert blocked["evidence"]["evidence"][0]["seen"] >= 60, "what had gathered until the detectors looked"
    assert report["acted_on"]["callers"] == 1
    assert report["acted_on"]["marked"] == bool(marked)
    assert report["unread_calls"] == 0


def test_examples_are_observed_as_they_were(protect: Protect, tmp_path: Path) -> None:
    capture = {"path": str(tmp_path / "captured"), "models": {"toy": 1}}
    protected = protect({"detection": {}}, capture=capture)
    for row in ROWS[:5].tolist():
        classify(protected.channel, [example(row)])
    with pytest.raises(grpc.RpcError):
        send(protected.channel, "Classify", b"")
    assert protected.proxy.process.stop() == 0
    report = replay(tmp_path, {"models": {"toy": {"detection": {"mode": "shadow"}}}})
    assert (report["calls"], report["unread_calls"]) == (5, 0)
