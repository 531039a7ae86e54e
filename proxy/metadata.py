"""Which of a call's headers go on to the upstream.

Custom metadata pass, `-bin` included. What belongs to one hop or to gRPC itself does not: HTTP/2 connection headers
(RFC 9113, 8.2.2) and everything that the gRPC specification reserves (PROTOCOL-HTTP2.md: `grpc-*`, `te`,
`content-type`, `user-agent`); gRPC makes those anew for the next hop, remaining deadline and encoding among them.
"""

from collections.abc import Iterable

import grpc

from proxy.errors import Metadata, Rejection

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)


def forwarded(headers: Iterable[tuple[str, str | bytes]], stripped: frozenset[str]) -> Metadata:
    """The headers for the upstream, in the caller's order, repeated keys kept.

    Args:
        headers: as received; values are bytes for `-bin` keys.
        stripped: names that carry identity and stay here.

    Raises:
        Rejection: INVALID_ARGUMENT for a value that gRPC could not send on.
    """
    kept = []
    for key, value in headers:
        if key in _HOP_BY_HOP or key in stripped or key.startswith("grpc-"):
            continue
        if isinstance(value, str) and not (value.isascii() and value.isprintable()):
            raise Rejection(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"metadata {key!r:.100} has a value outside printable ASCII; send it under a key that ends in -bin",
                reason="metadata",
            )
        kept.append((key, value))
    return tuple(kept)
