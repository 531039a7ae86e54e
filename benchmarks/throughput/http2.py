"""One HTTP/2 connection of a load generator: unary gRPC calls written from prepared bytes, answers counted by frames.

A gRPC client in Python takes ten times as long for a call as the proxies that are measured here, and would hide what
they add. This does what a measurement needs and no more: requests without compression of headers, flow control, pings
answered, and of an answer its length and its end (RFC 9113).
"""

import socket
import struct
from collections import deque
from collections.abc import Callable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
_HEADER_TABLE_SIZE, _ENABLE_PUSH, _INITIAL_WINDOW_SIZE = 1, 2, 4
WINDOW, _LARGEST_WINDOW = 65_535, 2**31 - 1
_FRAME = 16_384
"""The largest payload of a frame that every peer takes."""
_READ = 2**18


class BrokenConnectionError(Exception):
    """The peer ended the connection or a call."""


def header_block(path: str, authority: str, *more: tuple[str, str]) -> bytes:
    """The headers of a gRPC call as literals (RFC 7541, 6.2.2), which need no memory on either side."""
    pseudo = bytes([0x83, 0x86]) + _named(4, path) + _named(1, authority)  # :method POST, :scheme http, static names
    custom = (("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "60S"), *more)
    return pseudo + b"".join(literal(name, value) for name, value in custom)


def literal(name: str, value: str) -> bytes:
    """A header that the peer need not remember."""
    return b"\0" + _text(name) + _text(value)


class Connection:
    """A connection in clear text; for one thread.

    Args:
        host, port: of the server.
        ended: told of each call's number and of the bytes in its answer.
    """

    def __init__(self, host: str, port: int, ended: Callable[[int, int], None]) -> None:
        self.socket = socket.create_connection((host, port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._ended = ended
        self._stream = -1
        self._calls: dict[int, int] = {}
        self._answered: dict[int, int] = {}
        self._window = WINDOW
        self._first_window = WINDOW
        self._windows: dict[int, int] = {}
        self._bodies: deque[tuple[int, memoryview]] = deque()
        self._in = bytearray()
        settings = ((_HEADER_TABLE_SIZE, 0), (_ENABLE_PUSH, 0), (_INITIAL_WINDOW_SIZE, _LARGEST_WINDOW))
        body = b"".join(struct.pack(">HL", key, value) for key, value in settings)
        self._out = bytearray(PREFACE + frame(SETTINGS, 0, 0, body))
        self._out += frame(WINDOW_UPDATE, 0, 0, struct.pack(">L", _LARGEST_WINDOW - WINDOW))
        self._flush()

    @property
    def writing(self) -> bool:
        """Whether bytes wait until the socket takes more."""
        return bool(self._out)

    def call(self, number: int, headers: bytes, body: bytes) -> None:
        """Begins a call."""
        self._stream += 2
        self._calls[self._stream] = number
        self._windows[self._stream] = self._first_window
        self._out += frame(HEADERS, END_HEADERS, self._stream, headers)
        self._bodies.append((self._stream, memoryview(body)))
        self._write_bodies()
        self._flush()

    def write(self) -> None:
        """Goes on writing; to be called when the socket is writable."""
        self._flush()

    def read(self) -> None:
        """Takes what has come.

        Raises:
            BrokenConnectionError: the peer hung up or reset a call.
        """
        try:
            came = self.socket.recv(_READ)
        except BlockingIOError:
            return
        if not came:
            raise BrokenConnectionError("the connection was closed")
        self._in += came
        at, end = 0, len(self._in)
        while end - at >= 9:
            length = int.from_bytes(self._in[at : at + 3], "big")
            if end - at < 9 + length:
                break
            kind, flags = self._in[at + 3], self._in[at + 4]
            stream = int.from_bytes(self._in[at + 5 : at + 9], "big") & _LARGEST_WINDOW
            self._take(kind, flags, stream, at + 9, length)
            at += 9 + length
        del self._in[:at]
        self._write_bodies()
        self._flush()

    def close(self) -> None:
        """Ends it."""
        self.socket.close()

    def _take(self, kind: int, flags: int, stream: int, at: int, length: int) -> None:
        if kind == DATA:
            self._answered[stream] = self._answered.get(stream, 0) + length
            if length:  # the window of the stream is large enough for any answer; that of the connection is not
                self._out += frame(WINDOW_UPDATE, 0, 0, struct.pack(">L", length))
        elif kind == WINDOW_UPDATE:
            more = int.from_bytes(self._in[at : at + 4], "big")
            if stream == 0:
                self._window += more
            elif stream in self._windows:
                self._windows[stream] += more
        elif kind == PING and not flags & ACK:
            self._out += frame(PING, ACK, 0, bytes(self._in[at : at + 8]))
        elif kind == SETTINGS and not flags & ACK:
            self._settings(at, length)
        elif kind in (RST_STREAM, GOAWAY) and (kind == GOAWAY or stream in self._calls):
            raise BrokenConnectionError(f"frame {kind} for stream {stream}")
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self._windows.pop(stream, None)
            self._ended(self._calls.pop(stream), self._answered.pop(stream, 0))

    def _settings(self, at: int, length: int) -> None:
        for place in range(at, at + length, 6):
            key, value = struct.unpack_from(">HL", self._in, place)
            if key == _INITIAL_WINDOW_SIZE:
                for stream in self._windows:
                    self._windows[stream] += value - self._first_window
                self._first_window = value
        self._out += frame(SETTINGS, ACK, 0, b"")

    def _write_bodies(self) -> None:
        """As much of the waiting bodies as the windows allow, in turn."""
        for _ in range(len(self._bodies)):
            stream, body = self._bodies.popleft()
            while body and (room := min(self._window, self._windows.get(stream, 0), _FRAME)) > 0:
                part = body[:room]
                body = body[room:]
                self._window -= len(part)
                self._windows[stream] -= len(part)
                self._out += head(DATA, 0 if body else END_STREAM, stream, len(part))
                self._out += part
            if body and stream in self._windows:
                self._bodies.append((stream, body))

    def _flush(self) -> None:
        while self._out:
            try:
                sent = self.socket.send(self._out)
            except BlockingIOError:
                return
            del self._out[:sent]


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A whole frame."""
    return head(kind, flags, stream, len(payload)) + payload


def head(kind: int, flags: int, stream: int, length: int) -> bytes:
    """What comes before a frame's payload."""
    return struct.pack(">LBL", length << 8 | kind, flags, stream)


def _named(index: int, value: str) -> bytes:
    return bytes([index]) + _text(value)


def _text(value: str) -> bytes:
    encoded = value.encode("ascii")
    assert len(encoded) < 127, "longer ones need a second byte"
    return bytes([len(encoded)]) + encoded
