"""An attack as operators meet it: found, told everywhere, blocked, released, forgiven; a real model behind it."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from proxy.activity import caller_key
from proxy.events.chain import check
from tests.admin.browser import ask as ask_port
from tests.detection.test_over_the_wire import ROWS, Detecting, ask, detecting, refusal, until
from tests.events.receiver import Receiver, receiving
from tests.protection.conftest import Protect, Protected
from tests.protection.toy import X

__all__ = ["detecting"]

CALLER = "forwarded_for:10.0.0.1"
PATH = f"/api/v1/callers/{caller_key(CALLER)}"
SECRET = "a secret of the webhook"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def watched(detecting: Detecting, protect: Protect, receiver: Receiver, tmp_path: Path) -> Protected:
    """Detection that refuses whoever sends more than ten rows, and tells of it in all ways."""
    events = {
        "file": {"path": str(tmp_path / "events.jsonl")},
        "webhook": {"url": f"{receiver.url}/hook", "secret": SECRET, "kinds": ["verdict", "action"]},
        "alertmanager": {"urls": receiver.url, "interval": 60},
    }
    return detecting(sections={"events": events})


def act(protected: Protected, kind: str, **body: Any) -> None:
    answer = ask_port(protected.proxy.admin, f"{PATH}/{kind}", "POST", {"reason": "a test"} | body)
    assert answer.status == 200, answer


def get(protected: Protected, path: str) -> Any:
    return ask_port(protected.proxy.admin, path).json


def wait(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 20
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_an_attack_is_told_everywhere_with_its_evidence(watched: Protected, receiver: Receiver, tmp_path: Path) -> None:
    ask(watched, ROWS[:30])
    until(watched, len)
    assert refusal(watched).code() is grpc.StatusCode.PERMISSION_DENIED

    (attack,) = get(watched, "/api/v1/attacks?technique=extraction&model=toy&step=block")["attacks"]
    assert attack["subject"] == {"kind": "caller", "id": CALLER, "key": caller_key(CALLER)}
    assert [each["step"] for each in attack["steps"]] == ["block"]
    assert get(watched, f"/api/v1/attacks/{attack['id']}")["callers"] == []

    caller = get(watched, PATH)
    assert (caller["step"], caller["mode"], caller["techniques"]) == ("block", "enforce", ["extraction"])
    assert caller["verdicts"][0]["evidence"][0]["seen"] == 30
    (evidence,) = caller["evidence"]
    assert evidence["model"] == "toy"
    assert evidence["distances"]["rows"] == 29
    assert sum(evidence["distances"]["own"]) == pytest.approx(1, abs=0.01)
    assert len(evidence["distances"]["edges"]) == len(evidence["distances"]["own"]) + 1
    (listed,) = get(watched, "/api/v1/callers?step=block&technique=extraction")["callers"]
    assert listed["key"] == caller["key"]
    (model,) = get(watched, "/api/v1/models")["models"]
    assert model["verdicts"] == {"enforce": 1, "shadow": 0}
    assert model["detection"]["acts"]

    def came(path: str) -> list[Any]:
        return [json.loads(body) for where, _, body in tuple(receiver.came) if where == path]

    (event,) = wait(lambda: came("/hook"))
    assert (event["event"], event["before"], event["verdict"]["id"]) == ("verdict.new", None, attack["id"])
    assert (event["atlas"], event["owasp_ml"], event["owasp_aisvs"]) == (["AML.T0024.002"], ["ML05"], ["C11.5"])
    alerts = wait(lambda: came("/api/v2/alerts"))
    assert alerts[0][0]["annotations"]["callers"] == CALLER
    assert alerts[0][0]["labels"]["severity"] == "critical"

    act(watched, "release")
    assert len(ask(watched, X)) > 0
    released = wait(lambda: [each for each in came("/hook") if each["event"] == "verdict.released"])
    assert (released[0]["before"], released[0]["verdict"]["step"]) == ("block", None)
    soon = (datetime.fromisoformat(released[0]["time"]) + timedelta(seconds=30)).isoformat()
    resolved = wait(lambda: [each for each in came("/api/v2/alerts") if each[0]["endsAt"] < soon])
    assert resolved[-1][0]["labels"] == alerts[0][0]["labels"]
    (over,) = get(watched, "/api/v1/attacks")["attacks"]
    assert over["step"] is None
    assert over["ended"] is not None

    assert watched.proxy.process.stop() == 0
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == [
        "proxy.started",
        "verdict.new",
        "verdict.released",
        "action",
        "proxy.stopped",
    ]
    assert check([tmp_path / "events.jsonl"]).problems == []


def test_a_released_caller_is_forgiven_what_it_did_and_not_what_it_does(detecting: Detecting) -> None:
    protected = detecting()
    ask(protected, ROWS[:30])
    until(protected, len)
    refusal(protected)
    act(protected, "release")
    for row in ROWS[30:34]:
        ask(protected, row[None])
    time.sleep(0.3)
    assert len(ask(protected, X)) > 0, "a few rows more are no new attack"
    ask(protected, ROWS[40:75])
    until(protected, len)
    assert refusal(protected).code() is grpc.StatusCode.PERMISSION_DENIED


def test_immunity_spares_whom_detectors_find_and_ends(detecting: Detecting) -> None:
    protected = detecting()
    ask_port(protected.proxy.admin, f"{PATH}/immunise", "POST", {"reason": "ours", "name": CALLER})
    ask(protected, ROWS[:30])
    shown = until(protected, lambda found: [each for each in found if each["technique"] != "manual"])
    assert {(each["mode"], each["immune"]) for each in shown if each["technique"] != "manual"} == {("shadow", True)}
    assert len(ask(protected, X)) > 0
    act(protected, "end_immunity")
    assert refusal(protected).code() is grpc.StatusCode.PERMISSION_DENIED


def test_a_block_refuses_openly_whatever_the_answer_would_be(detecting: Detecting) -> None:
    for settings in ({"answer": "silent"}, {"mode": "shadow"}, {"mode": "off"}, {"immune": ["*"]}):
        protected = detecting(most=10**6, **settings)
        ask(protected, X)
        act(protected, "block", model="toy")
        found = refusal(protected)
        assert found.code() is grpc.StatusCode.PERMISSION_DENIED
        assert found.details() == (
            "this caller's calls of this model are not answered at present; ask the operator of this service"
        )
        act(protected, "release")
        assert len(ask(protected, X)) > 0
