"""Callers in a process of their own: so many calls in flight, for so long.

    python -m benchmarks.detection_cost.load ADDRESS REQUESTS REPLY_BYTES SECONDS SEED

REQUESTS is a file of requests, each with its prefix, which are sent one after the other. Prints `begin` once it is
warm, and at the end the calls that were answered meanwhile, the seconds, and how many of the answers were not what they
should be.
"""

import itertools
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.throughput.callers import Callers
from benchmarks.throughput.framing import unframed

IN_FLIGHT = 16
WARM_UP = 1.0
"""Seconds before the calls count."""
PATIENCE = 10.0
"""Seconds for the last answers."""


class Load:
    """Begins a call whenever another has ended.

    Args:
        address: host:port.
        bodies: of the requests, framed.
        wanted: bytes of a right answer's body.
        rng: throws the callers, and the request that is the first.
    """

    def __init__(self, address: str, bodies: list[bytes], wanted: int, rng: np.random.Generator) -> None:
        first = int(rng.integers(len(bodies)))
        self._callers = Callers(address, bodies[first:] + bodies[:first], self._ended, rng)
        self._wanted = wanted
        self._numbers = itertools.count()
        self._open = self._answered = self._failed = 0

    def run(self, seconds: float) -> tuple[int, float, int]:
        """Calls that were answered, the seconds that it took, and calls that failed; what is open then goes on."""
        began, before = time.perf_counter(), (self._answered, self._failed)
        while (now := time.perf_counter() - began) < seconds:
            while self._open < IN_FLIGHT:
                self._open += 1
                self._callers.begin(next(self._numbers))
            self._callers.wait(seconds - now)
        return self._answered - before[0], now, self._failed - before[1]

    def end(self) -> int:
        """Waits for the last answers; returns how many failed or never came."""
        before, last = self._failed, time.perf_counter() + PATIENCE
        while self._open and time.perf_counter() < last:
            self._callers.wait(0.1)
        return self._failed - before + self._open

    def _ended(self, _: int, size: int) -> None:
        self._open -= 1
        self._answered += 1
        self._failed += size != self._wanted


def main() -> None:
    """Runs it."""
    address, file, wanted, seconds, seed = sys.argv[1:]
    load = Load(address, unframed(Path(file).read_bytes()), int(wanted), np.random.default_rng(int(seed)))
    _, _, failed = load.run(WARM_UP)
    print("begin", flush=True)
    answered, took, more = load.run(float(seconds))
    print(answered, took, failed + more + load.end(), flush=True)


if __name__ == "__main__":
    main()
