"""When certificates run out, read from their DER (RFC 5280, section 4.1): the standard library has no door to it."""

import base64
import binascii
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

MAX_PEM_BYTES = 2**20
_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18


def first_end(path: Path) -> float | None:
    """When the first of a file's certificates runs out, in seconds since 1970; None if no certificate can be read."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_PEM_BYTES)
    except OSError:
        return None
    return min(_ends(content), default=None)


def _ends(pem: bytes) -> Iterator[float]:
    for block in _BLOCK.findall(pem):
        try:
            yield _not_after(base64.b64decode(block))
        except (ValueError, IndexError, OverflowError, binascii.Error):
            continue


def _not_after(der: bytes) -> float:
    """Of one certificate.

    Raises:
        ValueError, IndexError: it is none.
    """
    tag, certificate, _ = _element(der, 0)
    _expect(tag, _SEQUENCE)
    tag, at, _ = _element(der, certificate)
    _expect(tag, _SEQUENCE)
    tag, _, end = _element(der, at)
    if tag == _VERSION:
        at = end
    for _ in ("serial number", "signature algorithm", "issuer"):
        _, _, at = _element(der, at)
    tag, not_before, _ = _element(der, at)
    _expect(tag, _SEQUENCE)
    _, _, not_after = _element(der, not_before)
    return _time(*_element(der, not_after), der)


def _time(tag: int, start: int, end: int, der: bytes) -> float:
    text = der[start:end].decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    else:
        _expect(tag, _GENERALIZED_TIME)
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Tag, and where the content begins and ends."""
    tag, length, start = der[at], der[at + 1], at + 2
    if length >= 0x80:
        count = length - 0x80
        if not 1 <= count <= 4:
            raise ValueError("a length that no certificate has")
        length, start = int.from_bytes(der[start : start + count], "big"), start + count
    if start + length > len(der):
        raise ValueError("it ends too early")
    return tag, start, start + length


def _expect(tag: int, wanted: int) -> None:
    if tag != wanted:
        raise ValueError("not a certificate")
