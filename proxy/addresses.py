"""Where a call comes from: gRPC's peer strings and X-Forwarded-For entries, as addresses and network prefixes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from urllib.parse import unquote

_ENTRY = re.compile(r"\[([^\[\]]+)\](?::\d{1,5})?|([\d.]+)(?::\d{1,5})?|([^\[\]]+)", re.ASCII)
_LONGEST_ENTRY = 69
"""Characters: an IPv6 address (45), a zone id (1 + 15), brackets and a port (8); nothing longer is an address."""

_MAPPED = bytes(10) + b"\xff\xff"
"""How an IPv4 address begins that is written as IPv6."""

_GROUP_BITS = {4: 24, 16: 48}
"""By the address's bytes. A caller's neighbourhood: the smallest IPv4 block that is routed on its own, and one IPv6
site (RFC 6177)."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a call comes from.

    Attributes:
        address: the address itself, without port and zone; `unix` for a unix socket.
        prefix: the address cut to the configured length: what is one caller.
        network: the wider network around it, which a caller with many addresses is likely to share with itself.
    """

    address: str
    prefix: str
    network: str


UNIX = Origin("unix", "unix", "unix")


def parse_address(text: str) -> bytes | None:
    """The 4 or 16 bytes of an address: `1.2.3.4`, `1.2.3.4:567`, `::1`, `[::1]` or `[::1]:567`; None if it is none.

    An IPv4-mapped IPv6 address becomes the IPv4 address that it stands for (RFC 4291, 2.5.5.2). A zone id is dropped:
    it has a meaning on one host only.
    """
    text = text.strip()
    match = _ENTRY.fullmatch(text) if len(text) <= _LONGEST_ENTRY else None
    if match is None:
        return None
    bracketed, ipv4, ipv6 = match.groups()
    try:
        if ipv4 is not None:
            return inet_pton(AF_INET, ipv4)
        packed = inet_pton(AF_INET6, (bracketed or ipv6).partition("%")[0])
    except (OSError, ValueError):  # ValueError: a NUL or a lone surrogate
        return None
    return packed[12:] if packed.startswith(_MAPPED) else packed


def forwarded_entry(values: Sequence[str], hops: int) -> str | None:
    """The entry of X-Forwarded-For that the outermost of `hops` trusted proxies has written.

    Each proxy appends the address that it was called from, so the last `hops` entries are to be believed and the first
    of those is the caller. What stands left of it was sent by the caller and is worth nothing.

    Args:
        values: all X-Forwarded-For headers, in the order received; they count as one list (RFC 9110, 5.3).
        hops: how many proxies in front of this one append to the header.

    Returns:
        The entry, not yet parsed; None if there are fewer entries than hops, or it is too long for an address.
    """
    entries = ",".join(values).rsplit(",", hops)
    entry = entries[-hops].strip() if len(entries) >= hops else ""
    return entry if 0 < len(entry) <= _LONGEST_ENTRY else None


def peer_origin(peer: str, ipv4_bits: int, ipv6_bits: int) -> Origin | None:
    """The origin in gRPC's peer string, such as `ipv4:127.0.0.1:4321`, `ipv6:%5B::1%5D:4321` or `unix:`."""
    scheme, _, rest = peer.partition(":")
    if scheme.startswith("unix"):
        return UNIX
    return origin(unquote(rest), ipv4_bits, ipv6_bits) if scheme in ("ipv4", "ipv6") else None


def origin(text: str, ipv4_bits: int, ipv6_bits: int) -> Origin | None:
    """The origin of a written address, cut to the prefix lengths given; None if it is not an address."""
    packed = parse_address(text)
    if packed is None:
        return None
    bits = ipv4_bits if len(packed) == 4 else ipv6_bits
    return Origin(_text(packed), _cut(packed, bits), _cut(packed, min(bits, _GROUP_BITS[len(packed)])))


def _text(packed: bytes) -> str:
    return inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)


def _cut(packed: bytes, bits: int) -> str:
    host_bits = len(packed) * 8 - bits
    if not host_bits:
        return _text(packed)
    network = int.from_bytes(packed) >> host_bits << host_bits
    return f"{_text(network.to_bytes(len(packed)))}/{bits}"
