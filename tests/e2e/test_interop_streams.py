"""Unknown methods that the configuration allows by name: messages of any number pass as bytes, as they come."""

import queue
from collections.abc import Iterable, Iterator

import grpc
import pytest

from tests.calls import Answer, Metadata, call, ended, plain
from tests.e2e.conftest import ALLOWED
from tests.e2e.upstream import ScriptedUpstream

MESSAGES = [b"", b"\x00", b"\xff" * 3, b"one", bytes(100_000)]
INITIAL: Metadata = (("x-initial", "i"), ("x-initial-bin", b"\x00\xff"))
TRAILING: Metadata = (("x-trailing", "t"), ("x-trailing-bin", b"\xff"))


def opened(channel: grpc.Channel, requests: Iterable[bytes] = ()) -> grpc.Call:
    """A stream of the allowed method; `()` sends nothing and half-closes."""
    return channel.stream_stream(ALLOWED)(iter(requests), timeout=20, metadata=(("x-caller", "c"),))


def echo(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    context.send_initial_metadata(INITIAL)
    context.set_trailing_metadata(TRAILING)
    yield from requests


def test_one_request_one_reply(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    upstream.answer(ALLOWED, lambda body, context: body[::-1])
    assert call(channel, ALLOWED, b"\xffabc") == Answer(grpc.StatusCode.OK, "", (), (), b"cba\xff")


def test_many_messages_both_ways(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    upstream.stream(ALLOWED, echo)
    stream = opened(channel, MESSAGES)
    assert list(stream) == MESSAGES
    assert ended(stream) == Answer(grpc.StatusCode.OK, "", plain(INITIAL), plain(TRAILING))
    assert upstream.last().values("x-caller") == ["c"]


def test_no_messages_at_all(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    """The server speaks first; a beginning and an end that come at once may lose the beginning in gRPC's own client."""
    upstream.stream(ALLOWED, echo)
    waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    stream = opened(channel, iter(waiting.get, None))
    assert plain(stream.initial_metadata()) == plain(INITIAL)
    waiting.put(None)
    assert list(stream) == []
    assert ended(stream) == Answer(grpc.StatusCode.OK, "", plain(INITIAL), plain(TRAILING))


def test_messages_pass_as_they_come(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    """Ping-pong: each request is sent only when the reply to the one before it is there."""
    upstream.stream(ALLOWED, echo)
    waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    stream = opened(channel, iter(waiting.get, None))
    for message in MESSAGES:
        waiting.put(message)
        assert next(stream) == message
    waiting.put(None)
    assert list(stream) == []
    assert stream.code() is grpc.StatusCode.OK


def test_one_request_many_replies(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    upstream.stream(ALLOWED, lambda requests, context: [*requests, *MESSAGES])
    stream = channel.unary_stream(ALLOWED)(b"first", timeout=20)
    assert list(stream) == [b"first", *MESSAGES]


def test_many_requests_one_reply(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    upstream.stream(ALLOWED, lambda requests, context: [b"|".join(requests)])
    assert channel.stream_unary(ALLOWED)(iter(MESSAGES), timeout=20) == b"|".join(MESSAGES)


@pytest.mark.parametrize("replies", [0, 2])
def test_a_stream_that_fails_keeps_its_status(upstream: ScriptedUpstream, channel: grpc.Channel, replies: int) -> None:
    def fail(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        yield from MESSAGES[:replies]
        context.abort_with_status(_Status(grpc.StatusCode.DATA_LOSS, "verloren ☺", TRAILING))

    upstream.stream(ALLOWED, fail)
    stream = opened(channel, [b"request"])
    received = []
    with pytest.raises(grpc.RpcError):
        received.extend(stream)
    assert received == [] or replies
    assert ended(stream) == Answer(grpc.StatusCode.DATA_LOSS, "verloren ☺", (), plain(TRAILING))


def test_an_upstream_may_end_before_its_caller_does(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    """The caller has sent one message and neither sends another nor says that there is none."""
    upstream.stream(ALLOWED, lambda requests, context: [next(requests)])
    waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    waiting.put(b"only")
    stream = opened(channel, iter(waiting.get, None))
    assert list(stream) == [b"only"]
    assert stream.code() is grpc.StatusCode.OK
    waiting.put(None)


class _Status(grpc.Status):
    def __init__(self, code: grpc.StatusCode, details: str, trailing_metadata: Metadata) -> None:
        self.code = code
        self.details = details
        self.trailing_metadata = trailing_metadata
