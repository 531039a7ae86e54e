"""A hundred callers over a few connections: whoever is next asks what is next."""

import itertools
import select
from collections.abc import Callable

import numpy as np

from benchmarks.throughput.framing import PREDICT
from benchmarks.throughput.http2 import Connection, header_block

CONNECTIONS = 4
CALLERS = 100


class Callers:
    """Begins calls and tells when their answers end; for one thread.

    Args:
        address: host:port.
        bodies: of the requests, framed, in this order; after the last comes the first again.
        ended: told of each call's number and of the bytes in its answer.
        rng: throws the callers.
    """

    def __init__(
        self, address: str, bodies: list[bytes], ended: Callable[[int, int], None], rng: np.random.Generator
    ) -> None:
        host, port = address.rsplit(":", 1)
        self._bodies = itertools.cycle(bodies)
        headers = [header_block(PREDICT, address, ("x-forwarded-for", f"10.{at}.0.1")) for at in range(CALLERS)]
        self._headers = itertools.cycle([headers[at] for at in rng.integers(0, CALLERS, 1009).tolist()])
        self._connections = {
            each.socket.fileno(): each for each in (Connection(host, int(port), ended) for _ in range(CONNECTIONS))
        }
        self._turn = itertools.cycle(self._connections.values())

    def begin(self, number: int) -> None:
        """Begins a call."""
        next(self._turn).call(number, next(self._headers), next(self._bodies))

    def wait(self, seconds: float) -> None:
        """Waits for something to happen, at most so long, and sees to it."""
        writing = [at for at, each in self._connections.items() if each.writing]
        readable, writable, _ = select.select(list(self._connections), writing, [], max(0.0, seconds))
        for at in writable:
            self._connections[at].write()
        for at in readable:
            self._connections[at].read()
