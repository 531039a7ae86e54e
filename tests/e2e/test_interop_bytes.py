"""Byte-exactness and compression: what nobody has a reason to change arrives as it was sent, both ways."""

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protos import serving_pb2 as serving
from protos import tensor_pb2 as tensors
from protos.tensor_pb2 import TensorProto
from tests.calls import call, open_channel
from tests.e2e.tap import Tap
from tests.e2e.upstream import ScriptedUpstream
from tests.processes import serving_proxy

SERVICE = "/tensorflow.serving.PredictionService/"
PREDICT = SERVICE + "Predict"
METHODS = [SERVICE + name for name in ("Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata")]

ENCODINGS: dict[str, TensorProto] = {
    "float_val": TensorProto(dtype=tensors.DT_FLOAT, float_val=[1.5, float("nan"), float("-inf"), -0.0]),
    "double_val": TensorProto(dtype=tensors.DT_DOUBLE, double_val=[1e-320, 2.0]),
    "int_val": TensorProto(dtype=tensors.DT_INT32, int_val=[-1, 2**31 - 1]),
    "int64_val": TensorProto(dtype=tensors.DT_INT64, int64_val=[-(2**63), 7]),
    "bool_val": TensorProto(dtype=tensors.DT_BOOL, bool_val=[True, False]),
    "string_val": TensorProto(dtype=tensors.DT_STRING, string_val=[b"", b"\xff\x00", b"x" * 300]),
    "scomplex_val": TensorProto(dtype=tensors.DT_COMPLEX64, scomplex_val=[1.0, -1.0]),
    "dcomplex_val": TensorProto(dtype=tensors.DT_COMPLEX128, dcomplex_val=[1.0, -1.0]),
    "half_val": TensorProto(dtype=tensors.DT_HALF, half_val=[15360, 0]),
    "uint32_val": TensorProto(dtype=tensors.DT_UINT32, uint32_val=[2**32 - 1]),
    "uint64_val": TensorProto(dtype=tensors.DT_UINT64, uint64_val=[2**64 - 1]),
    "float8_val": TensorProto(dtype=tensors.DT_FLOAT8_E5M2, float8_val=b"\x3c\x00"),
    "variant_val": TensorProto(
        dtype=tensors.DT_VARIANT, variant_val=[tensors.VariantTensorDataProto(type_name="t", metadata=b"m")]
    ),
    "tensor_content": TensorProto(dtype=tensors.DT_FLOAT, tensor_content=np.arange(6.0).tobytes()),
    "both": TensorProto(dtype=tensors.DT_FLOAT, tensor_content=bytes(8), float_val=[1.0, 2.0]),
    "values in another dtype's field": TensorProto(dtype=tensors.DT_FLOAT, int_val=[1, 2]),
    "unknown rank": TensorProto(dtype=tensors.DT_FLOAT, tensor_shape=tensors.TensorShapeProto(unknown_rank=True)),
}


def entry(name: bytes, tensor: bytes) -> bytes:
    """An entry of `inputs` (or of `outputs`, whose tag is 0x0a)."""
    inner = b"\x0a" + bytes([len(name)]) + name + b"\x12" + bytes([len(tensor)]) + tensor
    return b"\x12" + bytes([len(inner)]) + inner


MODEL = b"\x0a\x03\x0a\x01m"
ONE = TensorProto(dtype=tensors.DT_FLOAT, float_val=[1.0]).SerializeToString()

UNUSUAL: dict[str, bytes] = {
    "map entries in unusual order": entry(b"z", ONE) + entry(b"a", ONE) + MODEL + entry(b"m", ONE),
    "a map key twice": MODEL + entry(b"x", ONE) + entry(b"x", b""),
    "a map entry with its value first": b"\x12\x05\x12\x00\x0a\x01x",
    "unpacked floats": MODEL + entry(b"x", b"\x08\x01\x2d\x00\x00\x80\x3f\x2d\x00\x00\x00\x40"),
    "a number longer than need be": b"\x0a\x83\x80\x00\x0a\x01m" + entry(b"x", b"\x08\x81\x80\x80\x00"),
    "defaults written out": b"\x0a\x02\x0a\x00" + entry(b"", b"\x08\x00\x18\x00"),
    "a field twice": MODEL + MODEL + b"\x0a\x03\x0a\x01n",
    "fields of later versions": MODEL + b"\x2a\x00\x32\x02me\x3a\x04\x0a\x02me\xfa\x7f\x05other\xc0\x3e\x01",
    "a group": b"\x4b\x08\x01\x4c" + MODEL,
    "no protobuf at all": b"\xff\xff\xff",
    "text": b"GET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("body", UNUSUAL.values(), ids=UNUSUAL)
def test_unusual_messages_arrive_as_they_are(upstream: ScriptedUpstream, channel: grpc.Channel, body: bytes) -> None:
    upstream.answer(PREDICT, lambda request, context: request)
    answer = call(channel, PREDICT, body)
    assert (answer.code, upstream.last().body, answer.body) == (grpc.StatusCode.OK, body, body)


@pytest.mark.parametrize("tensor", ENCODINGS.values(), ids=ENCODINGS)
def test_every_encoding_of_tensors_arrives_as_it_is(
    upstream: ScriptedUpstream, proxied: grpc.Channel, tensor: TensorProto
) -> None:
    request = serving.PredictRequest(inputs={"x": tensor}).SerializeToString()
    reply = serving.PredictResponse(outputs={"y": tensor}).SerializeToString()
    upstream.answer(PREDICT, reply)
    answer = call(proxied, PREDICT, request)
    assert (answer.code, upstream.last().body, answer.body) == (grpc.StatusCode.OK, request, reply)


@given(method=st.sampled_from(METHODS), request=st.binary(max_size=300), reply=st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_arrive_as_they_are(
    running_upstream: ScriptedUpstream, proxied: grpc.Channel, method: str, request: bytes, reply: bytes
) -> None:
    running_upstream.answer(method, reply)
    answer = call(proxied, method, request)
    assert (answer.code, running_upstream.last().body, answer.body) == (grpc.StatusCode.OK, request, reply)


@pytest.mark.parametrize("reply_compression", list(grpc.Compression), ids=lambda c: f"reply {c.name}")
@pytest.mark.parametrize("request_compression", list(grpc.Compression), ids=lambda c: f"request {c.name}")
def test_compressed_messages_arrive(
    upstream: ScriptedUpstream,
    channel: grpc.Channel,
    request_compression: grpc.Compression,
    reply_compression: grpc.Compression,
) -> None:
    def script(body: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_compression(reply_compression)
        return body[::-1]

    upstream.answer(PREDICT, script)
    body = MODEL * 20_000
    answer = call(channel, PREDICT, body, compression=request_compression)
    assert (answer.code, answer.body) == (grpc.StatusCode.OK, body[::-1])
    assert upstream.last().body == body


@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
def test_each_side_is_compressed_as_configured(
    running_upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory, compression: str
) -> None:
    """Seen on the wire, by a tap on each side of the proxy."""
    running_upstream.answer(PREDICT, lambda body, context: body)
    body = MODEL * 20_000
    with (
        Tap(running_upstream.address) as upstream_side,
        serving_proxy(
            tmp_path_factory.mktemp("compressing"),
            {"targets": upstream_side.address, "compression": compression},
            listen={"compression": compression},
        ) as proxy,
        Tap(proxy.address) as caller_side,
        open_channel(caller_side.address) as channel,
    ):
        answer = call(channel, PREDICT, body)
        assert (answer.code, answer.body) == (grpc.StatusCode.OK, body)
    squeezed = compression != "none"
    assert (upstream_side.forth < len(body) / 10) == squeezed
    assert (caller_side.back < len(body) / 10) == squeezed
