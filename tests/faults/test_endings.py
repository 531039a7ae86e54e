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
    """Two proxies, each on a port that stays its own, or as workers on one."""

    def __init__(self, folder: Path, upstream: str, one_port: bool = False, **settings: Any) -> None:
        self.ports = [free_port()] * 2 if one_port else [free_port(), free_port()]
        self._one_port = one_port
        self._folder = folder
        self._upstream = upstream
        self._settings = settings
        self._stack = ExitStack()
        self.proxies: list[Proxy] = [self.start(at) for at in range(2)]

    @property
    def address(self) -> str:
        """Of both, as a client names several."""
        return "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in dict.fromkeys(self.ports))

    def start(self, at: int) -> Proxy:
        """Starts one, or starts it again."""
        folder = self._folder / str(at)
        folder.mkdir(exist_ok=True)
        listen = {"grpc": f"127.0.0.1:{self.ports[at]}", "share_port": self._one_port}
        return self._stack.enter_context(serving_proxy(folder, self._upstream, listen=listen, **self._settings))

    def kill(self, at: int) -> None:
        """SIGKILL, to all that belongs to it."""
        process = self.proxies[at].process.process
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.returncode = 0  # it was this test that ended it

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
            pair.kill(0)
            server.behaviour = echo
            release.set()
            load.until(50)
            load.end()
        assert set(load.codes) == {"OK"}
        settles(second, before)
        until(lambda: _slots(redis) == 0, "no slot held by the dead")
        pair.close()


@pytest.mark.timeout(300)
def test_workers_on_one_port_are_killed_and_restarted_under_load_and_fail_no_call(
    tmp_path: Path, redis: RedisServer
) -> None:
    """Each client knows the one address; the kernel gives its new connection to who listens. All count together."""
    limits = [
        {"name": "all", "by": "global", "unit": "calls", "budget": 1_000_000, "per": "lifetime"},
        {"name": "held", "by": "global", "in_flight": 100},
    ]
    settings = {"store": {"kind": "redis", "url": redis.url, "lease": 2, "timeout": 5}, "limits": limits}
    with ModelServer() as server:
        pair = Pair(tmp_path, server.address, one_port=True, shutdown={"settle": 0.5, "drain": 10}, **settings)
        with Load([pair.address], callers=16, deadline=30, options=OPTIONS) as load:
            until(lambda: min(map(_calls, pair.proxies)) > 0, "shared")  # all to one would be chance once in 2**15
            pair.kill(0)
            load.until(100)
            pair.proxies[0] = pair.start(0)
            pair.proxies[1].process.process.send_signal(signal.SIGTERM)
            assert pair.proxies[1].process.process.wait(30) == 0
            until(lambda: _calls(pair.proxies[0]) > 0, "used again")
            load.until(100)
            load.end()
        assert set(load.codes) == {"OK"}
        until(lambda: _slots(redis) == 0, "no slot held")
        with redis.client() as client:
            counted = sum(int(client.get(key) or 0) for key in client.keys("{tensorwall}:lifetime/all/*"))
        assert counted >= sum(load.codes.values()), "calls of the dead are counted too, those tried again twice"
        assert counted <= sum(load.codes.values()) + 2 * 16
        pair.close()


def _slots(redis: RedisServer) -> int:
    """That have not run out; a renewal or a look at the limit would clear those, but here nobody calls any more."""
    with redis.client() as client:
        now = client.time()[0] * 1000
        return sum(client.zcount(key, now, "+inf") for key in client.keys("{tensorwall}:slots/*"))
