"""Who is calling: the identity that limits, budgets and verdicts are charged to.

The sources are asked in the configured order and the first that names a caller wins. What a caller may write as it
likes, `PredictRequest.client_id` above all, is never a source. docs/identity.md has the trust model.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import grpc

from proxy.addresses import Origin, forwarded_entry, origin, peer_origin
from proxy.config.schema import Identity, Source
from proxy.errors import Rejection
from proxy.keys import KeyFile

Metadata = Sequence[tuple[str, str | bytes]]
AuthContext = Mapping[str, Sequence[bytes]]

MAX_ID_CHARS = 256
_CACHED_ORIGINS = 4096
"""Connections whose origin is remembered; about 0.5 KB each."""

FORWARDED_FOR = "x-forwarded-for"
_CLAIMS: Mapping[Source, frozenset[str]] = {
    "mtls": frozenset({"x-forwarded-client-cert"}),
    "api_key": frozenset(),  # the configured header
    "forwarded_for": frozenset({FORWARDED_FOR, "forwarded", "x-real-ip"}),
    "peer": frozenset(),
}
"""Headers that name a caller in the manner of each source; an upstream might believe them, so they stay here."""

_CERTIFICATE_NAMES = (
    ("peer_spiffe_id", ""),
    ("peer_uri", "uri:"),
    ("peer_dns", "dns:"),
    ("x509_common_name", "cn:"),
)
"""gRPC's properties of a verified certificate, best first, and what keeps one kind of name from posing as another."""


class _Evidence(NamedTuple):
    metadata: Metadata
    peer: str
    auth_context: AuthContext


_BEARER = re.compile(r"bearer +([^ ]+) *", re.IGNORECASE)
_UNKNOWN = Origin("unknown", "unknown", "unknown")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a call is charged to.

    Attributes:
        id: `source:value`, printable ASCII, at most 256 characters.
        source: which of the configured sources named the caller.
        group: what a caller under several names has in common: `owner:NAME` of an API key, else `network:PREFIX`.
        tier: the API key's tier; None without one.
        address: where the call came from, without a port; as forwarded where that is trusted.
    """

    id: str
    source: Source
    group: str
    tier: str | None
    address: str


class Identifier:
    """Names the caller of each call. One instance serves one configuration; safe to use from several threads.

    Args:
        config: the sources and their settings.
        keys: the API keys; needed when `api_key` is among the sources.

    Attributes:
        stripped_headers: lower-case names of the headers that the upstream must not see.
        reads_certificates: whether the properties of a connection can name a caller.
    """

    def __init__(self, config: Identity, keys: KeyFile | None) -> None:
        if "api_key" in config.order and (keys is None or config.api_keys is None):
            raise ValueError("identity.order names api_key: api_keys and its KeyFile are needed")
        self._keys = keys
        self._key_header = "" if config.api_keys is None else config.api_keys.header
        self._hops = config.forwarded_for.trusted_hops if "forwarded_for" in config.order else 0
        bits = config.peer.ipv4_prefix, config.peer.ipv6_prefix
        self._peer_origin = lru_cache(_CACHED_ORIGINS)(lambda peer: peer_origin(peer, *bits))
        self._forwarded_origin = lru_cache(_CACHED_ORIGINS)(lambda entry: origin(entry, *bits))
        named_by: Mapping[Source, Callable[[_Evidence], Caller | None]] = {
            "mtls": self._by_certificate,
            "api_key": self._by_key,
            "forwarded_for": self._by_forwarded_address,
            "peer": self._by_peer_address,
        }
        self._sources = tuple(named_by[source] for source in config.order)
        self._unnamed = _unnamed(config)
        self.stripped_headers = _stripped(config)
        self.reads_certificates = "mtls" in config.order

    def identify(self, metadata: Metadata, peer: str, auth_context: AuthContext) -> Caller:
        """The caller of one call.

        Args:
            metadata: the call's headers, names in lower case.
            peer: gRPC's peer string, such as `ipv4:127.0.0.1:4321`.
            auth_context: gRPC's properties of the connection; empty without TLS.

        Raises:
            Rejection: UNAUTHENTICATED when no source names a caller, or an API key was sent that is not valid.
        """
        evidence = _Evidence(metadata, peer, auth_context)
        for source in self._sources:
            caller = source(evidence)
            if caller is not None:
                return caller
        raise Rejection(grpc.StatusCode.UNAUTHENTICATED, self._unnamed)

    def _by_certificate(self, evidence: _Evidence) -> Caller | None:
        if b"ssl" not in evidence.auth_context.get("transport_security_type", ()):
            return None
        for name, kind in _CERTIFICATE_NAMES:
            values = evidence.auth_context.get(name)
            if values and values[0]:
                came = self._origin(evidence)
                return Caller(caller_id("mtls", kind, values[0]), "mtls", _network(came), None, came.address)
        return None

    def _by_key(self, evidence: _Evidence) -> Caller | None:
        sent = [value for name, value in evidence.metadata if name == self._key_header]
        if not sent:
            return None
        record = self._keys.find(self._key(sent[0])) if self._keys is not None and len(sent) == 1 else None
        if record is None:
            form = "Bearer KEY" if self._key_header == "authorization" else "KEY"
            text = f"the API key is not valid; send one valid key, once, as {self._key_header}: {form}"
            raise Rejection(grpc.StatusCode.UNAUTHENTICATED, text)
        address = self._origin(evidence).address
        return Caller(f"api_key:{record.id}", "api_key", f"owner:{record.owner}", record.tier, address)

    def _key(self, value: str | bytes) -> str | bytes:
        if self._key_header != "authorization":
            return value
        match = _BEARER.fullmatch(value) if isinstance(value, str) else None
        return "" if match is None else match[1]

    def _by_forwarded_address(self, evidence: _Evidence) -> Caller | None:
        came = self._forwarded(evidence)
        if came is None:
            return None
        return Caller(f"forwarded_for:{came.prefix}", "forwarded_for", _network(came), None, came.address)

    def _by_peer_address(self, evidence: _Evidence) -> Caller | None:
        came = self._peer_origin(evidence.peer)
        if came is None:
            return None
        return Caller(f"peer:{came.prefix}", "peer", _network(came), None, came.address)

    def _origin(self, evidence: _Evidence) -> Origin:
        return self._forwarded(evidence) or self._peer_origin(evidence.peer) or _UNKNOWN

    def _forwarded(self, evidence: _Evidence) -> Origin | None:
        if not self._hops:
            return None
        values = [value for name, value in evidence.metadata if name == FORWARDED_FOR and isinstance(value, str)]
        entry = forwarded_entry(values, self._hops) if values else None
        return None if entry is None else self._forwarded_origin(entry)


def caller_id(source: str, kind: str, value: bytes) -> str:
    r"""A caller's id from bytes that a third party chose: `source:kindVALUE`, printable ASCII, bounded, one to one.

    Backslashes, control characters and whatever is not ASCII are written as Python would (`\n`, `\x7f`, `\u202e`); an
    id that would be longer than 256 characters becomes `source:sha256:DIGEST` of all of it.

    >>> caller_id("mtls", "dns:", b"camera-7.example")
    'mtls:dns:camera-7.example'
    """
    text = kind + value.decode("utf-8", "surrogateescape").encode("unicode_escape").decode("ascii")
    if len(source) + 1 + len(text) > MAX_ID_CHARS:
        text = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    return f"{source}:{text}"


def _network(came: Origin) -> str:
    return f"network:{came.network}"


def _stripped(config: Identity) -> frozenset[str]:
    if config.forward_headers:
        return frozenset()
    names = frozenset().union(*(_CLAIMS[source] for source in config.order))
    return names if config.api_keys is None else names | {config.api_keys.header}


def _unnamed(config: Identity) -> str:
    wanted = {"mtls": "a client certificate"}
    if config.api_keys is not None:
        wanted["api_key"] = f"an API key in {config.api_keys.header}"
    named = " or ".join(wanted[source] for source in config.order if source in wanted)
    return f"the caller is not identified; send {named}" if named else "the caller is not identified"
