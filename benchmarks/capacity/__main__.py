"""Processor time, memory and Redis operations against batch size, row size and number of callers; workers on one port.

    python -m benchmarks.capacity [--parts sizes,callers,redis,workers] [--out build/capacity.json]

Processor time is the least of many rounds, or of the process alone, so that what else the machine does moves it little.
What the detectors take against the length of their history: `python -m benchmarks.detection_cost.memory`. Linux only
(memory is read from /proc); `redis` and `workers` start a redis-server;
`workers` needs h2load.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from benchmarks.capacity.workers import workers
from benchmarks.detection_cost.traffic import CLASSES, Load, fill, natural, predict
from benchmarks.throughput.path import measured
from benchmarks.throughput.payloads import Payload
from detectors.features import Extractor
from protos import serving_pb2 as serving
from proxy.config.schema import Config
from proxy.identity import Caller
from proxy.limiter import Limiter
from proxy.metrics import LimitMetrics
from proxy.state.memory import MemoryStore
from tests.calls import call, open_channel
from tests.e2e.model_server import PREDICT, ModelServer
from tests.fuzz.process import resident_bytes
from tests.processes import serving_proxy
from tests.redis_server import redis_server

IMAGE = (28, 28, 1)
SIZES: tuple[tuple[int, tuple[int, ...]], ...] = (
    *((rows, IMAGE) for rows in (1, 8, 32, 128, 512)),
    *((1, shape) for shape in ((10,), (64, 64, 3), (224, 224, 3))),
)
"""Rows a call, and shape of a row."""
DISTINCT = 50
CALLERS = (10_000, 100_000, 1_000_000)
LAST = 5_000
"""Calls whose cost is taken."""
LIMITS = [
    {"by": "caller", "rate": "1000/s"},
    {"by": "caller", "budget": 1_000_000, "per": "day"},
    {"by": "caller", "in_flight": 100},
]
CALLS = 300
BODY = predict("m", np.zeros((1, 4), np.float32))


def sizes() -> list[dict[str, Any]]:
    """Microseconds of a call on the path, by rows a call and by shape of a row; and of its features, beside it."""
    with tempfile.TemporaryDirectory() as folder:
        return [_size(rows, shape, Path(folder)) for rows, shape in SIZES]


def _size(rows: int, shape: tuple[int, ...], folder: Path) -> dict[str, Any]:
    load, rng = Load("image", rows, shape), np.random.default_rng(0)
    asked = [natural(load, rows, rng) for _ in range(DISTINCT)]
    payload = Payload("image", rows, [predict("image", each) for each in asked], _reply(rows))
    costs = {}
    for name in ("off", "limits", "default"):
        own = Path(tempfile.mkdtemp(dir=folder))  # the profile is kept beside it
        costs[name] = 1e6 * asyncio.run(measured(name, payload, own, None))
    extractor = Extractor(bytes(16))
    features = _least(lambda: [extractor({"x": each}, rows) for each in asked[:5]]) / 5
    return {"rows": rows, "shape": shape, "bytes": asked[0].nbytes, **costs, "features": 1e6 * features}


def callers() -> list[dict[str, Any]]:
    """Memory of three limits in memory for each of so many callers, and microseconds of a decision then."""
    config = Config.model_validate({"upstream": "127.0.0.1:1", "limits": LIMITS})
    store = MemoryStore(max_keys=CALLERS[-1])
    limiter = Limiter(config.limits, lambda: store, LimitMetrics(CollectorRegistry(), str, store.stats))
    found, before, done = [], resident_bytes(0), 0
    for most in CALLERS:
        asyncio.run(_decide(limiter, range(done, most - LAST)))
        began = time.thread_time()
        asyncio.run(_decide(limiter, range(most - LAST, most)))
        cost = (time.thread_time() - began) / LAST
        done = most
        held = resident_bytes(0) - before
        found.append({"callers": most, "microseconds": 1e6 * cost, "megabytes_for_10000": held / most * 1e4 / 1e6})
    return found


async def _decide(limiter: Limiter, numbers: range) -> None:
    for at in numbers:
        address = f"10.{at >> 16}.{at >> 8 & 255}.{at & 255}"
        caller = Caller(f"peer:{address}", "peer", f"network:10.{at >> 16}.0.0/16", None, address)
        give_back = await limiter.admit(caller, "m", 1, 3000)
        give_back()


def redis() -> list[dict[str, Any]]:
    """Commands and round trips a call, by limits and by calls in flight."""
    found = []
    with tempfile.TemporaryDirectory() as folder, ModelServer() as server, redis_server(Path(folder)) as store:
        for limits in (LIMITS[:1], LIMITS):
            settings = {"store": {"kind": "redis", "url": store.url, "timeout": 5}, "limits": limits}
            with serving_proxy(Path(folder), server.address, **settings) as proxy:
                for in_flight in (1, 32):
                    with open_channel(proxy.address) as channel, ThreadPoolExecutor(in_flight) as threads:
                        call(channel, PREDICT, BODY)
                        before = _commands(store)
                        ended = list(threads.map(lambda _: call(channel, PREDICT, BODY).code.name, range(CALLS)))
                        after = _commands(store)
                    assert set(ended) == {"OK"}, ended
                    done = {name: (after[name] - before.get(name, 0)) / CALLS for name in after}
                    sent = {name: count for name, count in done.items() if name in ("evalsha", "eval")}
                    found.append({"limits": len(limits), "in_flight": in_flight, "sent": sent, "all": done})
    return found


def _commands(store: Any) -> dict[str, int]:
    """By name; those that a script makes are counted by Redis too."""
    with store.client() as client:
        return {name.partition("_")[2]: int(each["calls"]) for name, each in client.info("commandstats").items()}


def _reply(rows: int) -> bytes:
    reply = serving.PredictResponse(model_spec=serving.ModelSpec(name="image"))
    fill(reply.outputs["probabilities"], np.random.default_rng(0).dirichlet(np.full(CLASSES, 0.3), rows))
    return reply.SerializeToString()


def _least(work: Callable[[], object], rounds: int = 10) -> float:
    least = float("inf")
    for _ in range(rounds):
        began = time.thread_time()
        work()
        least = min(least, time.thread_time() - began)
    return least


PARTS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "sizes": sizes,
    "callers": callers,
    "redis": redis,
    "workers": workers,
}


def main() -> int:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="which")
    parser.add_argument("--out", type=Path, default=Path("build/capacity.json"))
    arguments = parser.parse_args()
    found = {}
    for part in arguments.parts.split(","):
        found[part] = PARTS[part]()
        print(f"\n{part}")
        for row in found[part]:
            print(
                json.dumps({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()})
            )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
