"""Proxies that end as rollouts and crashes end them, behind a client as gRPC means clients to be.

It knows several addresses, and tries again what was refused (gRPC proposal A6).
"""

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.e2e.model_server import ModelServer, echo
from tests.faults.seen import Load, State, figure, settles, until
from tests.processes import Proxy, free_port, serving_proxy
from tests.redis_server import RedisServer, redis_server

RETRYING = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "0.5s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
    }
)
OPTIONS: list[tuple[str, str | int]] = [("grpc.service_config", RETRYING), ("grpc.max_reconnect_backoff_ms", 500)]


class Pair:
    """Two proxies, each on a port that stays its own."""

    def __init__(self, folder: Path, upstream: str, **settings: Any) -> None:
        self.ports = [free_port(), free_port()]
        self._folder = folder
        self._upstream = upstream
        self._settings = settings
        self._stack = ExitStack()
        self.proxies: list[Proxy] = [self.start(at) for at in range(2)]

    @property
    def address(self) -> str:
        """Of both, as a client names several."""
        return "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def start(self, at: int) -> Proxy:
        """Starts one, or starts it again."""
        folder = self._folder / str(at)
        folder.mkdir(exist_ok=True)
        listen = {"grpc": f"127.0.0.1:{self.ports[at]}"}
        return self._stack.enter_context(serving_proxy(folder, self._upstream, listen=listen, **self._settings))

    def close(self) -> None:
        self._stack.close()


def test_a_rolling_restart_under_load_fails_no_call(tmp_path: Path) -> None:
    with ModelServer() as server:
        pair = Pair(tmp_path, server.address, shutdown={"settle": 0.5, "drain": 10})
        with Load([pair.address], callers=8, deadline=20, options=OPTIONS) as load:
            for at in range(2):
                load.until(50)
                pair.proxies[at].process.process.send_signal(signal.SIGTERM)
                load.until(50)
                assert pair.proxies[at].process.process.wait(30) == 0
                pair.proxies[at] = pair.start(at)
                until(lambda at=at: _calls(pair.proxies[at]) > 0, "used again")  # type: ignore[misc]
            load.end()
        assert set(load.codes) == {"OK"}
        pair.close()


def _calls(proxy: Proxy) -> float:
    return figure(proxy, "tensorwall_calls_total", code="OK", method="Predict")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


def test_a_killed_proxy_costs_no_call_and_takes_no_slot_with_it(tmp_path: Path, redis: RedisServer) -> None:
    """Calls that it had are tried again at the other, within their deadline; its slots run out with its leases."""
    release = threading.Event()

    def held(body: bytes, context: grpc.ServicerContext) -> bytes:
        release.wait(20)
        return body

    store = {"kind": "redis", "url": redis.url, "lease": 2}
    limits = [{"name": "held", "by": "global", "in_flight": 100}]
    with ModelServer() as server:
        pair = Pair(tmp_path, server.address, store=store, limits=limits)
        first, second = pair.proxies
        with Load([pair.address], callers=8, deadline=30, options=OPTIONS) as load:
            load.until(50)
            before = State.of(second)
            server.behaviour = held
            until(lambda: figure(first, "tensorwall_store_leases") >= 2, "holding calls")
            os.killpg(first.process.process.pid, signal.SIGKILL)
            first.process.process.wait()
            server.behaviour = echo
            release.set()
            load.until(50)
            load.end()
        assert set(load.codes) == {"OK"}
        settles(second, before)
        with redis.client() as client:
            # A renewal or a look at the limit clears what has run out; here nobody calls any more, so look as it does.
            def slots() -> int:
                now = client.time()[0] * 1000
                return sum(client.zcount(key, now, "+inf") for key in client.keys("{tensorwall}:slots/*"))

            until(lambda: slots() == 0, "no slot held by the dead")
        first.process.process.returncode = 0  # it was this test that ended it
        pair.close()
