"""Messages as gRPC puts them into the body of an HTTP/2 stream (PROTOCOL-HTTP2.md)."""

PREDICT = "/tensorflow.serving.PredictionService/Predict"
_PREFIX = 5
"""Bytes: whether it is compressed, and the length."""


def framed(message: bytes) -> bytes:
    """One message, not compressed."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def unframed(stream: bytes) -> list[bytes]:
    """The messages one after the other in a stream, each still with its prefix."""
    found, at = [], 0
    while at < len(stream):
        end = at + _PREFIX + int.from_bytes(stream[at + 1 : at + _PREFIX], "big")
        found.append(stream[at:end])
        at = end
    return found
