"""The model server that does next to nothing, so that the proxy is what limits: any request gets the next fixed reply.

    python -m benchmarks.throughput.stub FOLDER PORT

serves the files `status` and `metadata` of FOLDER, each one reply message, and the messages of `predict` in turn, each
with its prefix, on the loopback interface until it is ended. It speaks just enough HTTP/2 (RFC 9113) for that, from
prepared bytes, at some 10 microseconds a call; a gRPC server in Python takes twenty times as long. It reads every
request whole before it answers, and sends what TensorFlow Serving sends and no more: a server that adds headers of its
own would have proxies carry them.
"""

import selectors
import socket
import struct
import sys
from itertools import cycle
from pathlib import Path

from benchmarks.throughput.framing import framed, unframed
from benchmarks.throughput.http2 import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW,
    WINDOW_UPDATE,
    frame,
    head,
    literal,
)

_MAX_CONCURRENT_STREAMS, _INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 3, 4, 5
_LARGEST = 2**31 - 1
_READ = 2**20
_SMALL = 60
"""Bytes of a request with its prefix: all that proxies ask of their own are smaller, and every Predict is larger."""


class Replies:
    """All replies, as frames but for the stream's number."""

    def __init__(self, folder: Path) -> None:
        predict = unframed((folder / "predict").read_bytes())
        self._predict = cycle(predict)
        self._status, self._metadata = (framed((folder / name).read_bytes()) for name in ("status", "metadata"))
        if max(map(len, (*predict, self._status, self._metadata))) > 16_000:
            raise ValueError("a reply has to fit into one frame")

    def to(self, body_bytes: int, body: bytes) -> bytes:
        """The reply to a request of this size that ends in these bytes; told apart without decoding headers."""
        if body_bytes > _SMALL:
            return next(self._predict)
        return self._metadata if b"signature_def" in body else self._status


class Served:
    """One connection."""

    _OK = b"\x88" + literal("content-type", "application/grpc")  # :status 200
    _TRAILERS = literal("grpc-status", "0")

    def __init__(self, peer: socket.socket, replies: Replies) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = peer
        self._replies = replies
        self._in = bytearray()
        self._sizes: dict[int, int] = {}
        self._window = WINDOW
        self._waiting: list[tuple[int, bytes]] = []
        self._taken = 0
        settings = ((_MAX_CONCURRENT_STREAMS, 1000), (_INITIAL_WINDOW_SIZE, _LARGEST), (_MAX_FRAME_SIZE, 2**20))
        self._out = bytearray(frame(SETTINGS, 0, 0, b"".join(struct.pack(">HL", *each) for each in settings)))
        self._out += frame(WINDOW_UPDATE, 0, 0, struct.pack(">L", _LARGEST - WINDOW))
        self._preface = len(PREFACE)

    def turn(self) -> bool:
        """Takes what has come and answers it; False once the peer has gone."""
        try:
            came = self._socket.recv(_READ)
        except (BlockingIOError, ConnectionResetError):
            return False
        if not came:
            return False
        self._in += came
        at, end = 0, len(self._in)
        if self._preface and end >= self._preface:
            at, self._preface = self._preface, 0
        while end - at >= 9:
            length = int.from_bytes(self._in[at : at + 3], "big")
            if end - at < 9 + length:
                break
            kind, flags = self._in[at + 3], self._in[at + 4]
            self._take(kind, flags, int.from_bytes(self._in[at + 5 : at + 9], "big"), at + 9, length)
            at += 9 + length
        del self._in[:at]
        self._answer()
        return self._send()

    def _take(self, kind: int, flags: int, stream: int, at: int, length: int) -> None:
        if kind == DATA:
            size = self._sizes[stream] = self._sizes.get(stream, 0) + length
            self._taken += length
            if flags & END_STREAM:
                tail = bytes(self._in[at : at + length]) if size <= _SMALL else b""
                self._waiting.append((stream, self._replies.to(self._sizes.pop(stream), tail)))
        elif kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(self._in[at : at + 4], "big")
        elif kind == PING and not flags & ACK:
            self._out += frame(PING, ACK, 0, bytes(self._in[at : at + 8]))
        elif kind == SETTINGS and not flags & ACK:
            self._out += frame(SETTINGS, ACK, 0, b"")
        elif kind == RST_STREAM:
            self._sizes.pop(stream, None)

    def _answer(self) -> None:
        """Whatever is whole, as far as the window of the connection allows; a stream's own is always large enough."""
        if self._taken > 2**24:
            self._out += frame(WINDOW_UPDATE, 0, 0, struct.pack(">L", self._taken))
            self._taken = 0
        done = 0
        for stream, reply in self._waiting:
            if len(reply) > self._window:
                break
            self._window -= len(reply)
            self._out += head(HEADERS, END_HEADERS, stream, len(self._OK)) + self._OK
            self._out += head(DATA, 0, stream, len(reply)) + reply
            self._out += head(HEADERS, END_HEADERS | END_STREAM, stream, len(self._TRAILERS)) + self._TRAILERS
            done += 1
        del self._waiting[:done]

    def _send(self) -> bool:
        """Waits for a slow peer: whoever drives this reads all the time."""
        self._socket.setblocking(True)
        try:
            self._socket.sendall(self._out)
        except OSError:
            return False
        finally:
            self._socket.setblocking(False)
        self._out.clear()
        return True


def main() -> None:
    """Serves."""
    folder, port = sys.argv[1:]
    replies = Replies(Path(folder))
    with selectors.DefaultSelector() as selector, socket.create_server(("127.0.0.1", int(port)), backlog=128) as server:
        selector.register(server, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.data is None:
                    peer, _ = server.accept()
                    peer.setblocking(False)
                    selector.register(peer, selectors.EVENT_READ, Served(peer, replies))
                elif not key.data.turn():
                    selector.unregister(key.fileobj)
                    key.fileobj.close()  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
