"""The detectors' process killed and stopped under load: calls go on, it comes back, and what it says is right again.

`tests/detection/test_process.py` has the process by itself, and its end with the proxy's.
"""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import numpy as np
import pytest

from detectors.profile import Profile
from protos import serving_pb2 as serving
from proxy.activity import caller_key
from tests.calls import call, open_channel
from tests.e2e.model_server import PREDICT, ModelServer
from tests.faults.seen import Load, State, figure, settles, until
from tests.processes import Proxy, admin_page, children, serving_proxy
from tests.protection.toy import predict_request, proto

MOST = 10
"""Rows of a caller that the tests' own detector has nothing against."""
BENIGN = "10.9.0.1"
REPLY = serving.PredictResponse(outputs={"probabilities": proto([[0.25, 0.75]])}).SerializeToString()
ROWS = np.random.default_rng(0).normal(0, 1, (2 * MOST, 4)).astype(np.float32)
BODIES = [predict_request(x=row[np.newaxis]).SerializeToString() for row in ROWS]


@dataclass(frozen=True)
class Watching:
    """A proxy whose detectors find whoever sends more than MOST rows, the load's caller left in peace."""

    proxy: Proxy

    @property
    def detectors(self) -> int:
        """The process, once it runs with the model's detectors."""
        pid = self.proxy.process.process.pid
        until(lambda: children(pid) and figure(self.proxy, "tensorwall_detector_up") > 0, "watching")
        return children(pid)[0]

    def sends(self, caller: str, rows: int) -> set[grpc.StatusCode]:
        """How the calls ended."""
        with open_channel(self.proxy.address) as channel:
            return {call(channel, PREDICT, body, metadata=_named(caller)).code for body in BODIES[:rows]}

    def refuses(self, caller: str) -> bool:
        return self.sends(caller, 1) == {grpc.StatusCode.PERMISSION_DENIED}

    def restarts(self) -> float:
        return figure(self.proxy, "tensorwall_detection_restarts_total")

    def accounted(self) -> float:
        """Rows that were seen, or whose loss was counted."""
        return sum(figure(self.proxy, f"tensorwall_{each}_rows_total") for each in ("observed", "unobserved"))

    def answered(self) -> float:
        return figure(self.proxy, "tensorwall_calls_total", code="OK", method="Predict")

    def is_right_again(self, found: str, new: str, harmless: str) -> None:
        """Who was found stays so, who does it now is found, and nobody else is."""
        assert self.refuses(found), "a verdict outlives the detectors"
        self.sends(harmless, MOST)
        self.sends(new, 2 * MOST)
        until(lambda: self.refuses(new), "found")
        assert self.sends(harmless, 1) == {grpc.StatusCode.OK}
        verdicts = json.loads(admin_page(self.proxy.admin, "/verdicts"))["verdicts"]
        acted_on = {each["subject"]["id"] for each in verdicts if not each["immune"]}
        assert {f"forwarded_for:{name}" for name in (found, new)} <= acted_on
        assert f"forwarded_for:{harmless}" not in acted_on


def _named(caller: str) -> tuple[tuple[str, str], ...]:
    return (("x-forwarded-for", caller),)


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[Watching]:
    """One attacker, 10.0.0.1, is found already. In the end all rows must be accounted for, and nothing be left."""
    replace(Profile.defaults("toy", bytes(16)), calibrated=True).write(tmp_path / "toy.json")
    detection = {
        "mode": "enforce",
        "profile": str(tmp_path / "toy.json"),
        "own": [{"path": "tests.detection.own:Rows", "settings": {"most": MOST}}],
        "policy": {"extraction": {"answer": "refuse"}},
        "immune": [f"forwarded_for:{BENIGN}"],
    }
    settings = {"identity": {"order": ["forwarded_for"]}, "models": {"toy": {"detection": detection}}}
    with ModelServer(lambda body, context: REPLY) as server, serving_proxy(tmp_path, server.address, **settings) as own:
        found = Watching(own)
        assert found.detectors
        found.sends("10.0.0.1", 2 * MOST)
        until(lambda: found.refuses("10.0.0.1"), "found")
        before = State.of(own)
        yield found
        settles(own, before, memory=50e6)
        until(lambda: found.accounted() == found.answered(), "done with all rows, or told of their loss")


def _load(watching: Watching) -> Load:
    return Load([watching.proxy.address], callers=4, deadline=20, body=BODIES[0], metadata=_named(BENIGN))


def test_killed_again_and_again_under_load(watching: Watching) -> None:
    with _load(watching) as load:
        for at in range(3):
            load.until(50)
            os.kill(watching.detectors, signal.SIGKILL)
            until(lambda at=at: watching.restarts() == at + 1, "told of it")  # type: ignore[misc]
            load.until(50)
        assert watching.detectors
        watching.is_right_again(found="10.0.0.1", new="10.0.0.2", harmless="10.0.0.3")
        load.end()
    assert set(load.codes) == {"OK"}


def test_stopped_for_a_while_under_load_nothing_is_lost(watching: Watching) -> None:
    with _load(watching) as load:
        pid = watching.detectors
        load.until(50)
        os.kill(pid, signal.SIGSTOP)
        load.until(200)
        assert watching.refuses("10.0.0.1"), "verdicts need no detectors"
        assert watching.sends("10.0.0.4", 2 * MOST) == {grpc.StatusCode.OK}, "nobody could have seen it yet"
        os.kill(pid, signal.SIGCONT)
        until(lambda: watching.refuses("10.0.0.4"), "found by what had waited")
        assert watching.detectors == pid
        watching.is_right_again(found="10.0.0.4", new="10.0.0.2", harmless="10.0.0.3")
        load.end()
    assert set(load.codes) == {"OK"}
    assert figure(watching.proxy, "tensorwall_unobserved_rows_total") == 0


def test_stopped_for_good_under_load_it_is_replaced(watching: Watching) -> None:
    with _load(watching) as load:
        pid = watching.detectors
        load.until(50)
        os.kill(pid, signal.SIGSTOP)
        page = f"/api/v1/callers/{caller_key(f'forwarded_for:{BENIGN}')}"
        assert BENIGN in admin_page(watching.proxy.admin, page, timeout=20), "operators are answered meanwhile"
        until(lambda: watching.restarts() == 1, "rid of it")
        load.until(50)
        assert watching.detectors != pid
        watching.is_right_again(found="10.0.0.1", new="10.0.0.2", harmless="10.0.0.3")
        load.end()
    assert set(load.codes) == {"OK"}
    told = [line for line in watching.proxy.process.events() if line["message"] == "the detectors' process ended"]
    assert [line["problem"] for line in told] == ["exit code -9 stopped for 5 s"]
