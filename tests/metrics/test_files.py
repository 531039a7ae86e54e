"""Keys and certificates that change on disk, as an operator's monitoring sees them."""

import re
import urllib.request
from pathlib import Path

import grpc
from cryptography import x509

from tests.certificates import Authority, Certificate
from tests.e2e.model_server import PREDICT, ModelServer
from tests.processes import Proxy, serving_proxy


def value(proxy: Proxy, name: str, kind: str) -> float | None:
    with urllib.request.urlopen(f"http://{proxy.admin}/metrics", timeout=5) as page:
        text = page.read().decode()
    found = re.search(rf'^tensorwall_{name}{{kind="{kind}"}} (\S+)$', text, re.MULTILINE)
    return None if found is None else float(found[1])


def end(certificate: Certificate) -> float:
    return x509.load_pem_x509_certificate(certificate.cert).not_valid_after_utc.timestamp()


def test_keys_that_cannot_be_read_show_until_they_can(tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    keys.write_text("[]\n")
    identity = {"order": ["api_key", "peer"], "api_keys": {"file": str(keys)}}
    with ModelServer() as server, serving_proxy(tmp_path, server.address, identity=identity) as proxy:
        assert value(proxy, "file_usable", "keys") == 1
        assert value(proxy, "certificate_expiry_timestamp_seconds", "listen_tls") is None, "there is none"
        keys.write_text("nonsense\n")
        proxy.process.wait_until(lambda: value(proxy, "file_usable", "keys") == 0, "refusing the keys")
        keys.write_text("[]\n# again\n")
        proxy.process.wait_until(lambda: value(proxy, "file_usable", "keys") == 1, "taking the keys")


def test_certificates_show_their_end_and_whether_they_can_be_used(tmp_path: Path) -> None:
    authority = Authority()
    first = authority.server()
    cert, key = first.write(tmp_path, "server")
    listen = {"tls": {"cert": str(cert), "key": str(key)}}
    with ModelServer() as server, serving_proxy(tmp_path, server.address, listen=listen) as proxy:
        assert value(proxy, "file_usable", "listen_tls") == 1
        assert value(proxy, "certificate_expiry_timestamp_seconds", "listen_tls") == end(first)
        cert.write_text("nonsense\n")
        connect(proxy, authority)
        assert value(proxy, "file_usable", "listen_tls") == 0
        assert value(proxy, "certificate_expiry_timestamp_seconds", "listen_tls") == end(first), "it is in force"
        second = authority.server()
        second.write(tmp_path, "server")
        connect(proxy, authority)
        assert value(proxy, "file_usable", "listen_tls") == 1
        assert value(proxy, "certificate_expiry_timestamp_seconds", "listen_tls") == end(second)


def connect(proxy: Proxy, authority: Authority) -> None:
    """A new connection: before each, files that have changed are read."""
    credentials = grpc.ssl_channel_credentials(authority.cert)
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", "localhost")]
    with grpc.secure_channel(proxy.address, credentials, options=options) as channel:
        channel.unary_unary(PREDICT)(b"", timeout=20)
