"""When certificates run out, held against another reader of them."""

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.expiry import first_end
from tests.certificates import Authority

KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x" * 60)])


def certificate(end: datetime) -> bytes:
    builder = x509.CertificateBuilder(NAME, NAME, KEY.public_key(), 2**150, datetime(1960, 1, 1, tzinfo=UTC), end)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.datetimes(datetime(1970, 1, 1), datetime(2400, 1, 1), timezones=st.just(UTC)))
def test_any_end_is_read_in_either_form_of_time(tmp_path: Path, end: datetime) -> None:
    end = end.replace(microsecond=0)
    (tmp_path / "c.pem").write_bytes(certificate(end))
    assert first_end(tmp_path / "c.pem") == end.timestamp()


def test_the_first_of_a_chain_counts_and_other_blocks_do_not(tmp_path: Path) -> None:
    soon, late = (datetime(2030, 1, 1, tzinfo=UTC) + timedelta(days=days) for days in (0, 500))
    issued = Authority().server()
    (tmp_path / "c.pem").write_bytes(b"a comment\n" + issued.key + certificate(late) + certificate(soon))
    assert first_end(tmp_path / "c.pem") == soon.timestamp()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 600), at=st.integers(0, 600), byte=st.binary(min_size=1, max_size=1))
def test_nonsense_has_no_end_and_does_no_harm(tmp_path: Path, cut: int, at: int, byte: bytes) -> None:
    der = bytearray(
        x509.load_pem_x509_certificate(certificate(datetime(2030, 1, 1, tzinfo=UTC))).public_bytes(Encoding.DER)
    )
    der[at % len(der)] = byte[0]
    body = base64.b64encode(bytes(der[: len(der) - cut]))
    (tmp_path / "c.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\n" + body + b"\n-----END CERTIFICATE-----\n")
    found = first_end(tmp_path / "c.pem")
    assert found is None or isinstance(found, float)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----", b"\x00" * 100])
def test_no_certificate(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.pem").write_bytes(content)
    assert first_end(tmp_path / "c.pem") is None
    assert first_end(tmp_path / "nowhere") is None
