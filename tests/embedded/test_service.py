"""The edge: bytes that are no message, methods that are none, long texts, deadlines, cancellation, many at once."""

import logging
import time
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from proxy.embedded.models import Model, Models
from proxy.embedded.predict import predict as answer
from proxy.embedded.server import Backend, PortError
from proxy.embedded.status import StatusError, invalid_argument
from tests.embedded.conftest import Client, connect
from tests.embedded.requests import CODE, X, predict, refusal, spec
from tests.processes import Backend as Process

PREDICT = "/tensorflow.serving.PredictionService/Predict"


def sleeper(seconds: float) -> Any:
    return predict(spec("sleeper"), seconds=[float(seconds)])


def test_bytes_that_are_no_message(client: Client) -> None:
    assert refusal(client.channel.unary_unary(PREDICT), b"\xff\xff\xff") == (CODE.INTERNAL, "")
    assert refusal(client.channel.unary_unary(PREDICT), b"") == (CODE.INVALID_ARGUMENT, "Missing ModelSpec")


@pytest.mark.parametrize(
    "method",
    [
        "/tensorflow.serving.PredictionService/Nope",
        "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
        "/tensorflow.serving.SessionService/SessionRun",
        "/tensorflow.ProfilerService/Monitor",
        "/grpc.health.v1.Health/Check",
    ],
)
def test_methods_that_are_none(client: Client, method: str) -> None:
    assert refusal(client.channel.unary_unary(method), b"") == (CODE.UNIMPLEMENTED, "")


def test_unknown_streams_are_refused_too(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        list(client.channel.stream_stream("/grpc.reflection.v1.ServerReflection/Info")(iter([b"", b""]), timeout=20))
    assert (raised.value.code(), raised.value.details()) == (CODE.UNIMPLEMENTED, "")


def test_no_metadata_beside_the_reply_or_the_refusal(client: Client) -> None:
    _, call = client.prediction.Predict.with_call(predict(x=X))
    assert (tuple(call.initial_metadata()), tuple(call.trailing_metadata())) == ((), ())
    with pytest.raises(grpc.RpcError) as raised:
        client.prediction.Predict(predict(spec("nope")))
    assert tuple(raised.value.trailing_metadata()) == ()


@pytest.mark.parametrize(("length", "cut"), [(1024, False), (1025, True), (50_000, True)])
def test_long_texts_are_cut(length: int, cut: bool) -> None:
    details = invalid_argument("e" * length).details()
    assert details == b"e" * min(length, 1024) + (b"...TRUNCATED" if cut else b"")


def test_a_text_is_cut_in_bytes_and_arrives(client: Client) -> None:
    assert invalid_argument("e" + "é" * 600).details() == ("e" + "é" * 511).encode() + b"\xc3...TRUNCATED"
    code, details = refusal(client.prediction.Predict, predict(spec("é" * 2000)))
    assert code == CODE.NOT_FOUND
    assert details.endswith("...TRUNCATED")


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_requests(client: Client, compression: grpc.Compression) -> None:
    reply = client.prediction.Predict(predict(x=X), compression=compression)
    assert list(reply.outputs["cls"].int64_val) == [2]


def test_a_deadline_ends_the_wait(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        client.prediction.Predict(sleeper(60), timeout=0.2)
    assert raised.value.code() == CODE.DEADLINE_EXCEEDED


def test_the_deadline_ends_the_run_too(saved: Path) -> None:
    served = Models([Model("sleeper", saved / "sleeper", {})])
    with pytest.raises(StatusError) as raised:
        answer(served, sleeper(60), 0.05)
    assert raised.value.code == CODE.DEADLINE_EXCEEDED


def test_cancelled_calls_leave_the_others_alone(client: Client) -> None:
    cancelled = [client.prediction.Predict.future(sleeper(1)) for _ in range(8)]
    for call in cancelled:
        call.cancel()
    assert list(client.prediction.Predict(predict(x=X), timeout=20).outputs["cls"].int64_val) == [2]
    assert all(call.cancelled() for call in cancelled)


def test_slow_calls_run_side_by_side_and_block_nobody(client: Client) -> None:
    started = time.monotonic()
    slow = [client.prediction.Predict.future(sleeper(1.0)) for _ in range(8)]
    assert list(client.prediction.Predict(predict(x=X), timeout=20).outputs["cls"].int64_val) == [2]
    assert not any(call.done() for call in slow), "the quick call came back before the slow ones"
    assert all(call.result().outputs["slept"].float_val == [1.0] for call in slow)
    assert time.monotonic() - started < 8 * 1.0, "one after another would take longer"


def test_many_callers_each_get_their_own_answer(client: Client) -> None:
    def logits(row: int) -> float:
        request = predict(x=X * row)
        return float(client.prediction.Predict(request, timeout=20).outputs["logits"].float_val[0])

    with futures.ThreadPoolExecutor(16) as callers:
        assert list(callers.map(logits, range(200))) == pytest.approx([12 * row for row in range(200)])


def test_our_own_mistake_is_no_traceback_to_the_caller(
    saved: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(models: Models, model_spec: Any) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(Models, "lease", broken)
    with Backend({"toy": saved / "toy"}) as backend:
        one = connect(backend.address)
        assert refusal(one.prediction.Predict, predict(x=X)) == (CODE.INTERNAL, "internal error")
        one.channel.close()
    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == ["internal error"]


def test_a_taken_port_is_an_error(saved: Path, backend: Process) -> None:
    port = int(backend.address.rpartition(":")[2])
    with pytest.raises(PortError, match=f"127.0.0.1:{port} cannot be listened on"):
        Backend({"toy": saved / "toy"}, port=port)


def test_stopping_lets_calls_in_flight_finish(saved: Path) -> None:
    backend = Backend({"sleeper": saved / "sleeper"})
    backend.start()
    one = connect(backend.address)
    one.prediction.Predict(sleeper(0.0), timeout=20)
    call = one.prediction.Predict.future(sleeper(0.5))
    while not _busy(backend):
        time.sleep(0.005)
    backend.stop(grace=20.0)
    assert list(call.result().outputs["slept"].float_val) == [0.5]
    assert refusal(one.prediction.Predict, sleeper(0.0))[0] == CODE.UNAVAILABLE
    one.channel.close()


def test_stopping_without_grace_cancels_them(saved: Path) -> None:
    backend = Backend({"sleeper": saved / "sleeper"})
    backend.start()
    one = connect(backend.address)
    call = one.prediction.Predict.future(sleeper(60))
    while not _busy(backend):
        time.sleep(0.005)
    started = time.monotonic()
    backend.stop()
    assert call.exception(timeout=20) is not None
    assert time.monotonic() - started < 10
    one.channel.close()


def _busy(backend: Backend) -> bool:
    """Whether a call holds a version."""
    (model,) = backend.models
    return any(loaded.leases for loaded in model._loaded.values())
