"""Callers with keys and certificates, and TLS on both sides, through a running proxy."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.certificates import Authority
from tests.e2e.model_server import PREDICT, ModelServer
from tests.e2e.upstream import ScriptedUpstream
from tests.processes import Proxy, serving_proxy


def keys(*arguments: str) -> str:
    command = [sys.executable, "-m", "proxy", "keys", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


def code(channel: grpc.Channel, *metadata: tuple[str, str]) -> grpc.StatusCode:
    try:
        channel.unary_unary(PREDICT)(b"", metadata=metadata, timeout=5)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_an_api_key_opens_the_door_until_it_is_revoked(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    shown = keys("add", "--owner", "acme", "--tier", "gold", "--file", str(file))
    key = next(word for word in shown.split() if word.startswith("tw_"))
    assert key not in file.read_text()
    identity = {"order": ["api_key"], "api_keys": {"file": str(file)}}
    with ScriptedUpstream() as upstream, serving_proxy(tmp_path, upstream.address, identity=identity) as proxy:
        upstream.answer(PREDICT, b"")
        with grpc.insecure_channel(proxy.address) as channel:
            assert code(channel, ("x-api-key", key), ("x-kept", "1")) is grpc.StatusCode.OK
            assert upstream.last().values("x-api-key") == []
            assert upstream.last().values("x-kept") == ["1"]
            assert code(channel, ("x-api-key", key + "x")) is grpc.StatusCode.UNAUTHENTICATED
            assert code(channel) is grpc.StatusCode.UNAUTHENTICATED
            assert key not in keys("list", "--file", str(file))
            record = file.read_text().split("id: ")[1].split()[0]
            keys("revoke", record, "--file", str(file))
            proxy.process.wait_until(
                lambda: code(channel, ("x-api-key", key)) is grpc.StatusCode.UNAUTHENTICATED, "revoking", 10
            )
        assert key not in proxy.process.log()


def tls_channel(proxy: Proxy, authority: Authority, certificate: tuple[bytes, bytes] | None) -> grpc.Channel:
    key, chain = certificate or (None, None)
    credentials = grpc.ssl_channel_credentials(authority.cert, key, chain)
    port = proxy.address.rpartition(":")[2]
    return grpc.secure_channel(f"localhost:{port}", credentials, options=[("grpc.use_local_subchannel_pool", 1)])


def test_certificates_of_callers_and_of_the_listener(tmp_path: Path) -> None:
    authority, stranger = Authority(), Authority("stranger")
    cert, key = authority.server().write(tmp_path, "server")
    tls = {"cert": str(cert), "key": str(key), "client_ca": str(authority.write(tmp_path)), "require_client_cert": True}
    settings = {"listen": {"tls": tls}, "identity": {"order": ["mtls"]}}
    with ModelServer() as server, serving_proxy(tmp_path, server.address, **settings) as proxy:
        known = authority.client(uris=["spiffe://example.org/camera"])
        foreign = stranger.client(uris=["spiffe://example.org/camera"])
        with tls_channel(proxy, authority, (known.key, known.cert)) as channel:
            assert code(channel) is grpc.StatusCode.OK
            authority.server().write(tmp_path, "server")  # renewed: this connection goes on
            with tls_channel(proxy, authority, (known.key, known.cert)) as later:
                assert code(later) is grpc.StatusCode.OK
            assert code(channel) is grpc.StatusCode.OK
        for certificate in ((foreign.key, foreign.cert), None):
            with tls_channel(proxy, authority, certificate) as channel:
                assert code(channel) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("mutual", [False, True])
def test_tls_to_the_upstream(tmp_path: Path, mutual: bool) -> None:
    authority = Authority()
    certificate, client = authority.server(), authority.client("proxy")
    credentials = grpc.ssl_server_credentials([(certificate.key, certificate.cert)], authority.cert, mutual)
    server = grpc.server(ThreadPoolExecutor(4))
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    tls = {"ca": str(authority.write(tmp_path))}
    if mutual:
        cert, key = client.write(tmp_path, "client")
        tls |= {"cert": str(cert), "key": str(key)}
    upstream: dict[str, Any] = {"targets": [f"localhost:{port}"], "tls": tls}
    with (
        serving_proxy(tmp_path, upstream) as proxy,
        grpc.insecure_channel(proxy.address) as channel,
    ):
        assert code(channel) is grpc.StatusCode.UNIMPLEMENTED, "the server has no methods, and says so over TLS"
    server.stop(None)
