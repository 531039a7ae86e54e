"""Metadata and the identity in them."""

import json
from collections.abc import Sequence
from typing import Any

from proxy.config.schema import Identity
from proxy.errors import Rejection
from proxy.identity import MAX_ID_CHARS, Identifier
from proxy.metadata import forwarded
from tests.fuzz.target import Plain

_PEER = 100
_BYTES = 16 * 2**10
"""As bounds.metadata_bytes has it by default; gRPC refuses more."""


class IdentityHeaders(Plain):
    """proxy/identity.py, proxy/addresses.py, proxy/metadata.py under several configurations.

    An input is lines: gRPC's peer, then `name: value` for each header; `@name: value` is a property of the connection.
    """

    name = "identity"
    tokens = (
        *(
            b"x-forwarded-for: ",
            b"x-api-key: ",
            b"authorization: Bearer ",
            b"@x509_common_name: ",
            b"@peer_spiffe_id: ",
        ),
        *(
            b"@transport_security_type: ssl\n",
            b"grpc-timeout: 1S\n",
            b"a-bin: ",
            b"ipv4:",
            b"ipv6:%5B",
            b"unix:",
            b"::ffff:",
        ),
        *(b",", b"10.0.0.1", b"[::1]:5", b"fe80::1%eth0", b"%2525", b"\x00", b"0x7f.1", b"1.2.3.4:99999999999"),
    )

    def __init__(self) -> None:
        orders: list[dict[str, Any]] = [
            {"order": ["peer"], "peer": {"ipv4_prefix": 24, "ipv6_prefix": 64}},
            {"order": ["forwarded_for", "peer"], "forwarded_for": {"trusted_hops": 1}},
            {"order": ["forwarded_for"], "forwarded_for": {"trusted_hops": 3}, "forward_headers": True},
            {"order": ["mtls", "forwarded_for", "peer"]},
        ]
        self._configured = [Identifier(Identity.model_validate(each), None) for each in orders]

    def seeds(self) -> Sequence[bytes]:
        return [
            b"ipv4:127.0.0.1:4321\nx-forwarded-for: 10.1.2.3, 10.9.9.9\nx-request-id: 7\nuser-agent: g\n",
            b"ipv6:%5B2001:db8::1%5D:50000\nx-forwarded-for: [2001:db8::5]:80\nx-forwarded-for: a,b,c,d\n",
            b"unix:\nx-data-bin: \x00\xff\nforwarded: for=1.2.3.4\nx-real-ip: 1.1.1.1\n",
            b"ipv4:10.0.0.1:1\n@transport_security_type: ssl\n@x509_common_name: camera\n@peer_dns: a.example\n",
            b"ipv4:10.0.0.1:1\n@transport_security_type: ssl\n@peer_spiffe_id: spiffe://a/b\nauthorization: Bearer x\n",
        ]

    def run(self, data: bytes) -> str:
        peer, *lines = data[:_BYTES].split(b"\n")
        peer = peer[:_PEER]  # gRPC's own word, which is never long
        metadata: list[tuple[str, str | bytes]] = []
        connection: dict[str, list[bytes]] = {}
        for line in lines:
            name, _, value = line.partition(b": ")
            text = name.decode("latin-1").lower()
            if text.startswith("@"):
                connection.setdefault(text[1:], []).append(value)
            else:
                metadata.append((text, value if text.endswith("-bin") else value.decode("utf-8", "surrogateescape")))
        told = [
            self._read(each, metadata, peer.decode("utf-8", "surrogateescape"), connection) for each in self._configured
        ]
        return ", ".join(sorted(set(told)))

    def _read(self, identifier: Identifier, metadata: Any, peer: str, connection: Any) -> str:
        try:
            caller = identifier.identify(metadata, peer, connection)
            passed = forwarded(metadata, identifier.stripped_headers)
        except Rejection as rejection:
            return f"refused: {rejection.reason}"
        for text in (caller.id, caller.group, caller.address):
            assert 0 < len(text) <= MAX_ID_CHARS, f"{len(text)} characters"
            assert text.isascii(), "not ASCII"
            assert text.isprintable(), "not printable"
        assert not any(name in identifier.stripped_headers or name.startswith("grpc-") for name, _ in passed)
        json.dumps([caller.id, caller.group])
        return caller.source
