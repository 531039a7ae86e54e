"""Cancellation and deadlines through the proxy (interop cases cancel_after_begin and timeout_on_sleeping_server)."""

import threading
import time
from collections.abc import Iterator

import grpc
import pytest

from tests.calls import call, open_channel
from tests.e2e.conftest import ALLOWED, DEFAULT_DEADLINE
from tests.e2e.upstream import ScriptedUpstream
from tests.processes import Proxy

PREDICT = "/tensorflow.serving.PredictionService/Predict"
PATIENCE = 10.0

ROUNDING = 1.02
"""gRPC writes a deadline with three digits, rounded up, on each of two hops."""


class Sleeping:
    """A script that does not answer before its call is over, whatever the reason.

    Attributes:
        begun: set when the call has come.
        over: set when gRPC tells the server that the call is over, while the script still sleeps.
    """

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.over = threading.Event()

    def __call__(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(self.over.set)
        self.begun.set()
        self.over.wait(PATIENCE)
        return b"too late"

    def stream(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        context.add_callback(self.over.set)
        yield b"first"
        self.over.wait(PATIENCE)


@pytest.fixture
def sleeping(upstream: ScriptedUpstream) -> Sleeping:
    """The upstream's Predict sleeps, and so does the method allowed by name, after a first reply."""
    script = Sleeping()
    upstream.answer(PREDICT, script)
    upstream.stream(ALLOWED, script.stream)
    return script


def test_a_cancelled_call_is_cancelled_upstream(sleeping: Sleeping, channel: grpc.Channel) -> None:
    ongoing = channel.unary_unary(PREDICT).future(b"", timeout=60)
    assert sleeping.begun.wait(PATIENCE)
    assert not sleeping.over.is_set()
    ongoing.cancel()
    assert sleeping.over.wait(PATIENCE / 2), "the upstream was not told"
    assert ongoing.code() is grpc.StatusCode.CANCELLED


def test_a_stream_cancelled_after_its_first_reply_is_cancelled_upstream(
    upstream: ScriptedUpstream, channel: grpc.Channel
) -> None:
    """Many times, since the cancellation may meet a proxy that reads, one that writes and one that waits."""
    for _ in range(30):
        sleeping = Sleeping()
        upstream.stream(ALLOWED, sleeping.stream)
        ongoing = channel.stream_stream(ALLOWED)(iter([b""]), timeout=60)
        assert next(ongoing) == b"first"
        ongoing.cancel()
        assert sleeping.over.wait(PATIENCE / 2), "the upstream was not told"
        assert ongoing.code() is grpc.StatusCode.CANCELLED


def test_a_vanished_caller_cancels_its_call_upstream(sleeping: Sleeping, proxy: Proxy) -> None:
    """The caller's whole connection goes, as when its process dies."""
    with open_channel(proxy.address) as channel:
        ongoing = channel.unary_unary(PREDICT).future(b"", timeout=60)
        assert sleeping.begun.wait(PATIENCE)
        assert not ongoing.done()
    assert sleeping.over.wait(PATIENCE / 2), "the upstream was not told"


def test_a_deadline_ends_the_call_in_time_and_upstream_too(
    upstream: ScriptedUpstream, sleeping: Sleeping, channel: grpc.Channel
) -> None:
    started = time.monotonic()
    answer = call(channel, PREDICT, timeout=0.4)
    taken = time.monotonic() - started
    assert answer.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert 0.39 < taken < PATIENCE / 2
    assert upstream.last().seconds_left <= 0.4 * ROUNDING
    assert sleeping.over.wait(PATIENCE / 2), "the upstream was not told"


def test_the_upstream_sees_what_remains_of_the_deadline(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    upstream.answer(PREDICT, b"")
    call(channel, PREDICT, timeout=17.0)
    assert 10.0 < upstream.last().seconds_left <= 17.0 * ROUNDING


def test_callers_without_a_deadline_get_the_default_one(upstream: ScriptedUpstream, proxied: grpc.Channel) -> None:
    upstream.answer(PREDICT, b"")
    call(proxied, PREDICT, timeout=None)
    assert DEFAULT_DEADLINE / 2 < upstream.last().seconds_left <= DEFAULT_DEADLINE * ROUNDING


def test_a_longer_deadline_than_the_default_is_the_callers_own(
    upstream: ScriptedUpstream, channel: grpc.Channel
) -> None:
    upstream.answer(PREDICT, b"")
    call(channel, PREDICT, timeout=3600.0)
    assert 3000.0 < upstream.last().seconds_left <= 3600.0 * ROUNDING


def test_a_stream_keeps_its_deadline(upstream: ScriptedUpstream, sleeping: Sleeping, channel: grpc.Channel) -> None:
    started = time.monotonic()
    ongoing = channel.stream_stream(ALLOWED)(iter([b""]), timeout=0.4)
    with pytest.raises(grpc.RpcError) as ended:
        list(ongoing)
    assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < PATIENCE / 2
    assert upstream.last().seconds_left <= 0.4 * ROUNDING
    assert sleeping.over.wait(PATIENCE / 2), "the upstream was not told"


@pytest.mark.parametrize("code", [grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED], ids=lambda c: c.name)
def test_an_upstream_may_cancel_by_itself(
    upstream: ScriptedUpstream, channel: grpc.Channel, code: grpc.StatusCode
) -> None:
    def script(body: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(code, "of its own accord")
        return b""

    upstream.answer(PREDICT, script)
    answer = call(channel, PREDICT)
    assert (answer.code, answer.details) == (code, "of its own accord")
