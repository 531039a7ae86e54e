"""Certificates made on the fly: an authority, and what it signs for servers and clients.

Keys are ECDSA P-256, which takes a millisecond; nothing is cached and nothing is written unless a test asks.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key, both PEM."""

    cert: bytes
    key: bytes
    serial: int

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Writes `NAME.crt` and `NAME.key`, each replaced in one step; returns their paths."""
        cert, key = folder / f"{name}.crt", folder / f"{name}.key"
        for path, content in ((cert, self.cert), (key, self.key)):
            new = path.with_suffix(".new")
            new.write_bytes(content)
            new.replace(path)
        return cert, key


class Authority:
    """A certificate authority.

    Args:
        name: its common name.
    """

    def __init__(self, name: str = "test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        builder = _builder(self._name, self._name, self._key).add_extension(x509.BasicConstraints(True, None), True)
        self.cert = builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def write(self, folder: Path, name: str = "ca") -> Path:
        """Writes `NAME.crt`; returns its path."""
        path = folder / f"{name}.crt"
        path.write_bytes(self.cert)
        return path

    def server(
        self, *names: str, key: PrivateKey | None = None, validity: timedelta = timedelta(days=1)
    ) -> Certificate:
        """A server's certificate for DNS names and addresses; localhost in all its forms when none is given."""
        alternatives = [_alternative(name) for name in names or ("localhost", "127.0.0.1", "::1")]
        return self._issue("server", alternatives, key, validity)

    def client(
        self, common_name: str = "", uris: Sequence[str] = (), dns: Sequence[str] = (), expired: bool = False
    ) -> Certificate:
        """A client's certificate; a SPIFFE id is a URI such as `spiffe://example.org/ns/default/sa/camera`."""
        names = [*map(x509.UniformResourceIdentifier, uris), *map(x509.DNSName, dns)]
        return self._issue(common_name, names, None, timedelta(days=-1 if expired else 1))

    def _issue(
        self,
        common_name: str,
        names: Sequence[x509.GeneralName],
        key: PrivateKey | None,
        validity: timedelta = timedelta(days=1),
    ) -> Certificate:
        key = key or ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(common_name), self._name, key, validity)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        signed = builder.sign(self._key, hashes.SHA256())
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Certificate(signed.public_bytes(Encoding.PEM), private, signed.serial_number)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PrivateKey, validity: timedelta = timedelta(days=1)
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer, subject, key.public_key(), x509.random_serial_number(), now - timedelta(days=2), now + validity
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
