"""gRPC's interoperability cases through the proxy, over real sockets: messages, metadata, statuses.

Cases follow grpc/doc/interop-test-descriptions.md: large_unary, custom_metadata, status_code_and_message,
special_status_message, unimplemented_method and unimplemented_service. Cancellation and deadlines, bytes and
compression, headers and streams are in the files beside this one.
"""

import grpc
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.rpc import error_details_pb2, status_pb2

from protos import serving_pb2 as serving
from protos import tensor_pb2 as tensors
from tests.calls import Answer, Metadata, call, plain
from tests.e2e.conftest import ALLOWED, MESSAGE_BYTES
from tests.e2e.upstream import ScriptedUpstream, Unary

PREDICT = "/tensorflow.serving.PredictionService/Predict"
CLASSIFY = "/tensorflow.serving.PredictionService/Classify"

LARGE = 16 * 2**20

ERRORS = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
TEXTS = {
    "empty": "",
    "ASCII": "Server Threadpool Exhausted",
    "not ASCII": "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n",
    "percent": "100 % %41 %zz",
    "spaces around": "  as it is  ",
    "long": "ü" * 1000,
}
SENT: Metadata = (
    ("x-first", "1"),
    ("x-grpc-test-echo-initial", "test_initial_metadata_value"),
    ("x-repeated", "b"),
    ("x-grpc-test-echo-trailing-bin", b"\xab\xab\xab"),
    ("x-repeated", "a, c"),
    ("x-blob-bin", bytes(range(256))),
    ("x-blob-bin", b""),
    ("authorization", "Bearer secret"),
    ("x-empty", ""),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
)


def message(size: int) -> bytes:
    """A PredictRequest of about this many bytes, its tensor as large as its content."""
    tensor = tensors.TensorProto(dtype=tensors.DT_UINT8, tensor_content=bytes(size))
    tensor.tensor_shape.dim.add(size=size)
    return serving.PredictRequest(model_spec=serving.ModelSpec(name="m"), inputs={"x": tensor}).SerializeToString()


def failing(code: grpc.StatusCode, details: str, initial: Metadata = (), trailing: Metadata = ()) -> Unary:
    def script(body: bytes, context: grpc.ServicerContext) -> bytes:
        if initial:
            context.send_initial_metadata(initial)
        context.set_trailing_metadata(trailing)
        context.set_code(code)
        context.set_details(details)
        return b""

    return script


def test_an_empty_message_both_ways(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    upstream.answer(PREDICT, b"")
    assert call(channel, PREDICT) == Answer(grpc.StatusCode.OK, "", (), ())
    assert upstream.last().body == b""


def test_large_messages_both_ways(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    reply = bytes(range(256)) * (LARGE // 256)
    upstream.answer(PREDICT, reply)
    request = message(LARGE)
    answer = call(channel, PREDICT, request)
    assert (answer.code, answer.body == reply, upstream.last().body == request) == (grpc.StatusCode.OK, True, True)


def test_a_request_beyond_the_limit_goes_no_further(upstream: ScriptedUpstream, proxied: grpc.Channel) -> None:
    upstream.answer(PREDICT, b"")
    answer = call(proxied, PREDICT, message(MESSAGE_BYTES))
    assert answer.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not upstream.calls


def test_a_reply_beyond_the_limit_is_refused(upstream: ScriptedUpstream, proxied: grpc.Channel) -> None:
    upstream.answer(PREDICT, bytes(MESSAGE_BYTES + 1))
    assert call(proxied, PREDICT).code is grpc.StatusCode.RESOURCE_EXHAUSTED
    upstream.answer(PREDICT, bytes(MESSAGE_BYTES))
    assert call(proxied, PREDICT).code is grpc.StatusCode.OK


def test_custom_metadata_reach_the_upstream(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    upstream.answer(PREDICT, b"")
    assert call(channel, PREDICT, metadata=SENT).code is grpc.StatusCode.OK
    keys = {key for key, _ in SENT}
    assert tuple(pair for pair in upstream.last().metadata if pair[0] in keys) == plain(SENT)


@pytest.mark.parametrize("code", [grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND], ids=lambda code: code.name)
def test_initial_and_trailing_metadata_reach_the_caller(
    upstream: ScriptedUpstream, channel: grpc.Channel, code: grpc.StatusCode
) -> None:
    initial, trailing = SENT[:5], (*((f"t-{key}", value) for key, value in SENT), ("grpc-retry-pushback-ms", "7"))
    details = "" if code is grpc.StatusCode.OK else "no"
    upstream.answer(PREDICT, failing(code, details, initial, trailing))
    assert call(channel, PREDICT) == Answer(code, details, plain(initial), plain(trailing))


@pytest.mark.parametrize("details", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("code", ERRORS, ids=lambda code: code.name)
def test_status_code_and_message(
    upstream: ScriptedUpstream, channel: grpc.Channel, code: grpc.StatusCode, details: str
) -> None:
    upstream.answer(PREDICT, failing(code, details))
    assert call(channel, PREDICT) == Answer(code, details, (), ())
    assert len(upstream.calls) == 1, "an answer of the upstream's own is never tried again"


def test_rich_error_details_pass(upstream: ScriptedUpstream, channel: grpc.Channel) -> None:
    reason = Packed()
    reason.Pack(error_details_pb2.ErrorInfo(reason="OUT_OF_ROWS", domain="models.example"))
    status = status_pb2.Status(code=8, message="no rows left", details=[reason]).SerializeToString()
    trailing: Metadata = (("grpc-status-details-bin", status),)
    upstream.answer(PREDICT, failing(grpc.StatusCode.RESOURCE_EXHAUSTED, "no rows left", trailing=trailing))
    assert call(channel, PREDICT) == Answer(grpc.StatusCode.RESOURCE_EXHAUSTED, "no rows left", (), trailing)


@pytest.mark.parametrize("method", [PREDICT, CLASSIFY, ALLOWED])
def test_what_the_upstream_does_not_implement(
    upstream: ScriptedUpstream, direct: grpc.Channel, proxied: grpc.Channel, method: str
) -> None:
    answer = call(proxied, method)
    assert answer.code is grpc.StatusCode.UNIMPLEMENTED
    assert answer == call(direct, method)


def test_methods_not_allowed_never_reach_the_upstream(upstream: ScriptedUpstream, proxied: grpc.Channel) -> None:
    method = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
    upstream.answer(method, b"")
    assert call(proxied, method).code is grpc.StatusCode.PERMISSION_DENIED
    assert not upstream.calls


def test_tensors_beyond_the_budget_never_reach_the_upstream(upstream: ScriptedUpstream, proxied: grpc.Channel) -> None:
    upstream.answer(PREDICT, b"")
    bomb = tensors.TensorProto(dtype=tensors.DT_FLOAT, float_val=[1.0])
    bomb.tensor_shape.dim.add(size=10**8)
    answer = call(proxied, PREDICT, serving.PredictRequest(inputs={"x": bomb}).SerializeToString())
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert not upstream.calls
