"""A TCP proxy that does to its connections what networks and dying servers do, as each test says.

    with Chaos(server.address) as chaos:
        chaos.fault = frozen()      # for all connections, those that are open included
        chaos.fault = passing       # and they go on as if nothing had happened

It forwards the bytes of both directions and lets the fault have every piece of the server's answers. It runs in a
thread of its own. Nothing in it is random but garbage, which is seeded.
"""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
Fault = Callable[[bytes], Awaitable[bytes]]
"""Given a piece of an answer, what is sent instead; it may take its time, and it may raise ResetError."""

PIECE = 4096
PATIENCE = 20.0


class ResetError(Exception):
    """The connection is reset (RST)."""


async def passing(piece: bytes) -> bytes:
    """No fault."""
    return piece


def slow(bytes_per_second: float) -> Fault:
    """Answers trickle."""

    async def fault(piece: bytes) -> bytes:
        await asyncio.sleep(len(piece) / bytes_per_second)
        return piece

    return fault


def late(seconds: float) -> Fault:
    """Each piece of an answer comes so much later."""

    async def fault(piece: bytes) -> bytes:
        await asyncio.sleep(seconds)
        return piece

    return fault


def silent() -> Fault:
    """Half-open: what is sent is acknowledged, and nothing ever comes back."""

    async def fault(piece: bytes) -> bytes:
        return b""

    return fault


def reset(after: int = 0) -> Fault:
    """Each connection is reset once so many pieces of answers have passed."""
    left = after

    async def fault(piece: bytes) -> bytes:
        nonlocal left
        left -= 1
        if left < 0:
            raise ResetError
        return piece

    return fault


def garbage(seed: int) -> Fault:
    """Random bytes, as many as there should have been.

    They begin with a length that no HTTP/2 frame has: bytes that announce a long frame and stop would be silence.
    """
    rng = random.Random(seed)

    async def fault(piece: bytes) -> bytes:
        return b"\xff" * 3 + rng.randbytes(max(0, len(piece) - 3))

    return fault


class Chaos:
    """Listens on a free port of the loopback interface while its `with` block lasts.

    Args:
        target: host:port that connections are forwarded to.

    Attributes:
        fault: what is done to answers.
        accepted: connections so far.
    """

    def __init__(self, target: str) -> None:
        self.fault: Fault = passing
        self.accepted = 0
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._links: set[_Link] = set()
        self._reading = asyncio.Event()
        self._port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """host:port; the same after `kill` and `revive`."""
        return f"127.0.0.1:{self._port}"

    @property
    def open(self) -> int:
        """Connections that are open."""
        return len(self._links)

    def kill(self) -> None:
        """Nobody listens any more, and all connections are reset."""
        self._do(self._kill())

    def revive(self) -> None:
        """Listens again."""
        self._do(self._listen())

    def freeze(self) -> None:
        """Nothing is read any more, on either side: buffers fill, then nothing is acknowledged. New ones connect."""
        self._do(self._set_reading(False))

    def thaw(self) -> None:
        """All is read, what had waited too."""
        self._do(self._set_reading(True))

    def strand(self) -> None:
        """The open connections are forgotten, as by a router that lost its table: nothing passes, new ones work."""
        self._do(self._strand())

    def reset(self) -> None:
        """The open connections are reset, new ones work."""
        self._do(self._reset())

    def __enter__(self) -> "Chaos":
        self._thread.start()
        self.revive()
        self.thaw()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port, limit=PIECE)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _kill(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._reset()

    async def _reset(self) -> None:
        links = tuple(self._links)
        for link in links:
            link.reset()
        await asyncio.gather(*(link.over.wait() for link in links))

    async def _strand(self) -> None:
        for link in self._links:
            link.stranded = True

    async def _set_reading(self, reading: bool) -> None:
        (self._reading.set if reading else self._reading.clear)()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        link = _Link(writer)
        self._links.add(link)
        try:
            there, back = await asyncio.open_connection(*self._target, limit=PIECE)
        except OSError:
            link.reset()
            self._over(link)
            return
        link.writers.append(back)
        link.pumps = [
            asyncio.ensure_future(self._pump(link, reader, back, passing)),
            asyncio.ensure_future(self._pump(link, there, writer, None)),
        ]
        await asyncio.wait(link.pumps)
        self._over(link)

    def _over(self, link: "_Link") -> None:
        link.end()
        self._links.discard(link)
        link.over.set()

    async def _pump(
        self, link: "_Link", source: asyncio.StreamReader, sink: asyncio.StreamWriter, fault: Fault | None
    ) -> None:
        """Until either side ends; `fault` None: whatever holds at the time."""
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while piece := await source.read(PIECE):
                await self._reading.wait()
                if link.stranded:
                    continue
                try:
                    sink.write(await (fault or self.fault)(piece))
                except ResetError:
                    link.reset()
                    return
                await sink.drain()
        link.end()


class _Link:
    """One connection and the one behind it."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writers = [writer]
        self.pumps: list[asyncio.Future[None]] = []
        self.stranded = False
        self.over = asyncio.Event()

    def reset(self) -> None:
        """Both are reset."""
        for writer in self.writers:
            found = writer.get_extra_info("socket")
            if found is not None and found.fileno() >= 0:
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.end()

    def end(self) -> None:
        """Both are closed."""
        for pump in self.pumps:
            pump.cancel()
        for writer in self.writers:
            writer.transport.abort()
