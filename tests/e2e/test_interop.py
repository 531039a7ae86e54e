"""What gRPC's own interoperability cases ask, through a running proxy and over real sockets."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos import serving_pb2 as serving
from protos import tensor_pb2 as tensor
from tests.e2e.upstream import ScriptedUpstream
from tests.processes import Proxy, serving_proxy

PREDICT = "/tensorflow.serving.PredictionService/Predict"
ALLOWED = "/test.Streams/Any"
LARGE = 16 * 2**20
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def proxy(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    target = {"targets": [upstream.address], "default_deadline": 77}
    settings: dict[str, Any] = {
        "bounds": {"message_bytes": LARGE + 1000},
        "methods": {"allow": [ALLOWED, "/test.Unknown/Method"]},
        "identity": {"order": ["forwarded_for", "peer"]},
    }
    with serving_proxy(tmp_path_factory.mktemp("interop"), target, **settings) as running:
        yield running


@pytest.fixture
def channel(proxy: Proxy, upstream: ScriptedUpstream) -> Iterator[grpc.Channel]:
    upstream.forget()
    with grpc.insecure_channel(proxy.address, options=UNLIMITED) as made:
        yield made


def test_large_messages_both_ways(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    upstream.answer(PREDICT, lambda body, context: body[::-1])
    body = b"\xff" + bytes(LARGE)  # no valid message, so nothing about it is understood: it passes all the same
    assert channel.unary_unary(PREDICT)(body, timeout=20) == body[::-1]


def test_a_larger_one_is_refused(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    upstream.answer(PREDICT, b"")
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(PREDICT)(bytes(LARGE + 2000), timeout=20)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not [call for call in upstream.calls if call.method == PREDICT]


def test_metadata_pass_both_ways(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    initial, trailing = (("x-initial", "a"), ("x-initial-bin", b"\0\xff")), (("x-trail", "b"), ("x-trail-bin", b"\xfe"))

    def answer(body: bytes, context: grpc.ServicerContext) -> bytes:
        context.send_initial_metadata(initial)
        context.set_trailing_metadata((*trailing, ("grpc-retry-pushback-ms", "7")))
        return body

    upstream.answer(PREDICT, answer)
    sent = (("x-a", "1"), ("x-a", "2"), ("x-b-bin", b"\0\1\xff"), ("traceparent", "00-1-2-03"))
    reply, call = channel.unary_unary(PREDICT).with_call(b"", metadata=sent, timeout=5)
    assert reply == b""
    assert upstream.last().values("x-a") == ["1", "2"]
    assert upstream.last().values("x-b-bin") == [b"\0\1\xff"]
    assert upstream.last().values("traceparent") == ["00-1-2-03"]
    assert tuple((key, value) for key, value in call.initial_metadata()) == initial
    assert set(trailing) | {("grpc-retry-pushback-ms", "7")} == {
        (key, value) for key, value in call.trailing_metadata()
    }


def test_hop_by_hop_reserved_and_identity_headers_stay_here(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    upstream.answer(PREDICT, b"")
    sent = (
        ("connection", "close"),
        ("keep-alive", "1"),
        ("proxy-authorization", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("grpc-anything", "x"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-kept", "y"),
    )
    channel.unary_unary(PREDICT)(b"", metadata=sent, timeout=5)
    names = {name for name, _ in upstream.last().metadata}
    assert names == {"user-agent", "x-kept"}
    assert str(upstream.last().values("user-agent")[0]).startswith("tensorwall/")


CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_every_status_passes_with_its_text_and_details(
    upstream: ScriptedUpstream, channel: grpc.Channel, code: grpc.StatusCode
) -> None:
    text = "Ünïcode \u20ac \U0001f600, a tab\t, two\nlines and 100 % " + "x" * 900
    details = (("grpc-status-details-bin", b"\x08\x03\x12\x01x"), ("x-why", "because"))

    def fail(body: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata(details)
        context.abort(code, text)
        return b""

    upstream.answer(PREDICT, fail)
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(PREDICT)(b"", timeout=5)
    assert (error.value.code(), error.value.details()) == (code, text)
    assert {(key, value) for key, value in error.value.trailing_metadata()} == set(details)


def test_unimplemented_is_the_upstreams_word(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    for method in (PREDICT, "/test.Unknown/Method"):
        with pytest.raises(grpc.RpcError) as error:
            channel.unary_unary(method)(b"", timeout=5)
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_cancelling_reaches_the_upstream(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    begun, ended = threading.Event(), threading.Event()

    def wait(body: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(ended.set)
        begun.set()
        ended.wait(20)
        return b""

    upstream.answer(PREDICT, wait)
    call = channel.unary_unary(PREDICT).future(b"", timeout=20)
    assert begun.wait(5)
    call.cancel()
    assert ended.wait(2)


def test_the_remaining_deadline_goes_on(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    release = threading.Event()

    def sleep(body: bytes, context: grpc.ServicerContext) -> bytes:
        release.wait(10)
        return b""

    upstream.answer(PREDICT, sleep)
    started = time.monotonic()
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(PREDICT)(b"", timeout=0.5)
    release.set()
    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 2
    assert 0 < upstream.last().seconds_left < 0.6  # gRPC rounds what it writes on the wire


def test_a_call_without_a_deadline_gets_one(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    upstream.answer(PREDICT, b"")
    channel.unary_unary(PREDICT)(b"")
    assert 70 < upstream.last().seconds_left < 80  # gRPC rounds what it writes on the wire


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_requests_are_understood(
    upstream: ScriptedUpstream, channel: grpc.Channel, compression: grpc.Compression
) -> None:
    upstream.answer(PREDICT, lambda body, context: body)
    body = b"\xff" + b"a" * 100_000
    assert channel.unary_unary(PREDICT)(body, compression=compression, timeout=5) == body


def _encodings() -> dict[str, bytes]:
    made = {}
    for content in (False, True):
        request = serving.PredictRequest(model_spec=serving.ModelSpec(name="m"), output_filter=["b", "a"])
        for name in ("zeta", "alpha"):
            values = request.inputs[name]
            values.dtype = tensor.DT_FLOAT
            values.tensor_shape.dim.add(size=2, name="batch")
            if content:
                values.tensor_content = b"\0\0\x80\x3f" * 2
            else:
                values.float_val.extend([1, 1])
        made["content" if content else "values"] = request.SerializeToString()
    made["unknown fields"] = made["values"] + b"\xfa\x3e\x03abc" + b"\x32\x02id"
    made["longer varints than needed"] = b"\x0a\x83\x00\x0a\x01m"
    made["fields in another order, one twice"] = b"\x1a\x01y\x0a\x03\x0a\x01a\x0a\x03\x0a\x01b"
    made["unpacked floats"] = b"\x12\x10\x0a\x01x\x12\x0b\x08\x01\x2d\0\0\x80\x3f\x2d\0\0\0"
    made["no message at all"] = b"\xff\xff\xff"
    made["empty"] = b""
    return made


@pytest.mark.parametrize("name", sorted(_encodings()))
def test_bytes_pass_as_they_are(upstream: ScriptedUpstream, channel: grpc.Channel, name: str) -> None:
    body = _encodings()[name]
    upstream.answer(PREDICT, lambda sent, context: sent + b"\xfa\x3e\x01z")
    assert channel.unary_unary(PREDICT)(body, timeout=5) == body + b"\xfa\x3e\x01z"
    assert upstream.last().body == body


def test_streams_of_allowed_methods_pass(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    upstream.stream(ALLOWED, lambda requests, context: (b"re:" + request for request in requests))
    both = channel.stream_stream(ALLOWED)(iter([b"a", b"", b"c"]), timeout=5)
    assert list(both) == [b"re:a", b"re:", b"re:c"]
    upstream.stream(ALLOWED, lambda requests, context: iter([next(requests), b"2", b"3"]))
    assert list(channel.unary_stream(ALLOWED)(b"1", timeout=5)) == [b"1", b"2", b"3"]
    upstream.stream(ALLOWED, lambda requests, context: iter([b"".join(requests)]))
    assert channel.stream_unary(ALLOWED)(iter([b"a", b"b"]), timeout=5) == b"ab"
    assert channel.stream_unary(ALLOWED)(iter([]), timeout=5) == b""


def test_a_conversation_is_relayed_message_by_message(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    upstream.stream(ALLOWED, lambda requests, context: (b"re:" + request for request in requests))
    answered = threading.Event()

    def talk() -> Iterator[bytes]:
        yield b"1"
        assert answered.wait(5), "the first answer comes before the second message"
        yield b"2"

    heard = []
    for message in channel.stream_stream(ALLOWED)(talk(), timeout=10):
        heard.append(message)
        answered.set()
    assert heard == [b"re:1", b"re:2"]


def test_a_method_that_nobody_allowed_is_refused(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    upstream.answer("/a.B/C", b"")
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary("/a.B/C")(b"", timeout=5)
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert not [call for call in upstream.calls if call.method == "/a.B/C"]


def test_metadata_beyond_the_bound_are_refused(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    upstream.answer(PREDICT, b"")
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(PREDICT)(b"", metadata=[(f"x-{n}", "v" * 1000) for n in range(40)], timeout=5)
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_unix_socket_listens_too(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    upstream.forget()
    upstream.answer(PREDICT, b"reply")
    listen = {"grpc": f"unix:{tmp_path}/wall.sock"}
    with (
        serving_proxy(tmp_path, upstream.address, listen=listen) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        assert channel.unary_unary(PREDICT)(b"", timeout=5) == b"reply"


def test_reflection_names_the_services(channel: grpc.Channel) -> None:
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    database = ProtoReflectionDescriptorDatabase(channel)
    assert "tensorflow.serving.PredictionService" in database.get_services()
    assert database.FindFileContainingSymbol("tensorflow.serving.PredictRequest").package == "tensorflow.serving"
