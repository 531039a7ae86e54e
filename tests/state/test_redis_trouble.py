"""A Redis that is killed, frozen, full, restarted empty, or does not let us in: calls are answered as configured."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.state.redis import RedisStore
from proxy.state.settings import RedisStoreSettings
from tests.redis_server import RedisServer, redis_server
from tests.state.calls import SECOND, Clock, call, limits
from tests.state.test_stores import redis_store

BUDGET = {"by": "caller", "budget": 10, "per": "lifetime"}
RATE = {"by": "caller", "rate": "10/s", "burst": 10}


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.01)


async def healed(store: RedisStore) -> None:
    await until(lambda: store.healthy)


async def test_local_limits_a_replica_while_redis_is_killed_and_back(own_redis: RedisServer) -> None:
    ready = limits(BUDGET)
    async with redis_store(own_redis, on_failure="local", replicas=2) as store:
        assert (await store.admit(call(ready, rows=6))).source == "store"
        own_redis.kill()
        away = [await store.admit(call(ready, rows=1)) for _ in range(8)]
        assert {verdict.source for verdict in away} == {"local"}
        assert [verdict.admitted for verdict in away] == [True] * 5 + [False] * 3, "half of the budget, by itself"
        own_redis.start()
        await healed(store)
        assert (await store.admit(call(ready, rows=1))).source == "store"
        assert store.stats().fallbacks["connection"] >= 1


@pytest.mark.parametrize(("mode", "admitted"), [("open", True), ("closed", False)])
async def test_open_admits_and_closed_refuses_while_redis_is_away(
    own_redis: RedisServer, mode: str, admitted: bool
) -> None:
    ready = limits(BUDGET)
    async with redis_store(own_redis, on_failure=mode) as store:
        assert not (await store.admit(call(ready, rows=11))).admitted
        own_redis.kill()
        verdict = await store.admit(call(ready, rows=11))
        assert (verdict.admitted, verdict.source) == (admitted, mode)
        assert not store.healthy
        own_redis.start()
        await healed(store)
        assert not (await store.admit(call(ready, rows=11))).admitted


async def test_under_load_no_call_fails_or_hangs_when_redis_goes_and_comes(own_redis: RedisServer) -> None:
    ready = limits({"by": "caller", "rate": "1e6/s"}, {"by": "caller", "in_flight": 1000})
    stop = asyncio.Event()
    slowest = 0.0
    sources: set[str] = set()

    async def caller(store: RedisStore, name: str) -> None:
        nonlocal slowest
        while not stop.is_set():
            started = time.perf_counter()
            verdict = await store.admit(call(ready, caller=name))
            slowest = max(slowest, time.perf_counter() - started)
            sources.add(verdict.source)
            if verdict.lease is not None:
                store.release(verdict.lease)
            await asyncio.sleep(0)

    async with redis_store(own_redis, timeout=1.0) as store:
        loads = [asyncio.create_task(caller(store, str(each))) for each in range(20)]
        await until(lambda: "store" in sources)
        own_redis.kill()
        await until(lambda: "local" in sources)
        sources.clear()
        own_redis.start()
        await until(lambda: "store" in sources)
        stop.set()
        await asyncio.gather(*loads)
    assert slowest < 2.5, "the timeout, and what a busy machine adds"


async def test_a_frozen_redis_costs_its_timeout_once(own_redis: RedisServer) -> None:
    ready = limits(RATE)
    async with redis_store(own_redis, timeout=0.2) as store:
        with own_redis.frozen():
            assert (await store.admit(call(ready))).source == "local"
            started = time.perf_counter()
            for _ in range(100):
                assert (await store.admit(call(ready, caller="b"))).source == "local"
            assert time.perf_counter() - started < 0.2, "nobody waits any more"
            assert store.stats().fallbacks["timeout"] == 1
        await healed(store)


async def test_a_flushed_script_is_sent_again(own_redis: RedisServer) -> None:
    ready = limits(RATE)
    async with redis_store(own_redis) as store:
        await store.admit(call(ready))
        loads = store.stats().script_loads
        own_redis.client().script_flush()
        assert (await store.admit(call(ready))).source == "store"
        assert store.stats().script_loads == loads + 1


@pytest.mark.parametrize("rule", [RATE, BUDGET, {"by": "caller", "in_flight": 5}], ids=["rate", "budget", "in flight"])
async def test_a_full_redis_is_a_redis_that_is_away(own_redis: RedisServer, rule: dict[str, Any]) -> None:
    """A script that has written something may go on on a full server: the first write has to be one that is refused."""
    ready = limits(rule)
    async with redis_store(own_redis) as store:
        own_redis.client().config_set("maxmemory", "1")
        assert (await store.admit(call(ready))).source == "local"
        own_redis.client().config_set("maxmemory", "0")
        await healed(store)


async def test_the_wrong_password_is_away_from_the_start(tmp_path: Path) -> None:
    with redis_server(tmp_path, password="right") as server:
        url = server.url.replace("right", "wrong")
        store = RedisStore(RedisStoreSettings(kind="redis", url=url, on_failure="closed"))
        await store.start()
        assert not store.healthy
        assert not (await store.admit(call(limits(RATE)))).admitted
        await store.close()


async def test_slots_of_a_killed_proxy_run_out(shared_redis: RedisServer) -> None:
    clock = Clock()
    ready = limits({"by": "caller", "in_flight": 1})
    async with redis_store(shared_redis, clock, namespace="killed", lease=10) as survivor:
        killed = RedisStore(RedisStoreSettings(kind="redis", url=shared_redis.url, namespace="killed", lease=10), clock)
        assert (await killed.admit(call(ready))).admitted
        await killed.close()  # without giving its slot back, as a crash would
        assert not (await survivor.admit(call(ready))).admitted
        clock.now += 11 * SECOND
        assert (await survivor.admit(call(ready))).admitted


async def test_a_long_call_keeps_its_slot(shared_redis: RedisServer) -> None:
    clock = Clock()
    ready = limits({"by": "caller", "in_flight": 1})
    async with redis_store(shared_redis, clock, lease=10) as store:
        held = await store.admit(call(ready))
        for _ in range(5):
            clock.now += 6 * SECOND
            await store._renew_leases([held.lease] if held.lease else [])
        assert not (await store.admit(call(ready))).admitted


async def test_unix_sockets_work(shared_redis: RedisServer) -> None:
    store = RedisStore(RedisStoreSettings(kind="redis", url=shared_redis.socket_url, namespace="unix"))
    await store.start()
    assert store.healthy
    await store.close()
