"""Two real proxies on one real Redis see one attack; alone, neither does. What happens when the store goes."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from detectors.profile import Profile
from protos import serving_pb2 as serving
from proxy.activity import caller_key
from proxy.tensors import to_array
from tests.admin.browser import ask as ask_port
from tests.processes import START_SECONDS, admin_page
from tests.protection.conftest import Protect, Protected
from tests.protection.toy import predict_request, send
from tests.redis_server import RedisServer, redis_server

ROWS = np.random.default_rng(0).normal(0, 1, (400, 4)).astype(np.float32)
THIEF = "10.0.0.1"
MOST = 10
HALF = 8
"""Rows of the attack that each proxy gets: fewer than are found, and together more."""

Start = Callable[..., Protected]


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
def start(protect: Protect, tmp_path: Path) -> Start:
    """A proxy that blocks who sends more than MOST rows, with this store."""

    def started(store: Any = None, salt: bytes = b"0123456789abcdef", **detection: Any) -> Protected:
        profile = tmp_path / f"{salt.hex()}.json"
        if not profile.exists():
            replace(Profile.defaults("toy", salt), calibrated=True).write(profile)
        settings = {
            "mode": "enforce",
            "profile": str(profile),
            "own": [{"path": "tests.detection.own:Rows", "settings": {"most": MOST}}],
            "policy": {"extraction": {"answer": "refuse"}},
        }
        sections: dict[str, Any] = {"identity": {"order": ["forwarded_for"]}}
        if isinstance(store, RedisServer):
            store = {"kind": "redis", "url": store.url}
        if store is not None:
            sections["store"] = store
        return protect({"detection": settings | detection}, **sections)

    return started


def ask(protected: Protected, rows: Any, caller: str = THIEF) -> dict[str, Any]:
    body = predict_request(x=np.asarray(rows, np.float32)).SerializeToString()
    reply = send(protected.channel, "Predict", body, **{"x-forwarded-for": caller})
    return {name: to_array(each) for name, each in serving.PredictResponse.FromString(reply).outputs.items()}


def code(protected: Protected, caller: str = THIEF) -> grpc.StatusCode:
    try:
        ask(protected, ROWS[-1:], caller)
    except grpc.RpcError as error:
        found: grpc.StatusCode = error.code()
        return found
    return grpc.StatusCode.OK


def verdicts(protected: Protected) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(admin_page(protected.proxy.admin, "/verdicts"))["verdicts"]
    return [{key: value for key, value in each.items() if key != "score"} for each in found]  # it falls all the time


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + START_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not {what}"
        time.sleep(0.02)
    return found


def has_seen(protected: Protected, rows: int) -> bool:
    return protected.count("tensorwall_observed_rows_total") == rows


def knows(protected: Protected, number: int) -> bool:
    return len(verdicts(protected)) == number


def counts(protected: Protected, name: str, value: float, **labels: str) -> bool:
    return protected.count(name, **labels) == value


def lines(protected: Protected, message: str) -> list[dict[str, Any]]:
    return [line for line in protected.proxy.process.events() if line.get("event", line.get("message")) == message]


def blocked(*pair: Protected) -> None:
    for each in pair:
        until(partial(verdicts, each), "a verdict")
        assert code(each) is grpc.StatusCode.PERMISSION_DENIED


def test_alone_neither_finds_its_half(start: Start) -> None:
    pair = [start(), start()]
    for at, each in enumerate(pair):
        ask(each, ROWS[at * HALF : (at + 1) * HALF])
        until(partial(has_seen, each, HALF), "seen")
    assert [verdicts(each) for each in pair] == [[], []]
    assert [code(each) for each in pair] == [grpc.StatusCode.OK] * 2


def test_together_they_find_it_and_both_act(start: Start, own_redis: RedisServer) -> None:
    pair = [start(own_redis), start(own_redis)]
    for at, each in enumerate(pair):
        ask(each, ROWS[at * HALF : (at + 1) * HALF])
    blocked(*pair)
    one, other = (verdicts(each)[0] for each in pair)
    assert one == other, "the same verdict, by the same name and for the same time"
    assert one["evidence"][0]["seen"] == 2 * HALF
    assert code(pair[0], "10.0.0.2") is grpc.StatusCode.OK
    told = [len(lines(each, "verdict")) for each in pair]
    heard = [len(lines(each, "verdict of another proxy")) for each in pair]
    assert sorted(told) == [0, 1], "one of them reports it"
    assert [a + b for a, b in zip(told, heard, strict=True)] == [1, 1], "and the other knows"
    assert sum(each.count("tensorwall_attacks_total") for each in pair) == 1


def test_a_block_survives_a_restart_and_is_known_to_who_comes_later(start: Start, own_redis: RedisServer) -> None:
    pair = [start(own_redis), start(own_redis)]
    for at, each in enumerate(pair):
        ask(each, ROWS[at * HALF : (at + 1) * HALF])
    blocked(*pair)
    shown = verdicts(pair[0])
    for each in pair:
        assert each.proxy.process.stop() == 0
    with own_redis.client() as client:
        client.delete("{tensorwall:toy}:log", "{tensorwall:toy}:head")  # the rows are long forgotten
    later = start(own_redis)
    assert code(later) is grpc.StatusCode.PERMISSION_DENIED, "from the first call on"
    assert verdicts(later) == shown
    assert not lines(later, "verdict")
    assert not lines(later, "verdict of another proxy")


def test_the_rows_before_a_start_count_and_are_not_reported_again(start: Start, own_redis: RedisServer) -> None:
    first = start(own_redis)
    ask(first, ROWS[:20])
    blocked(first)
    ask(first, ROWS[:HALF], "10.0.0.2")
    until(partial(has_seen, first, 20 + HALF), "seen")
    assert first.proxy.process.stop() == 0
    with own_redis.client() as client:
        client.delete("{tensorwall:toy}:facts")  # as if it had been killed before it could write the verdict
    later = start(own_redis)
    until(partial(has_seen, later, 20 + HALF), "replayed")
    assert later.count("tensorwall_shared_rows_total", source="past") == 20 + HALF
    assert code(later) is grpc.StatusCode.PERMISSION_DENIED, "as the log says"
    assert not lines(later, "verdict")
    assert later.count("tensorwall_attacks_total") == 0
    ask(later, ROWS[HALF : 2 * HALF], "10.0.0.2")
    until(partial(knows, later, 2), "the second caller's two halves put together")
    assert len(lines(later, "verdict")) == 1


def test_while_redis_is_away_each_goes_on_alone_and_then_they_catch_up(start: Start, own_redis: RedisServer) -> None:
    pair = [start(own_redis), start(own_redis)]
    ask(pair[0], ROWS[:1], "10.0.0.9")
    until(partial(has_seen, pair[1], 1), "shared")
    own_redis.kill()
    for each in pair:
        until(partial(counts, each, "tensorwall_observation_log_up", 0), "noticed")
    for at, each in enumerate(pair):
        ask(each, ROWS[at * HALF : (at + 1) * HALF])
        until(partial(has_seen, each, 1 + HALF), "seen by itself")
        assert verdicts(each) == []
    ask(pair[0], ROWS[:20], "10.0.0.3")
    until(partial(verdicts, pair[0]), "found by itself")
    assert code(pair[0], "10.0.0.3") is grpc.StatusCode.PERMISSION_DENIED
    assert code(pair[1], "10.0.0.3") is grpc.StatusCode.OK, "it cannot know"
    own_redis.start()  # empty
    for each in pair:
        until(partial(counts, each, "tensorwall_observation_log_up", 1), "back")
        until(partial(knows, each, 2), "both attacks known")
        assert code(each) is code(each, "10.0.0.3") is grpc.StatusCode.PERMISSION_DENIED
        assert len(lines(each, "the shared log is away")) == len(lines(each, "the shared log is back")) == 1
        assert each.count("tensorwall_unobserved_rows_total") == each.count("tensorwall_unshared_rows_total") == 0


def test_closed_refuses_what_cannot_be_watched_together(start: Start, own_redis: RedisServer) -> None:
    store = {"kind": "redis", "url": own_redis.url, "on_failure": "closed"}
    protected = start(store, immune=["forwarded_for:10.0.0.7"])
    assert code(protected) is grpc.StatusCode.OK
    own_redis.kill()
    until(lambda: code(protected) is grpc.StatusCode.UNAVAILABLE, "refused")
    assert code(protected, "10.0.0.7") is grpc.StatusCode.OK, "nothing is ever held against it"
    assert protected.count("tensorwall_refusals_total", reason="limit_store") >= 1
    own_redis.start()
    until(lambda: code(protected) is grpc.StatusCode.OK, "back")
    shadow = start(store, mode="shadow")
    own_redis.kill()
    until(lambda: shadow.count("tensorwall_observation_log_up") == 0, "noticed")
    assert code(shadow) is grpc.StatusCode.OK, "shadow refuses nobody"


def test_features_of_another_salt_are_left_out_and_told(start: Start, own_redis: RedisServer) -> None:
    pair = [start(own_redis), start(own_redis, salt=b"another salt of 16")]
    for at, each in enumerate(pair):
        ask(each, ROWS[at * HALF : (at + 1) * HALF])
    for each in pair:
        until(partial(counts, each, "tensorwall_unobserved_rows_total", HALF, reason="profile"), "left out")
        until(partial(has_seen, each, HALF), "its own are seen")
        assert verdicts(each) == []
    ask(pair[0], ROWS[:1], "10.0.0.9")
    until(lambda: pair[1].count("tensorwall_unobserved_rows_total", reason="profile") == HALF + 1, "left out")
    warned = [line for line in pair[1].proxy.process.events() if "another profile" in str(line)]
    assert len(warned) == 1
    assert "secret" in str(warned[0])


def answers(protected: Protected) -> bool:
    return code(protected) is grpc.StatusCode.OK


def decide(protected: Protected, kind: str) -> None:
    name = f"forwarded_for:{THIEF}"
    path = f"/api/v1/callers/{caller_key(name)}/{kind}"
    answer = ask_port(protected.proxy.admin, path, "POST", {"reason": "a test", "name": name})
    assert answer.status == 200, answer


def test_what_an_operator_decides_at_one_proxy_holds_at_all_and_for_those_that_start_later(
    start: Start, own_redis: RedisServer
) -> None:
    one, other = start(own_redis), start(own_redis)
    decide(one, "block")
    until(lambda: code(other) is grpc.StatusCode.PERMISSION_DENIED, "blocked at the other")
    late = start(own_redis)
    until(lambda: code(late) is grpc.StatusCode.PERMISSION_DENIED, "blocked at one that starts later")
    decide(other, "release")
    for each in (one, late):
        until(partial(answers, each), "released")
    for each in (one, other, late):
        told = ask_port(each.proxy.admin, "/api/v1/events").json["events"]
        expected = {one: ["block"], other: ["release"], late: []}[each]
        assert [event["action"] for event in told if event["event"] == "action"] == expected, (
            "told once, where it was decided"
        )


def test_verdicts_end_at_all_proxies_by_a_release_at_one(start: Start, own_redis: RedisServer) -> None:
    one, other = start(own_redis), start(own_redis)
    ask(one, ROWS[: MOST + HALF])
    blocked(one, other)
    key = caller_key(f"forwarded_for:{THIEF}")
    shown = ask_port(other.proxy.admin, f"/api/v1/callers/{key}").json
    assert shown["step"] == "block", "known by its key, though another proxy found it"
    assert len(ask_port(other.proxy.admin, "/api/v1/attacks").json["attacks"]) == 1
    decide(other, "release")
    for each in (one, other):
        until(partial(answers, each), "released")
    told = [ask_port(each.proxy.admin, "/api/v1/events").json["events"] for each in (one, other)]
    kinds = sorted(event["event"] for events in told for event in events if event["event"] != "proxy.started")
    assert kinds == ["action", "verdict.new", "verdict.released"]
