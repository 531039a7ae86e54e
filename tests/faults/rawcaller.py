"""A caller without manners: HTTP/2 frames by hand, as many streams as it likes, and answers that it does not read.

Frames are those of RFC 9113, headers the plain literals of RFC 7541.
"""

import socket
import struct
from collections.abc import Iterator
from itertools import count

DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE = 0x0, 0x1, 0x3, 0x4, 0x6, 0x8
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class RawCaller:
    """One connection.

    Args:
        address: host:port of the server, plain text.
        caller: sent as x-forwarded-for, if any.
    """

    def __init__(self, address: str, caller: str = "") -> None:
        host, _, port = address.rpartition(":")
        self._authority = address
        self._caller = caller
        self._socket = socket.create_connection((host, int(port)), timeout=20)
        self._streams = count(1, 2)
        self._socket.sendall(_PREFACE + _frame(SETTINGS, 0, 0, b""))

    def open(self, path: str, body: bytes | None, timeout: str = "", hog: bool = False) -> int:
        """Begins a call; the number of its stream.

        Args:
            path: full method name.
            body: the request; None leaves the caller's side open.
            timeout: as gRPC writes it, such as `500m`; none if empty.
            hog: marks the call with a header, x-hog.
        """
        stream = next(self._streams)
        headers = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", self._authority)]
        headers += [("te", "trailers"), ("content-type", "application/grpc")]
        headers += [("grpc-timeout", timeout)] if timeout else []
        headers += [("x-hog", "1")] if hog else []
        headers += [("x-forwarded-for", self._caller)] if self._caller else []
        frames = _frame(HEADERS, END_HEADERS, stream, b"".join(_literal(*each) for each in headers))
        if body is not None:
            frames += _frame(DATA, END_STREAM, stream, struct.pack(">BI", 0, len(body)) + body)
        self._socket.sendall(frames)
        return stream

    def taken(self, stream: int, step: int) -> int:
        """Reads a call's answer to its end, and lets the server send no more than a step at a time; its bytes."""
        found, credit = 0, 0
        for kind, at, payload in self.frames():
            if kind == PING:
                self._socket.sendall(_frame(PING, ACK, 0, payload))
            if at == stream and kind == DATA:
                found += len(payload)
                credit += len(payload)
                if credit >= step:
                    self.more(credit, stream)
                    credit = 0
            if at == stream and kind == HEADERS and found:
                break
        return found

    def more(self, size: int, stream: int) -> None:
        """Lets the server send so many more bytes of a stream."""
        step = struct.pack(">I", size)
        self._socket.sendall(_frame(WINDOW_UPDATE, 0, 0, step) + _frame(WINDOW_UPDATE, 0, stream, step))

    def frames(self, seconds: float = 20) -> Iterator[tuple[int, int, bytes]]:
        """What the server sends: type, stream, payload; until it closes or is silent for so long."""
        self._socket.settimeout(seconds)
        try:
            while head := self._read(9):
                size, kind, stream = int.from_bytes(head[:3], "big"), head[3], int.from_bytes(head[5:], "big")
                yield kind, stream, self._read(size)
        except OSError:
            return

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()

    def _read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            piece = self._socket.recv(size - len(found))
            if not piece:
                return b""
            found += piece
        return found


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _literal(name: str, value: str) -> bytes:
    """A header field without indexing and without Huffman coding; both parts below 127 bytes."""
    return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
