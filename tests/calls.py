"""One call over a real connection, as bytes, and all that its caller sees of the end."""

from collections.abc import Sequence
from dataclasses import dataclass

import grpc

Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True)
class Answer:
    """How a call ended; metadata are sorted by key, `body` is empty unless the code is OK."""

    code: grpc.StatusCode
    details: str
    initial: Metadata
    trailing: Metadata
    body: bytes = b""


def open_channel(address: str) -> grpc.Channel:
    """A plain-text channel without a limit on message sizes, with a connection of its own."""
    options = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    return grpc.insecure_channel(address, options=options)


def call(
    channel: grpc.Channel,
    method: str,
    body: bytes = b"",
    *,
    metadata: Metadata = (),
    timeout: float | None = 20.0,
    compression: grpc.Compression | None = None,
) -> Answer:
    """Calls a method of one request and one reply and takes whatever comes back."""
    stub = channel.unary_unary(method)
    try:
        reply, done = stub.with_call(body, timeout=timeout, metadata=metadata, compression=compression)
    except grpc.RpcError as error:
        return ended(error)
    return ended(done, reply)


def ended(done: grpc.Call, body: bytes = b"") -> Answer:
    """The end of a call that is over."""
    return Answer(
        done.code(), done.details() or "", plain(done.initial_metadata()), plain(done.trailing_metadata()), body
    )


def plain(metadata: Sequence[tuple[str, str | bytes]] | None) -> Metadata:
    """Metadata as pairs, sorted by key: gRPC keeps the order of values of one key only (PROTOCOL-HTTP2.md)."""
    return tuple(sorted(((key, value) for key, value in metadata or ()), key=lambda pair: pair[0]))
