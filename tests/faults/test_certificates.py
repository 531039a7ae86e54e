"""Certificates that run out while they are in use: open connections go on, new ones wait for a renewal, no restart.

Callers' own certificates are tested in `tests/credentials/test_credentials.py`.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import grpc

from tests.calls import Answer, call
from tests.certificates import Authority, Certificate
from tests.e2e.model_server import PREDICT, STATUS, ModelServer
from tests.faults.chaos import Chaos
from tests.faults.seen import BODY, State, figure, settles, until
from tests.processes import Proxy, serving_proxy

SHORT = timedelta(seconds=2)


@contextmanager
def connected(proxy: Proxy, authority: Authority) -> Iterator[grpc.Channel]:
    credentials = grpc.ssl_channel_credentials(authority.cert)
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", "localhost")]
    with grpc.secure_channel(proxy.address, credentials, options=options) as channel:
        yield channel


def answer(proxy: Proxy, authority: Authority) -> Answer:
    """Over a new connection."""
    with connected(proxy, authority) as channel:
        return call(channel, PREDICT, BODY, timeout=10)


def test_of_the_listener(tmp_path: Path) -> None:
    authority = Authority()
    cert, key = authority.server().write(tmp_path, "server")
    listen = {"tls": {"cert": str(cert), "key": str(key)}}
    with ModelServer() as server, serving_proxy(tmp_path, server.address, listen=listen) as proxy:
        before = State.of(proxy)
        with connected(proxy, authority) as channel:
            assert call(channel, PREDICT, BODY).code is grpc.StatusCode.OK
            authority.server(validity=SHORT).write(tmp_path, "server")
            answer(proxy, authority)  # a new connection takes the new file up
            ends = figure(proxy, "tensorwall_certificate_expiry_timestamp_seconds", kind="listen_tls")
            until(lambda: time.time() > ends + 1, "past its end, whose second is still its own (RFC 5280, 4.1.2.5)")
            assert answer(proxy, authority).code is grpc.StatusCode.UNAVAILABLE, "callers do not take it any more"
            assert call(channel, PREDICT, BODY).code is grpc.StatusCode.OK, "who is connected goes on"
            authority.server().write(tmp_path, "server")
            assert answer(proxy, authority).code is grpc.StatusCode.OK, "renewed, without a restart"
            assert figure(proxy, "tensorwall_certificate_expiry_timestamp_seconds", kind="listen_tls") > time.time()
        settles(proxy, before)


def test_of_the_model_server(tmp_path: Path) -> None:
    authority = Authority()
    with _tls_server(authority) as (address, certificate), Chaos(address) as chaos:
        upstream = {
            "targets": [chaos.address],
            "tls": {"ca": str(authority.write(tmp_path)), "server_name": "localhost"},
        }
        with serving_proxy(tmp_path, upstream) as proxy, grpc.insecure_channel(proxy.address) as channel:
            before = State.of(proxy)
            assert call(channel, PREDICT, BODY).code is grpc.StatusCode.OK
            certificate[0] = authority.server(validity=-timedelta(seconds=1))
            assert call(channel, PREDICT, BODY).code is grpc.StatusCode.OK, "the open connection goes on"
            chaos.reset()
            until(lambda: figure(proxy, "tensorwall_ready") == 0, "not ready any more")
            refused = call(channel, PREDICT, BODY)
            assert (refused.code, refused.details) == (
                grpc.StatusCode.UNAVAILABLE,
                "the model server is not reachable",
            )
            certificate[0] = authority.server()
            until(lambda: call(channel, PREDICT, BODY).code is grpc.StatusCode.OK, "answering again")
            until(lambda: figure(proxy, "tensorwall_ready") == 1, "ready again")
            settles(proxy, before)


@contextmanager
def _tls_server(authority: Authority) -> Iterator[tuple[str, list[Certificate]]]:
    """A model server that shows new connections the certificate which is in the list."""
    certificate = [authority.server()]

    def shown() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(certificate[0].key, certificate[0].cert)])

    with ModelServer() as model:
        answers = {
            PREDICT.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(model.answer),
            STATUS.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(model.status),
        }
        server = grpc.server(ThreadPoolExecutor(4))
        for service in (PREDICT, STATUS):
            name = service.split("/")[1]
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, answers),))
        port = server.add_secure_port("127.0.0.1:0", grpc.dynamic_ssl_server_credentials(shown(), shown))
        server.start()
        try:
            yield f"127.0.0.1:{port}", certificate
        finally:
            server.stop(None).wait()
