"""Webhook, Alertmanager and log as the event loop has them, against a real HTTP server."""

import asyncio
import hashlib
import hmac
import json
import random
import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from detectors.findings import Finding, Reading, Subject, Technique
from detectors.profile import Profile
from proxy.config.detection import Detection
from proxy.config.events import Alertmanager, AuditLog, Events
from proxy.config.events import Webhook as WebhookSettings
from proxy.events.alerts import Alerts
from proxy.events.chain import check
from proxy.events.outlets import Outlets
from proxy.events.webhook import MAX_WAITING, Webhook, open_session, signature
from proxy.events.writer import MAX_WAITING as MAX_LINES
from proxy.events.writer import Writer
from proxy.policy import Policy
from tests.alerts import rules
from tests.events.receiver import Receiver, receiving
from tests.processes import free_port

NOW = 1_800_000_000.0
SECRET = "a secret of the webhook"


ROOT = Path(__file__).parents[2]
RUNBOOKS = {each["annotations"]["runbook_url"]: name for name, each in rules.alerts().items()}


class Counts(Counter[tuple[str, str]]):
    def __call__(self, outlet: str, outcome: str, count: int) -> None:
        self[outlet, outcome] += count


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def counts() -> Counts:
    return Counts()


def event(number: int, name: str = "action") -> dict[str, Any]:
    return {"event": name, "id": str(number), "caller": "</script>\u202e"}


class Slept:
    """Waits that take no time, and how long they would have been."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)


@asynccontextmanager
async def running(outlet: Any) -> Any:
    task = asyncio.create_task(outlet.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # it is about another thread, or a server
            await asyncio.sleep(0.01)


def hook(url: str, counts: Counts, slept: Slept | None = None, **given: Any) -> Webhook:
    settings = WebhookSettings(url=url, secret=SECRET, **given)
    return Webhook(settings, counts, lambda: NOW, random.Random(0), slept or Slept())


async def test_each_event_is_posted_once_in_order_and_signed(receiver: Receiver, counts: Counts) -> None:
    webhook = hook(f"{receiver.url}/hook?a=b", counts)
    async with running(webhook):
        for number in range(3):
            webhook.put(event(number))
        await until(lambda: counts["webhook", "delivered"] == 3)
    assert [json.loads(body) for _, _, body in receiver.came] == [event(number) for number in range(3)]
    path, headers, body = receiver.came[0]
    assert path == "/hook?a=b"
    assert (headers["Content-Type"], headers["X-Tensorwall-Event"]) == ("application/json", "action")
    time, sent = (part.partition("=")[2] for part in headers["X-Tensorwall-Signature"].split(","))
    expected = hmac.new(SECRET.encode(), time.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert (int(time), sent) == (NOW, expected)


def test_the_signature_is_of_time_and_body() -> None:
    of = signature(SECRET, 5, b"{}")
    assert of == signature(SECRET, 5, b"{}")
    assert len({of, signature(SECRET, 6, b"{}"), signature(SECRET, 5, b"{ }"), signature(SECRET + "x", 5, b"{}")}) == 4


async def test_what_fails_is_tried_again_with_growing_jittered_waits(receiver: Receiver, counts: Counts) -> None:
    receiver.statuses = [503, 429, 500, 302, 408]
    slept = Slept()
    webhook = hook(receiver.url, counts, slept)
    async with running(webhook):
        webhook.put(event(0))
        await until(lambda: counts["webhook", "delivered"] == 1)
    assert len(receiver.came) == 6, "a redirect is not followed, it is a failure"
    assert counts["webhook", "failed"] == 5
    assert all(0 <= wait <= 0.5 * 2**at for at, wait in enumerate(slept.waits))
    assert len(set(slept.waits)) == 5
    draws = [random.Random(seed).uniform(0, 60) for seed in range(3)]
    assert len(set(draws)) == 3


async def test_what_will_never_be_taken_is_dropped_at_once(receiver: Receiver, counts: Counts) -> None:
    receiver.statuses = [400]
    webhook = hook(receiver.url, counts)
    async with running(webhook):
        webhook.put(event(0))
        webhook.put(event(1))
        await until(lambda: counts["webhook", "delivered"] == 1)
    assert counts == {("webhook", "failed"): 1, ("webhook", "dropped"): 1, ("webhook", "delivered"): 1}


async def test_a_dead_receiver_costs_a_bounded_queue(counts: Counts) -> None:
    slept = Slept()
    webhook = hook(f"http://127.0.0.1:{free_port()}", counts, slept, attempts=3)
    for number in range(MAX_WAITING + 20):
        webhook.put(event(number))
    assert (webhook.waiting, counts["webhook", "dropped"]) == (MAX_WAITING, 20)
    async with running(webhook):
        await until(lambda: counts["webhook", "dropped"] > 21)
    assert counts["webhook", "failed"] >= 3
    await webhook.close(1)
    assert counts["webhook", "dropped"] == MAX_WAITING + 20, "all are accounted for"


async def test_only_wanted_kinds_are_sent(receiver: Receiver, counts: Counts) -> None:
    webhook = hook(receiver.url, counts, kinds=("verdict", "access"))
    for number, name in enumerate(("action", "verdict.new", "login", "proxy.started", "access.failed")):
        webhook.put(event(number, name))
    async with running(webhook):
        await until(lambda: counts["webhook", "delivered"] == 3)
    assert [headers["X-Tensorwall-Event"] for _, headers, _ in receiver.came] == [
        "verdict.new",
        "login",
        "access.failed",
    ]


class Standing:
    """A policy with verdicts of a test's choice on model `m`."""

    def __init__(self, folder: Path) -> None:
        replace(Profile.defaults("m", b"0123456789abcdef"), calibrated=True).write(folder / "m.json")
        self.now = NOW
        self.policy = Policy(lambda *_: None)
        self.policy.configure({"m": Detection.model_validate({"mode": "enforce", "profile": str(folder / "m.json")})})

    def find(self, caller: str, surprise: float, technique: Technique = Technique.EVASION) -> None:
        reading = Reading("d", "d.s", Subject("caller", caller), technique, 7.0, self.now, 9, 12, 34, note="why")
        self.policy.judge("m", [Finding(reading, surprise, 0.5, False)], self.now)

    async def __call__(self) -> Any:
        return self.policy.verdicts(self.now)


@pytest.fixture
def standing(tmp_path: Path) -> Standing:
    return Standing(tmp_path)


def alerts(standing: Standing, counts: Counts, *urls: str, **given: Any) -> Alerts:
    return Alerts(Alertmanager(urls=urls, **given), standing, counts, lambda: standing.now)


async def test_alerts_fire_are_sent_again_and_resolve(receiver: Receiver, counts: Counts, standing: Standing) -> None:
    pushed = alerts(standing, counts, receiver.url, labels={"cluster": "eu"})
    async with open_session(5, None) as session:
        await pushed.push(session)
        assert not receiver.came, "nothing fires, nothing is sent"
        standing.find("<b>\u202e", 5.5)
        standing.find("other", 3.5)
        await pushed.push(session)
        standing.now += 30
        await pushed.push(session)
        standing.now += 10**6
        await pushed.push(session)
        await pushed.push(session)
    assert [path for path, _, _ in receiver.came] == ["/api/v2/alerts"] * 3
    first, again, ended = (json.loads(body) for _, _, body in receiver.came)
    assert len(first) == 1, "one alert, however many callers"
    assert first[0]["labels"] == {
        "alertname": "TensorwallAttack",
        "model": "m",
        "technique": "evasion",
        "mode": "enforce",
        "severity": "warning",
        "atlas": "AML.T0043.001",
        "cluster": "eu",
    }
    notes = first[0]["annotations"]
    assert notes["callers"] == r"<b>\u202e, other"
    assert notes["summary"] == r"evasion of model m by caller <b>\u202e: step throttle"
    assert "d.s 7.0 (threshold 0.5) why" in notes["description"]
    assert f"## {RUNBOOKS[notes['runbook_url']]}\n" in (ROOT / "docs" / "runbooks.md").read_text()
    assert (first[0]["startsAt"], first[0]["endsAt"]) == ("2027-01-15T08:00:00.000Z", "2027-01-15T08:02:00.000Z")
    assert again[0]["labels"] == first[0]["labels"]
    assert again[0]["endsAt"] == "2027-01-15T08:02:30.000Z"
    assert ended[0]["labels"] == first[0]["labels"]
    assert ended[0]["endsAt"] < "2027-01-27"
    assert counts["alertmanager", "delivered"] == 3


async def test_a_resolved_alert_is_told_until_somebody_hears_it(
    receiver: Receiver, counts: Counts, standing: Standing
) -> None:
    pushed = alerts(standing, counts, receiver.url, f"http://127.0.0.1:{free_port()}", timeout=2)
    standing.find("a", 9)
    async with open_session(5, None) as session:
        await pushed.push(session)
        standing.now += 10**6
        receiver.statuses = [500, 200]
        for _ in range(3):
            await pushed.push(session)
    assert len(receiver.came) == 3
    assert json.loads(receiver.came[1][2])[0]["labels"] == json.loads(receiver.came[2][2])[0]["labels"]


async def test_observed_and_shadowed_attacks_raise_no_alert_unless_wanted(
    receiver: Receiver, counts: Counts, standing: Standing
) -> None:
    standing.find("a", 2.5)
    standing.policy.configure({"m": Detection(mode="shadow")})
    standing.find("b", 9.0, Technique.EXTRACTION)
    async with open_session(5, None) as session:
        await alerts(standing, counts, receiver.url).push(session)
        assert not receiver.came
        await alerts(standing, counts, receiver.url, shadow=True).push(session)
    (alert,) = json.loads(receiver.came[0][2])
    assert (alert["labels"]["technique"], alert["labels"]["mode"]) == ("extraction", "shadow")


async def test_an_attack_is_told_at_once_not_with_the_next_interval(
    receiver: Receiver, counts: Counts, standing: Standing
) -> None:
    pushed = alerts(standing, counts, receiver.url, interval=3600)
    async with running(pushed):
        standing.find("a", 9)
        pushed.put({"event": "verdict.new"})
        await until(lambda: receiver.came)


async def test_a_full_disk_loses_nothing_until_the_queue_is_full(
    tmp_path: Path, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.events.writer.AGAIN", 0.05)
    writer = Writer(AuditLog(path=tmp_path / "e.jsonl"), counts, lambda: NOW)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        async with running(writer):
            for number in range(MAX_LINES + 7):
                writer.put(event(number))
            await until(lambda: counts["file", "failed"] >= 2)
            assert (writer.waiting, counts["file", "dropped"]) == (MAX_LINES, 7)
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            await until(lambda: writer.waiting == 0)
            writer.put(event(99))
            await until(lambda: writer.waiting == 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await writer.close(5)
    found = check([tmp_path / "e.jsonl"])
    assert (found.problems, found.lines, found.lost) == ([], MAX_LINES + 1, 7)
    assert counts["file", "delivered"] == MAX_LINES + 1


async def test_a_change_of_settings_keeps_what_stays_and_loses_nothing(
    tmp_path: Path, receiver: Receiver, counts: Counts, standing: Standing
) -> None:
    outlets = Outlets(standing, counts, lambda: NOW)
    log = AuditLog(path=tmp_path / "e.jsonl")
    await outlets.configure(Events(file=log))
    outlets.put(event(1))
    await outlets.configure(Events(file=log, webhook=WebhookSettings(url=receiver.url, secret=SECRET)))
    outlets.put(event(2))
    await until(lambda: receiver.came)
    await outlets.configure(Events(file=AuditLog(path=tmp_path / "other.jsonl")))
    outlets.put(event(3))
    await outlets.close()
    for name, numbers in (("e.jsonl", ["1", "2"]), ("other.jsonl", ["3"])):
        assert [json.loads(line)["id"] for line in (tmp_path / name).read_text().splitlines()] == numbers
    assert len(receiver.came) == 1
