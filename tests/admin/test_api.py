"""What operators see and do through the API, over real sockets on both sides."""

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest

from protos import serving_pb2 as serving
from protos import tensor_pb2 as tensor
from proxy.activity import caller_key
from proxy.admin.stream import TICK
from proxy.events.hub import KEPT, MAX_LISTENERS, WAITING, Hub
from proxy.events.schema import ProcessEvent, stamp
from proxy.policy.manual import MAX_REASON_CHARS
from tests.admin.browser import Answer, Browser, ask
from tests.e2e.model_server import PREDICT, ModelServer
from tests.processes import TOKEN, Proxy, serving_proxy

API = "/api/v1"
HOSTILE = "<img src=x onerror=alert(1)>\n\u202e\x07"
SHOWN = r"<img src=x onerror=alert(1)>\n\u202e\x07"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("api")
    settings: dict[str, Any] = {
        "identity": {"order": ["forwarded_for"]},
        "models": {"m": {}, HOSTILE: {}},
        "methods": {"allow": ["/tensorflow.serving.SessionService/SessionRun"]},
        "events": {"file": {"path": str(folder / "events.jsonl")}},
    }
    with ModelServer() as server, serving_proxy(folder, server.address, **settings) as running:
        yield running


def call(proxy: Proxy, caller: str, model: str = "m", method: str = PREDICT) -> grpc.StatusCode:
    body = serving.PredictRequest(model_spec=serving.ModelSpec(name=model))
    body.inputs["x"].float_val.extend([1, 2])
    body.inputs["x"].dtype = tensor.DT_FLOAT
    body.inputs["x"].tensor_shape.dim.add(size=2)
    with grpc.insecure_channel(proxy.address) as channel:
        try:
            metadata = (("x-forwarded-for", caller),)
            channel.unary_unary(method)(body.SerializeToString(), timeout=10, metadata=metadata)
        except grpc.RpcError as error:
            return error.code() if "not allowed" not in str(error.details()) else grpc.StatusCode.UNIMPLEMENTED
    return grpc.StatusCode.OK


def act(proxy: Proxy, caller: str, kind: str, **body: Any) -> Answer:
    name = f"forwarded_for:{caller}"
    asked = {"reason": "a test", "name": name} | body
    return ask(proxy.admin, f"{API}/callers/{caller_key(name)}/{kind}", "POST", asked)


def get(proxy: Proxy, path: str) -> Any:
    answer = ask(proxy.admin, API + path)
    assert answer.status == 200, answer
    return answer.json


OK, DENIED = grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED


def test_a_blocked_caller_is_refused_from_the_next_call_on_and_a_released_one_is_answered(proxy: Proxy) -> None:
    assert call(proxy, "10.0.0.1") is OK
    taken = act(proxy, "10.0.0.1", "block").json
    assert (taken["event"], taken["action"], taken["operator"]) == ("action", "block", "tester")
    assert (taken["caller"], taken["model"], taken["until"]) == ("forwarded_for:10.0.0.1", None, None)
    assert call(proxy, "10.0.0.1") is DENIED
    assert call(proxy, "10.0.0.1", HOSTILE) is DENIED
    assert call(proxy, "10.0.0.2") is OK
    key = caller_key("forwarded_for:10.0.0.1")
    shown = get(proxy, f"/callers/{key}")
    assert (shown["refused"], shown["manual"]["action"], shown["manual"]["reason"]) == (2, "block", "a test")
    assert shown["events"][0] == taken
    (verdict,) = json.loads(ask(proxy.admin, "/verdicts").text)["verdicts"]
    assert verdict["subject"] == {"kind": "caller", "id": "forwarded_for:10.0.0.1"}
    assert (verdict["technique"], verdict["step"], verdict["mode"]) == ("manual", "block", "enforce")
    assert verdict["manual"] == {"action": "block", "operator": "tester", "reason": "a test"}
    assert 'tensorwall_decisions{action="block"} 1.0' in ask(proxy.admin, "/metrics").text
    assert act(proxy, "10.0.0.1", "release").status == 200
    assert call(proxy, "10.0.0.1") is OK
    assert get(proxy, f"/callers/{key}")["manual"] is None


def test_a_block_may_be_of_one_model_and_run_out(proxy: Proxy) -> None:
    act(proxy, "10.0.1.1", "block", model="m", seconds=1.5)
    assert call(proxy, "10.0.1.1") is DENIED
    assert call(proxy, "10.0.1.1", HOSTILE) is OK
    deadline = time.monotonic() + 10
    while call(proxy, "10.0.1.1") is DENIED:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_block_of_all_models_is_of_all_methods(proxy: Proxy) -> None:
    run = "/tensorflow.serving.SessionService/SessionRun"
    assert call(proxy, "10.0.2.1", method=run) is not DENIED
    act(proxy, "10.0.2.1", "block")
    assert call(proxy, "10.0.2.1", method=run) is DENIED
    act(proxy, "10.0.2.1", "release")
    act(proxy, "10.0.2.1", "block", model="m")
    assert call(proxy, "10.0.2.1", method=run) is not DENIED


@pytest.mark.parametrize(
    ("kind", "body", "status", "said"),
    [
        ("block", {"reason": ""}, 400, "reason"),
        ("block", {"reason": " \n "}, 400, "reason"),
        ("block", {"reason": 5}, 400, "reason"),
        ("block", {"reason": "x" * (MAX_REASON_CHARS + 1)}, 400, "reason"),
        ("block", {"seconds": 0}, 400, "seconds"),
        ("block", {"seconds": 1e300}, 400, "seconds"),
        ("block", {"seconds": True}, 400, "seconds"),
        ("block", {"seconds": "5"}, 400, "seconds"),
        ("release", {"seconds": 5}, 400, "seconds"),
        ("block", {"model": ""}, 400, "model"),
        ("block", {"model": ["m"]}, 400, "model"),
        ("block", {"forever": 1}, 400, "forever"),
        ("explode", {}, 404, "known: block"),
        ("end_immunity", {}, 409, "no immunity"),
    ],
)
def test_what_cannot_be_done_is_said(proxy: Proxy, kind: str, body: dict[str, Any], status: int, said: str) -> None:
    answer = act(proxy, "10.0.3.1", kind, **body)
    assert (answer.status, said in answer.json["error"]) == (status, True), answer.text


def test_a_caller_that_is_not_known_is_named_by_its_key_and_name_together(proxy: Proxy) -> None:
    key = caller_key("forwarded_for:10.0.4.1")
    path = f"{API}/callers/{key}/block"
    assert ask(proxy.admin, path, "POST", {"reason": "x"}).status == 404
    assert ask(proxy.admin, path, "POST", {"reason": "x", "name": "forwarded_for:10.0.4.2"}).status == 404
    for wrong in ("", "x" * 257, 5):
        answer = ask(proxy.admin, path, "POST", {"reason": "x", "name": wrong})
        assert (answer.status, "name: is a caller's id" in answer.json["error"]) == (400, True)
    assert act(proxy, "10.0.4.1", "block").status == 200
    assert call(proxy, "10.0.4.1") is DENIED
    assert get(proxy, f"/callers/{key}")["name"] == "forwarded_for:10.0.4.1"


def test_an_immunity_is_given_and_ended(proxy: Proxy) -> None:
    act(proxy, "10.0.5.1", "immunise", seconds=3600)
    found = get(proxy, "/callers?q=10.0.5.1")["callers"]
    assert [each["manual"] for each in found] == ["immunise"]
    assert act(proxy, "10.0.5.1", "end_immunity").status == 200
    assert act(proxy, "10.0.5.1", "end_immunity").status == 409


def test_callers_are_found_sorted_and_paged(proxy: Proxy) -> None:
    for number in range(12):
        for _ in range(number % 3 + 1):
            call(proxy, f"10.9.{number}.1")
    query = "/callers?q=forwarded_for:10.9.&sort=rows"
    found = get(proxy, f"{query}&limit=5")
    assert (found["total"], [each["rows"] for each in found["callers"]]) == (12, [6, 6, 6, 6, 4])
    assert [each["rows"] for each in get(proxy, f"{query}&order=asc&offset=10")["callers"]] == [6, 6]
    names = [each["name"] for each in get(proxy, "/callers?q=:10.9.&sort=name&order=asc&limit=200")["callers"]]
    assert names == sorted(names)
    last = get(proxy, "/callers?q=:10.9.&sort=last&limit=1")["callers"]
    assert [each["name"] for each in last] == ["forwarded_for:10.9.11.1"]
    assert get(proxy, "/callers?q=:10.9.&model=n")["total"] == 0
    assert get(proxy, "/callers?q=:10.9.&model=m")["total"] == 12
    assert get(proxy, "/callers?q=:10.9.&step=any")["total"] == 0


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "limit=x", "limit=\u0661", "offset=-1", "sort=secret", "order=up", f"q={'x' * 300}"],
)
def test_wrong_questions_are_refused(proxy: Proxy, query: str) -> None:
    answer = ask(proxy.admin, f"{API}/callers?{quote(query, safe='=&')}")
    assert answer.status == 400
    assert query.partition("=")[0] in answer.json["error"] or "filter" in answer.json["error"]


def test_unknown_ones_are_not_found(proxy: Proxy) -> None:
    for path in ("/callers/x", f"/callers/{'0' * 24}", "/callers/%2e%2e", "/attacks/x", "/nothing", "/callers/a/b/c"):
        answer = ask(proxy.admin, API + path)
        assert answer.status == 404, path
        assert set(answer.json) == {"error"}


def test_traffic_has_counts_and_latencies_by_the_second(proxy: Proxy) -> None:
    for _ in range(5):
        call(proxy, "10.0.6.1")
    time.sleep(1.1)  # a second counts once it is over
    points = get(proxy, "/traffic?seconds=60")["points"]
    assert len(points) == 60
    assert [point["time"] for point in points] == list(range(points[0]["time"], points[0]["time"] + 60))
    busy = [point for point in points if point["calls"]]
    assert sum(point["rows"] for point in busy) >= 10
    assert all(0 < point["proxy_p50"] <= point["proxy_p99"] <= point["p99"] < 10 for point in busy)


def test_hostile_names_stay_harmless_text(proxy: Proxy) -> None:
    assert call(proxy, "10.0.7.1", HOSTILE) is OK
    call(proxy, "10.0.7.1", "x" * 10_000)
    act(proxy, "10.0.7.1", "immunise", model=HOSTILE, reason=f"because {HOSTILE}")
    texts = [
        ask(proxy.admin, path).text
        for path in (f"{API}/callers", f"{API}/models", f"{API}/events", "/verdicts", "/config", "/metrics")
    ]
    key = caller_key("forwarded_for:10.0.7.1")
    texts.append(ask(proxy.admin, f"{API}/callers/{key}").text)
    for text in texts:
        assert not set(text) & {"\u202e", "\x07"}
        assert "x" * 3000 not in text
    models = get(proxy, f"/callers/{key}")["models"]
    assert models[SHOWN] == 2
    assert max(map(len, models)) <= 128
    assert get(proxy, f"/callers?q=10.0.7.1&model={quote(SHOWN)}")["total"] == 1
    assert SHOWN in [each["name"] for each in get(proxy, "/models")["models"]]
    event = get(proxy, "/events?limit=1")["events"][0]
    assert (event["model"], event["reason"]) == (SHOWN, f"because {SHOWN}")
    assert "\u202e" not in proxy.process.log()
    folder = Path(json.loads(ask(proxy.admin, "/config").text)["events"]["file"]["path"])
    deadline = time.monotonic() + 10
    while event["id"] not in (written := folder.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert written.isascii()


class Stream:
    """A reader of Server-Sent Events."""

    def __init__(self, proxy: Proxy, **headers: str) -> None:
        given = headers or {"Authorization": f"Bearer {TOKEN}"}
        self.connection = http.client.HTTPConnection(proxy.admin, timeout=20)
        self.connection.request("GET", f"{API}/stream", headers={k.replace("_", "-"): v for k, v in given.items()})
        self.answer = self.connection.getresponse()

    def next(self) -> tuple[str, Any, str]:
        """Name, content and number of the next message; empty at the end."""
        found: dict[str, str] = {}
        while line := self.answer.readline().decode():
            if line == "\n":
                return found["event"], json.loads(found["data"]), found.get("id", "")
            name, _, value = line.rstrip("\n").partition(": ")
            assert name not in found, "one field of each"
            found[name] = value
        return "", None, ""

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


def test_the_stream_tells_events_as_they_come_and_goes_on_after_a_break(proxy: Proxy) -> None:
    stream = Stream(proxy)
    assert stream.answer.headers["Content-Type"] == "text/event-stream"
    assert stream.next()[0] == "hello"
    taken = act(proxy, "10.0.8.1", "block", reason=f"a {HOSTILE}").json
    name, content, number = stream.next()
    assert (name, content) == ("action", taken)
    stream.close()
    missed = act(proxy, "10.0.8.1", "release").json
    again = Stream(proxy, Authorization=f"Bearer {TOKEN}", Last_Event_ID=number)
    assert again.next()[0] == "hello"
    assert again.next()[:2] == ("action", missed)
    started = time.monotonic()
    assert again.next()[0] == "tick"
    assert time.monotonic() - started < TICK + 2
    again.close()
    restarted = Stream(proxy, Authorization=f"Bearer {TOKEN}", Last_Event_ID="0badcafe-1")
    assert restarted.next()[0] == "hello"
    assert restarted.next()[1]["event"] == "proxy.started", "a number of an earlier process: all that is remembered"
    restarted.close()


def test_the_stream_ends_with_the_session(proxy: Proxy) -> None:
    browser = Browser.log_in(proxy.admin)
    stream = Stream(proxy, Cookie=browser.cookie)
    assert stream.next()[0] == "hello"
    browser.post(f"{API}/logout", {})
    while True:
        name = stream.next()[0]
        assert name != "tick", "not even a sign of life"
        if not name:
            break
    stream.close()


def test_streams_are_bounded_and_given_back(proxy: Proxy) -> None:
    streams = [Stream(proxy) for _ in range(MAX_LISTENERS)]
    assert all(stream.next()[0] == "hello" for stream in streams)
    refused = ask(proxy.admin, f"{API}/stream")
    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    for stream in streams:
        stream.close()
    deadline = time.monotonic() + 30
    while True:
        again = Stream(proxy)
        if again.answer.status == 200:
            break
        again.close()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    again.close()


def test_a_listener_that_does_not_keep_up_is_lost_and_others_are_not() -> None:
    hub = Hub()
    slow, quick = hub.listen(), hub.listen()
    assert slow is not None
    assert quick is not None
    for number in range(max(WAITING, KEPT) + 100):
        hub.publish(ProcessEvent(event="proxy.started", time=stamp(number), tensorwall="1"))
        quick.waiting.get_nowait()
    assert hub.lost == 1
    held = [slow.waiting.get_nowait() for _ in range(slow.waiting.qsize())]
    assert held[-1] is None
    assert len(held) <= WAITING
    assert len(hub.since(0)) == KEPT
    assert hub.since(hub.number - 1)[0][0] == hub.number
