"""The machine's clock jumps, forwards and backwards, under load.

The proxy runs under libfaketime, which fakes the time of day and leaves the monotonic clock alone, as a jump does.
"""

import os
import threading
import time
import urllib.request
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos import serving_pb2 as serving
from proxy.events.chain import check
from tests.calls import call, open_channel
from tests.e2e.model_server import PREDICT, ModelServer, echo
from tests.faults.seen import BODY, Load, State, figure, settles, until
from tests.processes import Proxy, serving_proxy

PLACES = [
    *Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"),
    *Path("/usr/lib/faketime").glob("libfaketimeMT.so.1"),
]
MISSING = "libfaketime is not installed; apt-get install libfaketime"
HOUR, DAY = 3600, 86_400
BUDGET = 20
SPENT = serving.PredictRequest(model_spec=serving.ModelSpec(name="spent")).SerializeToString()


class Clock:
    """Of the processes that are started after it was made; `jump` sets it so many seconds off."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.jump(0)

    def jump(self, seconds: int) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._file)


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    if not PLACES:
        if os.environ.get("CI") == "true":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    found = Clock(tmp_path / "clock")
    for name, value in {
        "LD_PRELOAD": str(PLACES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(tmp_path / "clock"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def served(tmp_path: Path, clock: Clock) -> Iterator[tuple[Proxy, ModelServer]]:
    settings: dict[str, Any] = {
        "identity": {"order": ["forwarded_for"]},
        "limits": [{"by": "caller", "unit": "calls", "rate": "100000/s"}],
        "models": {"spent": {"limits": [{"by": "caller", "unit": "calls", "budget": BUDGET, "per": "day"}]}},
        "events": {"file": {"path": str(tmp_path / "audit.jsonl")}},
    }
    with ModelServer() as server, serving_proxy(tmp_path, server.address, **settings) as proxy:
        yield proxy, server


def test_no_call_suffers_and_no_limit_is_lost(tmp_path: Path, clock: Clock, served: tuple[Proxy, ModelServer]) -> None:
    proxy, server = served
    before = State.of(proxy)
    release = threading.Event()

    def held(body: bytes, context: grpc.ServicerContext) -> bytes:
        if dict(context.invocation_metadata()).get("x-held"):
            release.wait(30)
        return body

    server.behaviour = held
    with open_channel(proxy.address) as channel:
        waiting = channel.unary_unary(PREDICT).future(
            BODY, timeout=60, metadata=(("x-held", "1"), ("x-forwarded-for", "10.0.0.9"))
        )
        with Load([proxy.address], callers=4, deadline=5, metadata=(("x-forwarded-for", "10.0.0.1"),)) as load:
            for offset in (0, HOUR, -HOUR, 2 * DAY, 0):
                clock.jump(offset)
                until(lambda offset=offset: abs(_now(proxy) - offset) < 300, "told of the jump")  # type: ignore[misc]
                load.until(50)
            load.end()
        assert set(load.codes) == {"OK"}
        assert not waiting.done(), "an hour that did not pass ends no deadline"
        release.set()
        assert waiting.result() == BODY
    server.behaviour = echo
    assert figure(proxy, "tensorwall_ready") == 1
    settles(proxy, before)
    assert proxy.process.stop() == 0
    assert check([tmp_path / "audit.jsonl"]).problems == []


def test_a_call_that_begins_as_the_clock_jumps_is_answered(clock: Clock, served: tuple[Proxy, ModelServer]) -> None:
    proxy, _ = served
    with Load([proxy.address], deadline=5, metadata=(("x-forwarded-for", "10.0.0.1"),)) as load:
        for _ in range(200):  # so many, since few meet a call in the moment that counts
            for offset in (HOUR, 0):
                clock.jump(offset)
                load.until(3)
        load.end()
    assert set(load.codes) == {"OK"}


def test_a_spent_day_is_not_won_back_by_setting_the_clock_back(clock: Clock, served: tuple[Proxy, ModelServer]) -> None:
    proxy, _ = served
    with open_channel(proxy.address) as channel:

        def code() -> grpc.StatusCode:
            return call(channel, PREDICT, SPENT, metadata=(("x-forwarded-for", "10.0.0.2"),)).code

        until(lambda: code() is grpc.StatusCode.RESOURCE_EXHAUSTED, "spent")
        clock.jump(-DAY)
        until(lambda: abs(_now(proxy) + DAY) < 300, "told")
        assert code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        clock.jump(DAY)
        until(lambda: code() is grpc.StatusCode.OK, "a new day")
        clock.jump(0)
        until(lambda: abs(_now(proxy)) < 300, "told")
        assert code() is grpc.StatusCode.OK, "nobody is locked out"


def _now(proxy: Proxy) -> float:
    """How far the proxy's clock is off, as its answers' Date header says."""
    with urllib.request.urlopen(f"http://{proxy.admin}/healthz", timeout=5) as answer:
        return parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time()
