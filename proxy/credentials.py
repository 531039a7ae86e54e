"""TLS on both sides: the listener's certificate, read again when its files change, and what upstreams are shown.

Files are checked before gRPC sees them, so that a wrong one is an error with a path rather than a port that answers
nobody.
"""

import logging
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import grpc

from proxy.config.load import ConfigError
from proxy.config.schema import ServerTls, UpstreamTls
from proxy.fingerprint import Fingerprint, fingerprint

log = logging.getLogger("tensorwall.credentials")

MAX_PEM_BYTES = 2**20

_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/cert.pem",  # BSD, macOS
)
_EDWARDS_KEYS = (b"MC4CAQAwBQYDK2Vw", b"MEcCAQAwBQYDK2Vx")
"""How PKCS#8 keys of Ed25519 and Ed448 begin (RFC 8410); gRPC's TLS loads the first, then fails every handshake."""


def _nobody(usable: bool) -> None:
    """Nobody is told."""


def server_credentials(tls: ServerTls, told: Callable[[bool], None] = _nobody) -> grpc.ServerCredentials:
    """Credentials for one listening port; they follow their files without dropping a connection.

    Args:
        tls: the files.
        told: in any thread, whenever they have changed, whether they can be used.

    Raises:
        ConfigError: a file cannot be used, or client certificates are configured in a way that gRPC cannot do.
    """
    return CertificateReloader(tls, told).credentials()


class CertificateReloader:
    """The certificate that new connections are shown. Old connections keep the one that they began with.

    gRPC asks `fetch` before every handshake, in threads of its own; three stats are the usual cost. A file that turns
    bad keeps the last good set in use and is logged once a change.

    Args:
        tls: the files.
        told: as `server_credentials`.

    Raises:
        ConfigError: as `server_credentials`.
    """

    def __init__(self, tls: ServerTls, told: Callable[[bool], None] = _nobody) -> None:
        if tls.client_ca is not None and not tls.require_client_cert:
            raise ConfigError(
                "listen.tls.client_ca: gRPC for Python asks callers for a certificate only where it requires one; "
                "set require_client_cert: true, or remove client_ca"
            )
        self._tls = tls
        self._told = told
        self._lock = threading.Lock()
        self._seen = self._look()
        self._initial = self._read()
        self._fresh: grpc.ServerCertificateConfiguration | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """For one port: gRPC takes the first certificate once, later ones when they have changed."""
        return grpc.dynamic_ssl_server_credentials(self._initial, self.fetch, self._tls.require_client_cert)

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """The certificate for the handshakes to come; None while there is no newer one. Never raises."""
        with self._lock:
            try:
                self._refresh()
            except ConfigError as error:
                log.error("certificates kept, the new files cannot be used: %s", error)
            fresh, self._fresh = self._fresh, None
            return fresh

    def reload_if_changed(self) -> bool:
        """Looks without waiting for a connection; True when a new certificate is ready for the next one.

        Raises:
            ConfigError: a file has gone or is wrong. The certificate stays as it was, and this is said once a change.
        """
        with self._lock:
            return self._refresh()

    def _refresh(self) -> bool:
        now = self._look()
        if now == self._seen:
            return False
        self._seen = now
        try:
            read = self._read()
        except ConfigError:
            self._told(False)
            raise
        self._told(True)
        if self._look() != now:  # written while it was read; the next look takes it
            return False
        self._fresh = read
        return True

    def _look(self) -> Fingerprint:
        return fingerprint(self._tls.cert, self._tls.key, self._tls.client_ca)

    def _read(self) -> grpc.ServerCertificateConfiguration:
        cert, key = _pair(self._tls.cert, self._tls.key)
        ca = None if self._tls.client_ca is None else _authorities(self._tls.client_ca)
        return grpc.ssl_server_certificate_configuration([(key, cert)], ca)


def upstream_credentials(tls: UpstreamTls) -> grpc.ChannelCredentials:
    """Credentials for channels to the upstream; a channel keeps them for its life.

    Raises:
        ConfigError: a file cannot be used.
    """
    roots = _system_authorities() if tls.ca is None else _authorities(tls.ca)
    if tls.cert is None or tls.key is None:
        return grpc.ssl_channel_credentials(roots)
    cert, key = _pair(tls.cert, tls.key)
    return grpc.ssl_channel_credentials(roots, key, cert)


def upstream_fingerprint(tls: UpstreamTls) -> Fingerprint:
    """Differs once a file has changed: time for new credentials and new channels."""
    return fingerprint(tls.ca, tls.cert, tls.key)


def _pair(cert: Path, key: Path) -> tuple[bytes, bytes]:
    """Certificate chain and private key, PEM; checked to belong together."""
    chain, private = _pem(cert, b"CERTIFICATE"), _pem(key, b"PRIVATE KEY")
    if b"ENCRYPTED" in private:
        raise ConfigError(f"{key}: the private key is encrypted; store it without a passphrase, readable by the proxy")
    if any(start in private for start in _EDWARDS_KEYS):
        raise ConfigError(f"{key}: gRPC has no Ed25519 or Ed448 certificates; use ECDSA P-256 or RSA")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key, password=b"")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"{key}: is not the private key of the certificate in {cert}; renew both") from None
        raise ConfigError(f"{cert} and {key}: not a certificate chain and its key: {_reason(error)}") from None
    except OSError as error:
        raise ConfigError(f"{cert} and {key}: {error.strerror or error}") from None
    return chain, private


def _authorities(path: Path) -> bytes:
    """A PEM bundle of at least one certificate."""
    bundle = _pem(path, b"CERTIFICATE")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        raise ConfigError(f"{path}: not a bundle of certificates: {_reason(error)}") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    return bundle


def _system_authorities() -> bytes | None:
    """The system's bundle, found as OpenSSL and Go find it; None leaves gRPC to the one that it ships."""
    for path in (ssl.get_default_verify_paths().cafile, *_SYSTEM_BUNDLES):
        if path is not None and Path(path).is_file():
            return _authorities(Path(path))
    return None


def _pem(path: Path, label: bytes) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_PEM_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}; name a readable PEM file") from None
    if len(content) > MAX_PEM_BYTES:
        raise ConfigError(f"{path}: more than {MAX_PEM_BYTES} bytes; a PEM file is smaller")
    if label + b"-----" not in content:
        raise ConfigError(f"{path}: holds no PEM block `-----BEGIN {label.decode()}-----`; convert the file to PEM")
    return content


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or error.strerror or "cannot be read").replace("_", " ").lower()
