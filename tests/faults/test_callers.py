"""Callers who read slowly or not at all, and callers with thousands of streams."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest

from tests.calls import call, open_channel
from tests.e2e.model_server import PREDICT, ModelServer, echo
from tests.faults.rawcaller import HEADERS, RST_STREAM, RawCaller
from tests.faults.seen import BODY, State, figure, settles, until
from tests.processes import Proxy, serving_proxy

REPLY_BYTES = 100_000
"""More than the 64 KiB that HTTP/2 lets a server send before the other side has read."""
READERS = 500
STREAMS = 10_000
MOST = 20
HOG, OTHER = "10.0.0.1", "10.0.0.2"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, ModelServer]]:
    settings = {
        "identity": {"order": ["forwarded_for"]},
        "limits": [{"by": "caller", "in_flight": MOST}],
        "listen": {"keepalive": {"interval": 10, "timeout": 10}},
    }
    with ModelServer() as server, serving_proxy(tmp_path_factory.mktemp("p"), server.address, **settings) as proxy:
        yield proxy, server


@contextmanager
def callers(proxy: Proxy, count: int, same: bool) -> Iterator[list[RawCaller]]:
    found = [RawCaller(proxy.address, HOG if same else f"10.1.{at // 250}.{at % 250}") for at in range(count)]
    yield found
    for each in found:
        each.close()


def others_are_answered(proxy: Proxy) -> None:
    with open_channel(proxy.address) as channel:
        codes = {call(channel, PREDICT, BODY, metadata=(("x-forwarded-for", OTHER),)).code for _ in range(10)}
    assert codes == {grpc.StatusCode.OK}


def test_500_who_do_not_read_are_counted_and_let_go(served: tuple[Proxy, ModelServer]) -> None:
    """Their replies are held for them, so they are in flight; whoever answers no ping for so long is gone."""
    proxy, server = served
    before, ended = State.of(proxy), _ended(proxy)
    server.behaviour = lambda body, context: bytes(REPLY_BYTES)
    with callers(proxy, READERS, same=False) as slow:
        for each in slow:
            each.open(PREDICT, BODY)
        until(lambda: figure(proxy, "tensorwall_calls_in_flight") > 0, "holding replies")
        until(lambda: _ended(proxy) >= ended + READERS, "all answered")
        others_are_answered(proxy)
        settles(proxy, before, memory=100e6)
    assert "grpc._cython" not in proxy.process.log(), "a caller that leaves is no error"
    server.behaviour = echo


def test_500_who_read_slowly_get_all_of_it(served: tuple[Proxy, ModelServer]) -> None:
    proxy, server = served
    before = State.of(proxy)
    server.behaviour = lambda body, context: bytes(REPLY_BYTES)
    with callers(proxy, READERS, same=False) as slow:
        with ThreadPoolExecutor(READERS) as threads:
            taken = [threads.submit(_called, each) for each in slow]
            others_are_answered(proxy)
        assert min(each.result() for each in taken) > REPLY_BYTES
        settles(proxy, before, memory=100e6)
    server.behaviour = echo


def test_who_does_not_read_holds_its_own_share_only(served: tuple[Proxy, ModelServer]) -> None:
    """A limit on calls in flight is one on unread replies too."""
    proxy, server = served
    before = State.of(proxy)
    server.behaviour = lambda body, context: bytes(REPLY_BYTES)
    refused = figure(proxy, "tensorwall_calls_total", code="RESOURCE_EXHAUSTED")
    with callers(proxy, 3 * MOST, same=True) as slow:
        for each in slow:
            each.open(PREDICT, BODY)

        def said_no() -> float:
            return figure(proxy, "tensorwall_calls_total", code="RESOURCE_EXHAUSTED") - refused

        until(lambda: said_no() >= 2 * MOST, "refused")
        assert said_no() == 2 * MOST
        others_are_answered(proxy)
    settles(proxy, before)
    server.behaviour = echo


@pytest.mark.parametrize("body", [BODY, None], ids=["calls", "begun and never sent"])
def test_10_000_streams_of_one_caller_keep_nobody_else_out(
    served: tuple[Proxy, ModelServer], body: bytes | None
) -> None:
    proxy, server = served
    before = State.of(proxy)
    release = threading.Event()

    def held(asked: bytes, context: grpc.ServicerContext) -> bytes:
        if dict(context.invocation_metadata()).get("x-hog"):
            release.wait(20)
        return asked

    server.behaviour = held
    with callers(proxy, 1, same=True) as (hog,):
        reading = threading.Thread(target=_count, args=(hog, ended := Counter[int]()), daemon=True)
        reading.start()
        for _ in range(STREAMS):
            hog.open(PREDICT, body, hog=True)
        others_are_answered(proxy)
        until(lambda: ended[RST_STREAM] + ended[HEADERS] >= STREAMS - 1000, "all but what is allowed refused")
        until(lambda: figure(proxy, "tensorwall_calls_in_flight") <= MOST, "rid of what it refused")
        others_are_answered(proxy)
        release.set()
    settles(proxy, before, memory=100e6)
    server.behaviour = echo


def _called(caller: RawCaller) -> int:
    return caller.taken(caller.open(PREDICT, BODY), step=20_000)


def _count(caller: RawCaller, ended: "Counter[int]") -> None:
    for kind, _, _ in caller.frames():
        ended[kind] += 1


def _ended(proxy: Proxy) -> float:
    """Calls that the model server has answered, or whose connections were let go before, as on a busy machine."""
    return figure(proxy, "tensorwall_calls_total", method="Predict")
