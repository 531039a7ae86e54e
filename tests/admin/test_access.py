"""Who may ask the admin port for what: over real sockets, as programs, browsers and strangers do."""

import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.admin.failures import BURST, MAX_ADDRESSES, REFILL, Failures
from proxy.admin.operators import Operators, token_hash
from proxy.admin.sessions import MAX_SESSIONS, SessionTable
from proxy.config.admin import Operator, Sessions
from tests.admin.browser import Browser, ask
from tests.certificates import Authority
from tests.e2e.model_server import ModelServer
from tests.processes import TOKEN, Proxy, Running, free_port, serving_proxy

VIEWER = "a-viewer-of-the-tests-0123456789"
API = "/api/v1"
EXPIRED = "an-expired-operator-of-the-tests"


def record(name: str, role: str, token: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "role": role, "sha256": token_hash(token), **more}


OPERATORS = [
    record("tester", "operator", TOKEN),
    record("viewer", "viewer", VIEWER),
    record("gone", "operator", EXPIRED, expires="2020-01-31"),
]


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with ModelServer() as server:
        yield server.address


@pytest.fixture(scope="module")
def proxy(upstream: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("access")
    with serving_proxy(folder, upstream, admin={"operators": OPERATORS}) as running:
        yield running


@pytest.fixture
def fresh(upstream: str, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy of one test's own, whose counts nobody else has used."""
    events = {"file": {"path": str(tmp_path / "events.jsonl"), "fsync": "never"}}
    with serving_proxy(tmp_path, upstream, admin={"operators": OPERATORS}, events=events) as running:
        yield running


LISTS = ("callers", "attacks", "models", "events", "traffic", "stream", "session", "callers/x", "attacks/x")
GUARDED = ["/config", "/verdicts", *(f"{API}/{name}" for name in LISTS)]


def test_without_an_operator_only_health_and_metrics_are_answered(upstream: str, tmp_path: Path) -> None:
    with serving_proxy(tmp_path, upstream, admin={}) as proxy:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert ask(proxy.admin, path, token=None).status == 200
        for path in (*GUARDED, "/", "/page/main.js"):
            for token in (None, TOKEN):
                answer = ask(proxy.admin, path, token=token)
                assert answer.status == 403
                assert "tensorwall operators add" in answer.text
        assert ask(proxy.admin, f"{API}/login", "POST", {"token": ""}, None).status == 403
        assert ask(proxy.admin, f"{API}/callers/x/block", "POST", {"reason": "x"}).status == 403


def test_everything_else_needs_a_token(proxy: Proxy) -> None:
    for path in GUARDED:
        answer = ask(proxy.admin, path, token=None)
        assert answer.status == 401, path
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    for path in ("/healthz", "/readyz", "/metrics"):
        assert ask(proxy.admin, path, token=None).status == 200
    assert ask(proxy.admin, f"{API}/session").json == {"name": "tester", "role": "operator", "csrf": None}
    assert ask(proxy.admin, f"{API}/session", Authorization=f"bearer  {TOKEN} ").status == 200


def test_no_other_token_opens_anything(fresh: Proxy) -> None:
    wrong = [EXPIRED, "x" * 5000, "", f"{TOKEN}x", TOKEN[:-1], f"{TOKEN} {TOKEN}", "\u00ff\u00fe", token_hash(TOKEN)]
    assert len(wrong) < BURST
    for token in wrong:
        assert ask(fresh.admin, f"{API}/callers", token=token).status == 401, token


def test_a_viewer_reads_and_does_not_act(fresh: Proxy, tmp_path: Path) -> None:
    assert ask(fresh.admin, f"{API}/callers", token=VIEWER).status == 200
    browser = Browser.log_in(fresh.admin, VIEWER)
    asked = {"reason": "because", "name": "x"}
    for answer in (
        ask(fresh.admin, f"{API}/callers/x/block", "POST", asked, VIEWER),
        browser.post(f"{API}/callers/x/block", asked),
        ask(fresh.admin, "/observations", "POST", {}, VIEWER),
    ):
        assert answer.status == 403
        assert "viewer" in answer.text
    events = ask(fresh.admin, f"{API}/events").json["events"]
    assert [each["event"] for each in events[:4]] == [*["access.forbidden"] * 3, "login"]
    assert {each["operator"] for each in events[:4]} == {"viewer"}


def test_the_cookie_is_for_this_page_alone(proxy: Proxy) -> None:
    answer = ask(proxy.admin, f"{API}/login", "POST", {"token": TOKEN}, None)
    parts = {part.strip().lower() for part in answer.headers["Set-Cookie"].split(";")[1:]}
    assert parts == {"httponly", "path=/", "samesite=strict"}
    assert TOKEN not in answer.headers["Set-Cookie"] + answer.text
    browser = Browser.log_in(proxy.admin)
    assert browser.get(f"{API}/session").json == {"name": "tester", "role": "operator", "csrf": browser.csrf}


@pytest.mark.parametrize(
    "wrong",
    [
        {"X_CSRF_Token": ""},
        {"X_CSRF_Token": "x"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "", "Sec_Fetch_Site": "cross-site"},
        {"Origin": "", "Sec_Fetch_Site": "same-site"},
    ],
)
def test_a_post_of_another_sites_page_does_nothing(proxy: Proxy, wrong: dict[str, str]) -> None:
    browser = Browser.log_in(proxy.admin)
    for path, body in ((f"{API}/callers/x/block", {"reason": "x"}), (f"{API}/logout", {})):
        assert browser.post(path, body, **wrong).status == 403
    assert browser.get(f"{API}/session").status == 200
    assert browser.post(f"{API}/callers/x/block", {"reason": "x"}).status == 404, "all else is right"


def test_another_sessions_csrf_token_is_none(proxy: Proxy) -> None:
    one, other = Browser.log_in(proxy.admin), Browser.log_in(proxy.admin)
    assert one.post(f"{API}/logout", {}, X_CSRF_Token=other.csrf).status == 403


def test_another_site_cannot_log_in_here(proxy: Proxy) -> None:
    assert ask(proxy.admin, f"{API}/login", "POST", {"token": TOKEN}, None, Origin="http://evil").status == 403
    text = ask(proxy.admin, f"{API}/login", "POST", json.dumps({"token": TOKEN}), None, Content_Type="text/plain")
    assert text.status == 415, "a form of another site can send no JSON"


def test_logging_out_ends_the_session(proxy: Proxy) -> None:
    browser = Browser.log_in(proxy.admin)
    assert browser.post(f"{API}/logout", {}).status == 200
    assert browser.get(f"{API}/session").status == 401


def test_actions_are_posts(proxy: Proxy) -> None:
    for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert ask(proxy.admin, f"{API}/callers/x/block", method).status == 405
    for path in GUARDED:
        assert ask(proxy.admin, path, "POST", {}).status in (404, 405), path
    assert ask(proxy.admin, f"{API}/callers", "HEAD").text == ""


@pytest.mark.parametrize(
    ("body", "status"),
    [("x" * 9000, 413), ("[" * 8000, 400), ("[]", 400), ("", 400), ('{"token": 5}', 400), (b"\xff\xfe", 400)],
)
def test_bodies_are_bounded_and_checked(proxy: Proxy, body: str | bytes, status: int) -> None:
    answer = ask(proxy.admin, f"{API}/login", "POST", body, None, Content_Type="application/json")
    assert answer.status == status
    assert "error" in answer.json


def test_wrong_tokens_are_limited_and_audited(fresh: Proxy, tmp_path: Path) -> None:
    browser = Browser.log_in(fresh.admin)
    statuses = [ask(fresh.admin, f"{API}/callers", token="wrong").status for _ in range(BURST + 5)]
    assert statuses == [401] * BURST + [429] * 5
    refused = ask(fresh.admin, f"{API}/login", "POST", {"token": TOKEN}, None)
    assert refused.status == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= REFILL + 1
    assert browser.get(f"{API}/session").status == 200, "who is in stays in"
    assert ask(fresh.admin, f"{API}/session").status == 200, "a program's right token is not refused for others' wrong"
    deadline = time.monotonic() + 10
    while "access.limited" not in (text := (tmp_path / "events.jsonl").read_text()):
        assert time.monotonic() < deadline, text
        time.sleep(0.02)
    kinds = [json.loads(line)["event"] for line in text.splitlines()]
    assert kinds == ["proxy.started", "login", *["access.failed"] * BURST, "access.limited"], "the limit is said once"
    assert "wrong" not in text, "no token is ever written"


def test_whoever_is_no_operator_any_more_is_out_at_once(fresh: Proxy, tmp_path: Path) -> None:
    browser = Browser.log_in(fresh.admin, VIEWER)
    path = tmp_path / "tensorwall.yaml"
    config = yaml.safe_load(path.read_text())
    config["admin"]["operators"] = [record("tester", "viewer", TOKEN)]
    path.write_text(yaml.safe_dump(config))
    deadline = time.monotonic() + 20
    while browser.get(f"{API}/session").status != 401:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert ask(fresh.admin, f"{API}/session", token=VIEWER).status == 401
    assert ask(fresh.admin, f"{API}/session").json["role"] == "viewer"


def test_only_names_of_the_proxy_are_answered_where_they_are_configured(upstream: str, tmp_path: Path) -> None:
    settings = {"operators": OPERATORS, "hosts": ["walls.example", "127.0.0.1"]}
    with serving_proxy(tmp_path, upstream, admin=settings) as proxy:
        assert ask(proxy.admin, f"{API}/session").status == 200
        assert ask(proxy.admin, f"{API}/session", Host="WALLS.example:8601").status == 200
        assert ask(proxy.admin, f"{API}/session", Host="rebound.example").status == 421
        assert ask(proxy.admin, "/healthz", Host="10.1.2.3:8601").status == 200, "probes come by any name"


def test_tls_has_its_own_cookie_and_follows_its_files(upstream: str, tmp_path: Path) -> None:
    authority = Authority()
    cert, key = authority.server("127.0.0.1").write(tmp_path, "admin")
    port = free_port()
    listen = {"admin": f"127.0.0.1:{port}", "grpc": "127.0.0.1:0"}
    context = ssl.create_default_context(cadata=authority.cert.decode())
    config = {
        "upstream": upstream,
        "listen": listen,
        "admin": {"operators": OPERATORS, "tls": {"cert": str(cert), "key": str(key)}},
        "shutdown": {"settle": 0},
        "log": {"format": "json"},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))

    def serial() -> int:
        with socket.create_connection(("127.0.0.1", port), 5) as raw:
            tls = context.wrap_socket(raw, server_hostname="127.0.0.1")
            found = tls.getpeercert()
            assert found is not None
            return int(str(found["serialNumber"]), 16)

    with Running("serve", "--config", str(tmp_path / "c.yaml")) as process:
        process.wait_until(lambda: "listening" in process.log(), "listening")
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
        connection.request("POST", f"{API}/login", json.dumps({"token": TOKEN}), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        cookie = str(answer.getheader("Set-Cookie"))
        assert cookie.startswith("__Host-tensorwall_session=")
        assert "Secure" in cookie
        connection.request("GET", f"{API}/session", headers={"Cookie": cookie.partition(";")[0]})
        assert connection.getresponse().status == 200
        connection.close()
        before = serial()
        authority.server("127.0.0.1").write(tmp_path, "admin")
        process.wait_until(lambda: serial() != before, "showing the new certificate")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


OPERATOR = Operator.model_validate(record("a", "operator", "x"))


def test_sessions_end_when_idle_and_at_last_in_any_case() -> None:
    clock = Clock()
    table, settings = SessionTable(clock), Sessions(idle=100, absolute=1000)
    name, session = table.open(OPERATOR, settings)
    for _ in range(9):
        clock.now += 99
        assert table.find(name, settings) is session
    clock.now += 99
    assert table.find(name, settings, used=False) is session
    clock.now += 10
    assert table.find(name, settings) is None, "1,000 seconds have passed"
    name, _ = table.open(OPERATOR, settings)
    clock.now += 99
    assert table.find(name, settings, used=False) is not None
    clock.now += 1
    assert table.find(name, settings) is None, "a look that does not count keeps nothing alive"


def test_sessions_are_bounded_and_those_used_lately_stay() -> None:
    table, settings = SessionTable(Clock()), Sessions()
    first, _ = table.open(OPERATOR, settings)
    second, _ = table.open(OPERATOR, settings)
    for _ in range(MAX_SESSIONS - 1):
        assert table.find(first, settings) is not None
        table.open(OPERATOR, settings)
    assert len(table) == MAX_SESSIONS
    assert table.find(first, settings) is not None
    assert table.find(second, settings) is None
    assert table.evicted == 1


def test_failures_come_back_one_by_one_and_are_counted_by_network() -> None:
    clock = Clock()
    failures = Failures(clock)
    for _ in range(BURST):
        assert failures.wait("2001:db8::1") == 0
        failures.note("2001:db8::1")
    assert 0 < failures.wait("2001:db8::2") <= REFILL, "an IPv6 network is one"
    assert failures.wait("192.0.2.1") == 0
    clock.now += REFILL
    assert failures.wait("2001:db8::2") == 0
    failures.note("2001:db8::2")
    assert failures.wait("2001:db8::1") > 0
    for number in range(MAX_ADDRESSES + 5):
        failures.note(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert failures.evicted > 0
    assert failures.wait("2001:db8::1") == 0, "the table is bounded"


def test_a_token_works_through_its_last_day() -> None:
    clock = Clock()
    held = Operators([Operator.model_validate(record("a", "viewer", "t", expires="1970-01-02"))], clock)
    clock.now = 2 * 86_400 - 1
    assert held.by_token("t") is not None
    clock.now = 2 * 86_400
    assert held.by_token("t") is None
