"""The admin port of a running proxy, over real sockets."""

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from protos import serving_pb2 as serving
from protos import tensor_pb2 as tensor
from tests.e2e.model_server import PREDICT, ModelServer
from tests.processes import TOKEN, Proxy, serving_proxy


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("admin")
    with ModelServer() as server, serving_proxy(folder, server.address, models={"m": {}}) as running:
        yield running


def ask(proxy: Proxy, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection(proxy.admin, timeout=5)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, dict(response.getheaders()), body


def test_calls_are_counted(proxy: Proxy) -> None:
    body = serving.PredictRequest(model_spec=serving.ModelSpec(name="m")).SerializeToString()
    with grpc.insecure_channel(proxy.address) as channel:
        channel.unary_unary(PREDICT)(body, timeout=5)
        with pytest.raises(grpc.RpcError):
            channel.unary_unary("/a.B/C")(b"", timeout=5)
    status, headers, text = ask(proxy, "/metrics")
    assert (status, headers["Content-Type"].split(";")[0]) == (200, "text/plain")
    samples = {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["tensorwall_calls_total", "OK", "Predict", "m"] == 1
    assert samples["tensorwall_calls_total", "PERMISSION_DENIED", "other", "other"] == 1
    assert samples["tensorwall_refusals_total", "other", "method"] == 1
    assert samples["tensorwall_request_bytes_total", "m"] == len(body)
    assert samples["tensorwall_proxy_seconds_count", "Predict", "m"] == 1
    assert samples["tensorwall_calls_in_flight",] == 0
    assert samples["tensorwall_ready",] == 1


def test_openmetrics_for_those_who_ask(proxy: Proxy) -> None:
    status, headers, text = ask(proxy, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert (status, headers["Content-Type"].split(";")[0]) == (200, "application/openmetrics-text")
    assert text.endswith("# EOF\n")


def test_health_readiness_and_configuration(proxy: Proxy) -> None:
    assert ask(proxy, "/healthz")[::2] == (200, "ok\n")
    assert json.loads(ask(proxy, "/readyz")[2]) == {"ready": True, "reasons": []}
    shown = json.loads(ask(proxy, "/config", Authorization=f"Bearer {TOKEN}")[2])
    assert shown["models"] == {"m": {}}
    assert shown["shutdown"]["settle"] == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/healthz", 200),
        ("POST", "/metrics", 405),
        ("DELETE", "/config", 405),
        ("GET", "/x", 404),
    ],
)
def test_other_methods_and_paths(proxy: Proxy, method: str, path: str, status: int) -> None:
    found, headers, body = ask(proxy, path, method)
    assert found == status
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "<" not in body


def test_nonsense_does_no_harm(proxy: Proxy) -> None:
    host, port = proxy.admin.split(":")
    for nonsense in (b"\x16\x03\x01\x02\x00", b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", b"\r\n\r\n\r\n"):
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(nonsense)
            connection.settimeout(0.2)
            try:
                assert b"Traceback" not in connection.recv(4096)
            except TimeoutError:
                continue
    assert ask(proxy, "/healthz")[0] == 200


def test_secrets_do_not_show() -> None:
    from pydantic import BaseModel

    from proxy.config.redact import redact

    class Store(BaseModel):
        url: str = "redis://user:hunter2@db:6379/0"
        api_token: str = "hunter2"
        empty_secret: str | None = None

    assert redact(Store()) == {"url": "redis://(hidden)@db:6379/0", "api_token": "(hidden)", "empty_secret": None}


def test_a_unix_socket_will_do(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with ModelServer() as server:
        from tests.processes import Running

        config = tmp_path / "c.yaml"
        config.write_text(
            f"upstream: {server.address}\nlisten: {{grpc: 'unix:{tmp_path}/grpc.sock', admin: 'unix:{path}'}}\n"
            "shutdown: {settle: 0}\nlog: {format: json}\n"
        )
        with Running("serve", "--config", str(config)) as process:
            process.wait_until(path.is_socket, "listening")
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
                connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                assert connection.recv(4096).endswith(b"ok\n")


def test_rows_that_a_refused_request_claims_are_not_counted(proxy: Proxy) -> None:
    request = serving.PredictRequest(model_spec=serving.ModelSpec(name="m"))
    request.inputs["x"].dtype = tensor.DT_FLOAT
    request.inputs["x"].tensor_shape.dim.add(size=100_000_000)
    with grpc.insecure_channel(proxy.address) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(PREDICT)(request.SerializeToString(), timeout=5)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert 'tensorwall_rows_total{method="Predict",model="m"} 0.0' in ask(proxy, "/metrics")[2]
