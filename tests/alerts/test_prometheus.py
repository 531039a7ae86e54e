"""A real Prometheus that scrapes a running proxy during a drill that steals its model: the rules fire, and resolve."""

import json
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from proxy.__main__ import main
from tests.alerts.prometheus import Prometheus, prometheus
from tests.alerts.rules import alerts, hurried
from tests.alerts.test_dashboard import filled, queries
from tests.processes import TOKEN, Backend, Running, admin_page
from tests.protection.conftest import Protect, Protected
from tests.protection.toy import predict_request, send

pytestmark = pytest.mark.timeout(480)
DIVISOR = 40
"""Durations of the rules are shorter by this: five minutes become seven seconds, and nothing is less than one."""
LADDER = [{"step": "observe", "score": 2, "ttl": 1}, {"step": "block", "score": 3, "ttl": 2}]
RNG = np.random.default_rng(0)
ORDINARY = RNG.normal(0, 1, (900, 4)).astype(np.float32)
MADE_UP = RNG.uniform(-9, 9, (400, 4)).astype(np.float32)


NOT_HERE = {
    "Detectors left out",
    "Limits: calls over and near",
    "Rows changed by rules",
    "Rules that contradict a model's signatures",
    "Seconds until certificates end",
    "Since the last hardening",
    "Squeezing: disagreement",
    "Squeezing: rows above the threshold, calls not scored",
    "Store",
    "What rules refused or did not fit",
    "What the store keeps here",
    "Events by what happened",
    "Events not delivered, and waiting",
    "Operators' decisions",
    "Rows captured",
    "Calls not captured",
    "Capture: on disk, waiting, failing",
    "Time in defenses, 99 %",
}
"""Panels of the dashboard about what this proxy does not do, or what is well with it."""


@pytest.fixture
def watched(toy: Backend, protect: Protect, tmp_path: Path) -> Protected:
    """A proxy with a learned profile; detection is enforced, and refuses."""
    np.save(tmp_path / "rows.npy", ORDINARY)
    learn = [
        "calibrate",
        "--target",
        toy.address,
        "--model",
        "toy",
        "--input",
        "x",
        "--callers",
        "40",
        "--rate",
        "0.02",
    ]
    assert main([*learn, "--data", str(tmp_path / "rows.npy"), "--out", str(tmp_path / "toy.json")]) == 0
    response = {"answer": "refuse", "ladder": LADDER, "half_life": 1}
    policy = dict.fromkeys(("evasion", "extraction", "membership", "inversion"), response)
    detection = {"mode": "enforce", "profile": str(tmp_path / "toy.json"), "policy": policy}
    return protect({"detection": detection}, identity={"order": ["forwarded_for"]})


def ask(protected: Protected, rows: Any, caller: str) -> bool:
    """Whether it was answered."""
    try:
        send(protected.channel, "Predict", predict_request(x=rows).SerializeToString(), **{"x-forwarded-for": caller})
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.PERMISSION_DENIED:
            raise
        return False
    return True


def ordinary(protected: Protected, calls: int) -> None:
    for at in range(calls):
        assert ask(protected, ORDINARY[at : at + 1], f"10.1.{at % 20}.1")
        time.sleep(0.01)


def drill(protected: Protected, toy: Backend, folder: Path) -> Running:
    """`tensorwall drill` with an attack that asks made-up rows until it is refused."""
    (folder / "token").write_text(TOKEN)
    labels = np.zeros(len(ORDINARY), np.int64)
    np.savez(folder / "drill.npz", x=ORDINARY, y=labels, foreign_x=MADE_UP, foreign_y=labels[: len(MADE_UP)])
    where = ["--target", protected.proxy.address, "--direct", toy.address, "--admin", protected.proxy.admin]
    where += ["--admin-token-file", str(folder / "token"), "--forwarded", "--model", "toy"]
    what = ["--data", str(folder / "drill.npz"), "--attacks", "knockoff", "--budget", "400"]
    return Running("drill", *where, *what, "--out", str(folder / "drill.json"))


def test_alerts_fire_during_a_drill_and_resolve_afterwards(watched: Protected, toy: Backend, tmp_path: Path) -> None:
    with prometheus(tmp_path, [watched.proxy.admin], hurried(DIVISOR)) as server:
        server.until(lambda: server.query("tensorwall_ready == 1"), "a scrape")
        loaded = {rule["name"] for group in server.get("rules")["groups"] for rule in group["rules"]}
        assert loaded == set(alerts())
        ordinary(watched, 200)
        server.until(lambda: server.query("sum(tensorwall_observed_rows_total) >= 200"), "all ordinary rows")
        server.until(lambda: not server.firing(), "the end of starting")
        ordinary(watched, 100)
        time.sleep(3)
        assert not server.firing(), "benign traffic raises no alert"

        began = time.time()
        expected = {"TensorwallExtraction", "TensorwallCallersBlocked"}
        with drill(watched, toy, tmp_path) as attack:
            server.until(lambda: expected <= set(server.firing()), "the alert", 100)
            seen = server.firing()
            empty = {title for title, query in queries() if not server.query(filled(query, "30s"))}
            assert empty <= NOT_HERE, "every other panel shows something"
            assert attack.process.wait(120) == 0, attack.log()
        (run,) = [run for run in json.loads((tmp_path / "drill.json").read_text())["runs"] if run["mode"] == "on"]
        assert (run["found_at"] is not None, run["step"]) == (True, "block")
        said = seen["TensorwallExtraction"]
        assert (said["labels"]["model"], said["labels"]["atlas"]) == ("toy", "AML.T0024.002")
        for alert in seen.values():
            text = " ".join(alert["annotations"].values())
            assert "{{" not in text
            assert "<error" not in text
        assert _exemplar(server, began) in watched.proxy.process.log(), "it names a verdict of the log"
        assert server.query("time() - max(tensorwall_last_attack_timestamp_seconds) < 60")

        server.until(lambda: not server.firing(), "the end of the alert")
        assert not verdicts(watched), "who was blocked is answered again"
        assert server.query('sum(tensorwall_attacks_total{technique="extraction", step="block"}) >= 1')


def verdicts(protected: Protected) -> Any:
    return json.loads(admin_page(protected.proxy.admin, "/verdicts"))["verdicts"]


def _exemplar(server: Prometheus, began: float) -> str:
    found = server.get("query_exemplars", query="tensorwall_attacks_total", start=str(began), end=str(time.time()))
    exemplars = [each["labels"]["verdict_id"] for series in found for each in series["exemplars"]]
    assert exemplars
    return f'"id": "{exemplars[0]}"'


def test_a_proxy_that_is_gone_is_told(protect: Protect, tmp_path: Path) -> None:
    protected = protect({})
    with prometheus(tmp_path, [protected.proxy.admin], hurried(DIVISOR)) as server:
        server.until(lambda: server.query('up{job="tensorwall"} == 1') and not server.firing(), "a scrape, no alert")
        protected.proxy.process.stop()
        server.until(lambda: "TensorwallDown" in server.firing(), "the alert")
