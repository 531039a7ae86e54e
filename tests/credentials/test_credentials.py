"""TLS as callers and upstreams meet it: real handshakes over real sockets, with certificates made on the fly."""

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from proxy.config import ConfigError
from proxy.config.schema import Identity, ServerTls, UpstreamTls
from proxy.credentials import CertificateReloader, server_credentials, upstream_credentials, upstream_fingerprint
from proxy.identity import Identifier
from tests.certificates import Authority, Certificate

METHOD = "/test.Echo/Caller"


class _WhoCalls(grpc.GenericRpcHandler):
    """Answers every call with the caller's id."""

    def __init__(self) -> None:
        self._identifier = Identifier(Identity(order=("mtls", "peer")), None)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self._answer)

    async def _answer(self, body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        caller = self._identifier.identify(context.invocation_metadata() or (), context.peer(), context.auth_context())
        return caller.id.encode()


@asynccontextmanager
async def serving(credentials: grpc.ServerCredentials) -> AsyncIterator[int]:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_WhoCalls(),))
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


def channel(port: int, ca: bytes, client: Certificate | None = None) -> grpc.aio.Channel:
    """A new connection each time: without its own pool gRPC would share one between equal channels."""
    credentials = grpc.ssl_channel_credentials(ca, client and client.key, client and client.cert)
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=[("grpc.use_local_subchannel_pool", 1)])


async def call(channel: grpc.aio.Channel) -> str:
    answer: bytes = await channel.unary_unary(METHOD)(b"", timeout=5)
    return answer.decode()


async def served_serial(port: int) -> int:
    """The serial number of the certificate that a new connection is shown."""
    pem = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def server(authority: Authority) -> Certificate:
    return authority.server()


@pytest.fixture
def tls(tmp_path: Path, server: Certificate) -> ServerTls:
    cert, key = server.write(tmp_path, "server")
    return ServerTls(cert=cert, key=key)


@pytest.fixture
def mutual(tmp_path: Path, tls: ServerTls, authority: Authority) -> ServerTls:
    return ServerTls(cert=tls.cert, key=tls.key, client_ca=authority.write(tmp_path), require_client_cert=True)


async def test_a_caller_without_a_certificate_is_named_by_its_address(tls: ServerTls, authority: Authority) -> None:
    async with serving(server_credentials(tls)) as port, channel(port, authority.cert) as connection:
        assert await call(connection) == "peer:127.0.0.1"


async def test_a_caller_that_does_not_know_the_authority_does_not_connect(tls: ServerTls) -> None:
    async with serving(server_credentials(tls)) as port, channel(port, Authority("other").cert) as connection:
        with pytest.raises(grpc.aio.AioRpcError, match="CERTIFICATE_VERIFY_FAILED") as failed:
            await call(connection)
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("uris", "dns", "name", "caller"),
    [
        (["spiffe://example.org/ns/a/sa/b"], ["a.example"], "a", "mtls:spiffe://example.org/ns/a/sa/b"),
        (["https://example.org/a"], ["a.example"], "a", "mtls:uri:https://example.org/a"),
        (["spiffe://example.org/a", "https://b"], [], "a", "mtls:uri:spiffe://example.org/a"),
        ([], ["a.example", "b.example"], "a", "mtls:dns:a.example"),
        ([], [], "spiffe://example.org/a", "mtls:cn:spiffe://example.org/a"),
        ([], [], "", "peer:127.0.0.1"),
    ],
    ids=["spiffe", "uri", "two URIs are no SPIFFE id", "dns", "common name", "nameless"],
)
async def test_the_certificate_names_the_caller(
    mutual: ServerTls, authority: Authority, uris: list[str], dns: list[str], name: str, caller: str
) -> None:
    client = authority.client(name, uris, dns)
    async with serving(server_credentials(mutual)) as port, channel(port, authority.cert, client) as connection:
        assert await call(connection) == caller


@pytest.mark.parametrize("kind", ["none", "of another authority", "expired"])
async def test_mutual_tls_refuses_other_certificates(mutual: ServerTls, authority: Authority, kind: str) -> None:
    clients = {
        "none": None,
        "of another authority": Authority("other").client(uris=["spiffe://example.org/a"]),
        "expired": authority.client(uris=["spiffe://example.org/a"], expired=True),
    }
    async with serving(server_credentials(mutual)) as port, channel(port, authority.cert, clients[kind]) as connection:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call(connection)
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE


def test_an_authority_without_the_requirement_is_refused(tmp_path: Path, tls: ServerTls, authority: Authority) -> None:
    """gRPC for Python would ask nobody for a certificate, and mTLS would be off without a word."""
    with pytest.raises(ConfigError, match=r"client_ca: .* set require_client_cert: true, or remove client_ca"):
        server_credentials(ServerTls(cert=tls.cert, key=tls.key, client_ca=authority.write(tmp_path)))


async def test_new_connections_see_a_renewed_certificate_and_old_ones_go_on(
    tmp_path: Path, tls: ServerTls, authority: Authority, server: Certificate
) -> None:
    async with serving(server_credentials(tls)) as port, channel(port, authority.cert) as old:
        await call(old)
        assert await served_serial(port) == server.serial
        renewed = authority.server()
        renewed.write(tmp_path, "server")
        assert await served_serial(port) == renewed.serial
        assert await served_serial(port) == renewed.serial
        assert await call(old) == "peer:127.0.0.1"
        assert old.get_state() is grpc.ChannelConnectivity.READY


async def test_a_renewed_authority_decides_who_may_connect(
    tmp_path: Path, mutual: ServerTls, authority: Authority
) -> None:
    other = Authority("other")
    client, stranger = authority.client("a"), other.client("b")
    async with serving(server_credentials(mutual)) as port:
        async with channel(port, authority.cert, client) as connection:
            assert await call(connection) == "mtls:cn:a"
            other.write(tmp_path)
            async with channel(port, authority.cert, stranger) as newcomer:
                assert await call(newcomer) == "mtls:cn:b"
            assert await call(connection) == "mtls:cn:a"
        async with channel(port, authority.cert, client) as again:
            with pytest.raises(grpc.aio.AioRpcError):
                await call(again)


async def test_a_broken_renewal_keeps_the_old_certificate_and_is_logged_once(
    tls: ServerTls, server: Certificate, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tensorwall")
    async with serving(server_credentials(tls)) as port:
        tls.cert.write_bytes(authority.server().cert)
        for _ in range(3):
            assert await served_serial(port) == server.serial
        (told,) = caplog.records
        assert f"{tls.key}: is not the private key of the certificate in {tls.cert}" in told.getMessage()
        tls.key.unlink()
        assert await served_serial(port) == server.serial
        assert f"{tls.key}: No such file or directory" in caplog.records[-1].getMessage()
        mended = authority.server()
        mended.write(tls.cert.parent, "server")
        assert await served_serial(port) == mended.serial
        assert len(caplog.records) == 2


def test_the_reloader_tells_a_watcher_without_waiting_for_a_connection(tls: ServerTls, authority: Authority) -> None:
    reloader = CertificateReloader(tls)
    assert not reloader.reload_if_changed()
    assert reloader.fetch() is None
    authority.server().write(tls.cert.parent, "server")
    assert reloader.reload_if_changed()
    assert not reloader.reload_if_changed()
    assert reloader.fetch() is not None
    assert reloader.fetch() is None
    tls.cert.write_text("nonsense")
    with pytest.raises(ConfigError, match=r"holds no PEM block `-----BEGIN CERTIFICATE-----`"):
        reloader.reload_if_changed()
    assert not reloader.reload_if_changed()
    assert reloader.fetch() is None


async def test_many_connections_at_once_during_renewals(tls: ServerTls, authority: Authority) -> None:
    """The fetcher runs in gRPC's threads: whatever it is caught in the middle of, every handshake succeeds."""
    async with serving(server_credentials(tls)) as port:

        async def connect() -> None:
            for _ in range(5):
                async with channel(port, authority.cert) as connection:
                    await call(connection)

        connections = asyncio.gather(*(connect() for _ in range(8)))
        while not connections.done():
            authority.server().write(tls.cert.parent, "server")
            await asyncio.sleep(0)
        await connections
        final = authority.server()
        final.write(tls.cert.parent, "server")
        assert await served_serial(port) == final.serial


def _wrong_files(folder: Path) -> dict[str, tuple[Path, Path, str]]:
    authority = Authority()
    cert, key = authority.server().write(folder, "good")
    _, other_key = authority.server().write(folder, "other")
    edwards = authority.server(key=ed25519.Ed25519PrivateKey.generate()).write(folder, "edwards")
    private = load_pem_private_key(key.read_bytes(), None)
    encrypted = folder / "encrypted.key"
    encrypted.write_bytes(
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase"))
    )
    der, torn, empty, huge = (folder / name for name in ("der", "torn", "empty", "huge"))
    der.write_bytes(x509.load_pem_x509_certificate(cert.read_bytes()).public_bytes(Encoding.DER))
    torn.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    empty.write_bytes(b"")
    huge.write_bytes(b"-----BEGIN CERTIFICATE-----" + b"\n" * 2**20)
    return {
        "mismatch": (cert, other_key, f"{other_key}: is not the private key of the certificate in {cert}"),
        "swapped": (key, cert, f"{key}: holds no PEM block `-----BEGIN CERTIFICATE-----`"),
        "encrypted": (cert, encrypted, f"{encrypted}: the private key is encrypted"),
        "edwards": (*edwards, f"{edwards[1]}: gRPC has no Ed25519"),
        "der": (der, key, f"{der}: holds no PEM block"),
        "torn": (torn, key, f"{torn} and {key}: not a certificate chain and its key: "),
        "empty": (cert, empty, f"{empty}: holds no PEM block `-----BEGIN PRIVATE KEY-----`"),
        "huge": (huge, key, f"{huge}: more than 1048576 bytes"),
    }


@pytest.mark.parametrize("case", ["mismatch", "swapped", "encrypted", "edwards", "der", "torn", "empty", "huge"])
def test_a_wrong_file_is_an_error_with_its_path_on_both_sides(tmp_path: Path, case: str) -> None:
    cert, key, message = _wrong_files(tmp_path)[case]
    with pytest.raises(ConfigError, match=re.escape(message)):
        server_credentials(ServerTls(cert=cert, key=key))
    with pytest.raises(ConfigError, match=re.escape(message)):
        upstream_credentials(UpstreamTls(cert=cert, key=key))


def test_a_wrong_authority_is_an_error_with_its_path(tmp_path: Path, tls: ServerTls) -> None:
    bundle = tmp_path / "bundle"
    bundle.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(ConfigError, match=f"{bundle}: not a bundle of certificates: "):
        server_credentials(ServerTls(cert=tls.cert, key=tls.key, client_ca=bundle, require_client_cert=True))
    with pytest.raises(ConfigError, match=f"{bundle}: not a bundle of certificates: "):
        upstream_credentials(UpstreamTls(ca=bundle))


async def test_the_upstream_sees_our_certificate_and_we_check_its_own(
    tmp_path: Path, mutual: ServerTls, authority: Authority
) -> None:
    cert, key = authority.client(uris=["spiffe://example.org/proxy"]).write(tmp_path, "client")
    ours = UpstreamTls(ca=authority.write(tmp_path, "ours"), cert=cert, key=key)
    async with serving(server_credentials(mutual)) as port:
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", upstream_credentials(ours)) as connection:
            assert await call(connection) == "mtls:spiffe://example.org/proxy"
        anonymous = UpstreamTls(ca=ours.ca)
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", upstream_credentials(anonymous)) as connection:
            with pytest.raises(grpc.aio.AioRpcError):
                await call(connection)
        system = upstream_credentials(UpstreamTls(cert=cert, key=key))
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", system) as connection:
            with pytest.raises(grpc.aio.AioRpcError, match="CERTIFICATE_VERIFY_FAILED"):
                await call(connection)


def test_the_upstream_fingerprint_follows_each_file(tmp_path: Path, authority: Authority) -> None:
    cert, key = authority.client("a").write(tmp_path, "client")
    tls = UpstreamTls(ca=authority.write(tmp_path), cert=cert, key=key)
    seen = {upstream_fingerprint(tls)}
    assert upstream_fingerprint(tls) in seen
    for changed in (tls.ca, tls.cert, tls.key):
        assert changed is not None
        changed.write_bytes(changed.read_bytes() + b"\n")
        assert upstream_fingerprint(tls) not in seen
        seen.add(upstream_fingerprint(tls))
    key.unlink()
    assert upstream_fingerprint(tls) not in seen


def test_a_replaced_link_target_is_a_change(tmp_path: Path, authority: Authority) -> None:
    """Kubernetes swaps the folder that a mounted secret's links point to."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        authority.server().write(tmp_path / name, "server")
    current = tmp_path / "current"
    current.symlink_to("one")
    reloader = CertificateReloader(ServerTls(cert=current / "server.crt", key=current / "server.key"))
    swapped = tmp_path / "swapped"
    swapped.symlink_to("two")
    swapped.replace(current)
    assert reloader.reload_if_changed()
