"""Calls at a fixed rate, whether earlier ones are answered or not, in a process of its own.

    python -m benchmarks.throughput.openloop ADDRESS REQUESTS REPLY_BYTES RATE SECONDS SEED

REQUESTS is a file of messages as gRPC frames them, which are sent one after the other, from a place that SEED throws;
after the last comes the first again. Calls come at random, independent of each other (a Poisson process), from 100
callers over four connections. The latency of a call counts from the moment that it was meant to be sent, so what waits
because something before it took long counts as waiting (no coordinated omission). Prints JSON: latencies in seconds by
quantile, and how late the generator itself sent.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.throughput.callers import Callers
from benchmarks.throughput.framing import unframed

WARM_UP = 1.0
"""Seconds of calls that do not count."""
PATIENCE = 10.0
"""Seconds after the last call was due in which answers are waited for."""
QUANTILES = (0.5, 0.9, 0.99, 0.999)


class Load:
    """Sends calls when they are due and notes when their answers end.

    Args:
        address: host:port.
        bodies: of the requests, framed, in this order.
        wanted: bytes of a right answer's body.
        rng: throws the callers.
    """

    def __init__(self, address: str, bodies: list[bytes], wanted: int, rng: np.random.Generator) -> None:
        self._callers = Callers(address, bodies, self._ended_one, rng)
        self._wanted = wanted
        self._begin = 0.0
        self._open = 0
        self._failed = 0
        self._ended: list[float] = []
        self._sent: list[float] = []

    def run(self, due: list[float]) -> tuple[list[float], list[float], int]:
        """Sends a call at each of these seconds from now; returns when each was sent and ended (0 if it never was),
        on the same scale, and how many answers were not what they should be."""
        self._sent, self._ended, self._failed = [0.0] * len(due), [0.0] * len(due), 0
        self._begin = time.perf_counter()
        at, last = 0, due[-1] + PATIENCE
        while at < len(due) or self._open:
            now = time.perf_counter() - self._begin
            while at < len(due) and due[at] <= now:
                self._sent[at] = now
                self._open += 1
                self._callers.begin(at)
                at += 1
                now = time.perf_counter() - self._begin
            if now > last:
                break
            self._callers.wait((due[at] if at < len(due) else last) - now)
        return self._sent, self._ended, self._failed + self._open

    def _ended_one(self, number: int, size: int) -> None:
        self._ended[number] = time.perf_counter() - self._begin
        self._open -= 1
        self._failed += size != self._wanted


def main() -> None:
    """Runs it."""
    address, file, wanted, rate, seconds, seed = sys.argv[1:]
    rng = np.random.default_rng(int(seed))
    bodies = unframed(Path(file).read_bytes())
    first = int(rng.integers(len(bodies)))
    load = Load(address, bodies[first:] + bodies[:first], int(wanted), rng)

    def due(length: float) -> list[float]:
        return np.cumsum(rng.exponential(1 / float(rate), max(1, round(length * float(rate))))).tolist()  # type: ignore[no-any-return]

    load.run(due(WARM_UP))
    print("begin", flush=True)
    meant = np.array(due(float(seconds)))
    sent, ended, failed = load.run(meant.tolist())
    latencies, late = np.array(ended) - meant, np.array(sent) - meant
    found = {
        "calls": len(meant),
        "failed": failed,
        "seconds": max(ended),
        "latency": dict(zip(map(str, QUANTILES), np.quantile(latencies, QUANTILES).tolist(), strict=True)),
        "late": float(np.quantile(late, 0.99)),
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
