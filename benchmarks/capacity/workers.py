"""Proxies on one port, with limits in Redis: calls a second, and processor time a call, of one, two and four."""

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.throughput import closedloop, contenders, payloads
from benchmarks.throughput.payloads import Payload
from benchmarks.throughput.processes import cpu_seconds, family, free_port
from benchmarks.throughput.upstream import standing_in
from tests.processes import serving_proxy
from tests.redis_server import redis_server

WORKERS = (1, 2, 4)
CONNECTIONS = 32
"""The kernel gives each to one of the workers by chance; with few, one worker gets most."""
TURNS = 5
SECONDS = 2.0
PAYLOAD = "image"


@dataclass(frozen=True, slots=True)
class Fleet:
    """Workers that share an address."""

    address: str
    pids: tuple[int, ...]

    def cpu(self) -> float:
        """Seconds, of all of them and what they started."""
        return sum(cpu_seconds(family(pid)) for pid in self.pids)


def workers() -> list[dict[str, Any]]:
    """Medians over turns of all fleets, which run at the same time, of the load as `make bench` sends it."""
    payload = payloads.payload(PAYLOAD)
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        folder = Path(made)
        upstream, store = stack.enter_context(standing_in(folder, payload)), stack.enter_context(redis_server(folder))
        fleets = {size: stack.enter_context(_fleet(size, folder / str(size), upstream, store.url)) for size in WORKERS}
        body = folder / "body"
        for fleet in fleets.values():
            closedloop.warm_up(fleet.address, payload, body, SECONDS)
        turns = [
            {size: _turn(fleet, payload, body) for size, fleet in list(fleets.items())[:: 1 if turn % 2 else -1]}
            for turn in range(TURNS)
        ]
    return [
        {
            "workers": size,
            "calls_per_second": statistics.median(turn[size][0] for turn in turns),
            "times_one": statistics.median(turn[size][0] / turn[1][0] for turn in turns),
            "microseconds_of_cpu": statistics.median(1e6 * turn[size][1] for turn in turns),
        }
        for size in WORKERS
    ]


def _turn(fleet: Fleet, payload: Payload, body: Path) -> tuple[float, float]:
    """Calls a second, and seconds of processor time a call."""
    few = closedloop.drive(fleet.address, payload, body, 500, CONNECTIONS)
    before = fleet.cpu()
    done = closedloop.drive(fleet.address, payload, body, round(SECONDS * few.calls / few.seconds), CONNECTIONS)
    return done.calls / done.seconds, (fleet.cpu() - before) / done.calls


@contextmanager
def _fleet(size: int, folder: Path, upstream: str, redis: str) -> Iterator[Fleet]:
    settings = {
        "listen": {"grpc": f"127.0.0.1:{free_port()}", "share_port": True},
        "identity": {"order": ["forwarded_for", "peer"]},
        "store": {"kind": "redis", "url": redis},
        **contenders.settings("limits", PAYLOAD, folder),
    }
    with ExitStack() as stack:
        proxies = []
        for each in range(size):
            own = folder / str(each)
            own.mkdir(parents=True)
            proxies.append(stack.enter_context(serving_proxy(own, upstream, **settings)))
        yield Fleet(proxies[0].address, tuple(proxy.process.process.pid for proxy in proxies))
