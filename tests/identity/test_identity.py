"""Which caller a call is charged to, by its headers, its peer and its certificate."""

import hashlib
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.addresses import forwarded_entry, origin, parse_address
from proxy.config.schema import Identity
from proxy.errors import Rejection
from proxy.identity import MAX_ID_CHARS, Identifier, caller_id
from proxy.keys import KeyFile

PEER = "ipv4:10.1.2.3:4000"
TLS = {"transport_security_type": [b"ssl"]}


def identifier(keys: KeyFile | None = None, **settings: Any) -> Identifier:
    return Identifier(Identity.model_validate(settings), keys)


@pytest.mark.parametrize(
    ("certificate", "name"),
    [
        (
            {"x509_common_name": [b"c"], "peer_dns": [b"d"], "peer_uri": [b"u"], "peer_spiffe_id": [b"spiffe://s"]},
            "spiffe://s",
        ),
        ({"x509_common_name": [b"c"], "peer_dns": [b"d", b"e"], "peer_uri": [b"u"]}, "uri:u"),
        ({"x509_common_name": [b"c"], "peer_dns": [b"d", b"e"]}, "dns:d"),
        ({"x509_common_name": [b"dns:d"]}, "cn:dns:d"),
        ({"x509_common_name": [b"a\nb\\\xff"]}, r"cn:a\nb\\\udcff"),
    ],
)
def test_a_certificate_names_its_best_name(certificate: dict[str, list[bytes]], name: str) -> None:
    caller = identifier(order=["mtls"]).identify([], PEER, TLS | certificate)
    assert (caller.id, caller.source, caller.group) == (f"mtls:{name}", "mtls", "network:10.1.2.0/24")


@pytest.mark.parametrize("connection", [{}, {"x509_common_name": [b"c"]}, TLS, TLS | {"x509_common_name": [b""]}])
def test_without_a_verified_certificate_nobody_is_named(connection: dict[str, list[bytes]]) -> None:
    with pytest.raises(Rejection) as refused:
        identifier(order=["mtls"]).identify([("x-forwarded-client-cert", "Subject=c")], PEER, connection)
    assert refused.value.code is grpc.StatusCode.UNAUTHENTICATED
    assert "send a client certificate" in refused.value.details


@given(st.lists(st.binary(max_size=400), min_size=2, max_size=2, unique=True))
def test_two_names_are_two_callers(names: list[bytes]) -> None:
    one, two = (caller_id("mtls", "cn:", name) for name in names)
    assert one != two
    for each in (one, two):
        assert each.isascii()
        assert each.isprintable()
        assert len(each) <= MAX_ID_CHARS


@pytest.mark.parametrize(
    ("hops", "headers", "caller"),
    [
        (1, ["6.6.6.6, 1.1.1.1"], "forwarded_for:1.1.1.1"),
        (2, ["6.6.6.6, 1.1.1.1, 10.0.0.1"], "forwarded_for:1.1.1.1"),
        (2, ["6.6.6.6, 1.1.1.1", "10.0.0.1"], "forwarded_for:1.1.1.1"),
        (1, ["[2001:db8::1]:443"], "forwarded_for:2001:db8::/64"),
        (1, ["::ffff:1.1.1.1"], "forwarded_for:1.1.1.1"),
        (3, ["1.1.1.1, 10.0.0.1"], "peer:10.1.2.3"),
        (1, ["1.1.1.1, unknown"], "peer:10.1.2.3"),
        (1, ["1.1.1.1, "], "peer:10.1.2.3"),
        (1, [], "peer:10.1.2.3"),
    ],
)
def test_only_what_trusted_hops_wrote_names_a_caller(hops: int, headers: list[str], caller: str) -> None:
    named = identifier(order=["forwarded_for", "peer"], forwarded_for={"trusted_hops": hops})
    assert named.identify([("x-forwarded-for", header) for header in headers], PEER, {}).id == caller


@given(st.lists(st.text(st.characters(codec="ascii"), max_size=20)), st.integers(1, 5))
def test_what_a_caller_writes_to_the_left_changes_nothing(claimed: list[str], hops: int) -> None:
    written = [f"10.0.0.{n}" for n in range(1, hops + 1)]
    assert forwarded_entry([*claimed, *written], hops) == "10.0.0.1"


@given(st.ip_addresses())
def test_every_address_is_read_with_and_without_its_port(address: Any) -> None:
    mapped = getattr(address, "ipv4_mapped", None)
    for text in (str(address), f"[{address}]:80" if address.version == 6 else f"{address}:80"):
        assert parse_address(text) == (mapped or address).packed
        found = origin(text, 32, 128)
        assert found is not None
        assert parse_address(found.address) == (mapped or address).packed


@given(st.text(max_size=80))
def test_no_text_breaks_the_reader_of_addresses(text: str) -> None:
    found = parse_address(text)
    assert found is None or len(found) in (4, 16)


@pytest.mark.parametrize(
    ("header", "sent", "named"),
    [
        ("x-api-key", ["one"], True),
        ("x-api-key", [b"one"], True),
        ("x-api-key", ["two"], False),
        ("x-api-key", ["one", "one"], False),
        ("authorization", ["Bearer one"], True),
        ("authorization", ["bearer  one "], True),
        ("authorization", ["one"], False),
        ("authorization", ["Basic one"], False),
        ("authorization", ["Bearer one one"], False),
    ],
)
def test_a_key_is_sent_once_and_in_its_form(header: str, sent: list[str | bytes], named: bool, tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text(f"- {{id: a, sha256: {hashlib.sha256(b'one').hexdigest()}, owner: acme, tier: gold}}\n")
    settings = {"order": ["api_key", "peer"], "api_keys": {"file": str(file), "header": header}}
    by_key = identifier(KeyFile(file), **settings)
    metadata = [(header, value) for value in sent]
    assert by_key.stripped_headers == {header}
    if named:
        caller = by_key.identify(metadata, PEER, {})
        assert (caller.id, caller.group, caller.tier) == ("api_key:a", "owner:acme", "gold")
    else:
        with pytest.raises(Rejection, match=f"send one valid key, once, as {header}"):
            by_key.identify(metadata, PEER, {})
    assert by_key.identify([], PEER, {}).id == "peer:10.1.2.3"


def test_headers_that_name_a_caller_stay_here_unless_they_are_let_through() -> None:
    order = ["mtls", "forwarded_for"]
    names = {"x-forwarded-client-cert", "x-forwarded-for", "forwarded", "x-real-ip"}
    assert identifier(order=order).stripped_headers == names
    assert identifier(order=order, forward_headers=True).stripped_headers == frozenset()
