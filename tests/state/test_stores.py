"""Both stores decide as the limits' plain meaning says, in one step, and never let more through than configured."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.limits import Verdict
from proxy.state import MemoryStore, MemoryStoreSettings, RedisStoreSettings, Store, open_store
from proxy.state.redis import RedisStore
from tests.redis_server import RedisServer
from tests.state.calls import DAY, SECOND, Clock, Plain, call, limits

RULES: list[dict[str, Any]] = [
    {"by": "caller", "rate": "7/s", "burst": 20, "name": "rate"},
    {"by": "caller_model", "budget": 60, "per": "day", "name": "day"},
    {"by": "global", "budget": 400, "per": "lifetime", "name": "ever"},
    {"by": "model", "in_flight": 3, "name": "flight"},
    {"by": "tier", "rate": "1000/s", "unit": "bytes", "burst": 900, "mode": "shadow", "name": "bytes"},
    {"by": "prefix", "rate": "30/m", "unit": "calls", "burst": 15, "percent": 50, "name": "calls"},
]
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, SECOND // 7, SECOND, 20 * SECOND, DAY]),
        st.sampled_from("abcd"),
        st.integers(0, 25),
        st.booleans(),
    ),
    max_size=60,
)
namespaces = itertools.count()


@asynccontextmanager
async def redis_store(server: RedisServer, clock: Clock | None = None, **more: Any) -> AsyncIterator[RedisStore]:
    namespace = more.pop("namespace", f"test{next(namespaces)}")
    store = RedisStore(RedisStoreSettings(kind="redis", url=server.url, namespace=namespace, **more), clock)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


async def played(store: Store, clock: Clock, steps: list[tuple[int, str, int, bool]]) -> list[tuple[bool, list[int]]]:
    """Plays a sequence of calls, some of which end at once; checks each verdict against the plain meaning."""
    ready, plain = limits(*RULES), Plain()
    said: list[tuple[bool, list[int]]] = []
    for wait, caller, rows, ends in steps:
        clock.now += wait
        descriptors = call(ready, caller=caller, rows=rows)
        used = [plain.used(each, clock.now) for each in descriptors]
        verdict = await store.admit(descriptors)
        assert list(verdict.used) == used
        assert verdict.admitted == plain.admit(descriptors, clock.now)
        if verdict.lease is not None and ends:
            plain.release(descriptors, verdict.lease.keys)
            store.release(verdict.lease)
            await settled(store)
        said.append((verdict.admitted, used))
    return said


async def settled(store: Store) -> None:
    """Waits until the slots that were given back are back; Redis has them by a task of its own."""
    if isinstance(store, RedisStore):
        async with asyncio.timeout(5):
            while store._keeper._released:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0)


@given(STEPS)
@settings(deadline=None, max_examples=150)
def test_memory_decides_as_the_limits_mean(steps: list[tuple[int, str, int, bool]]) -> None:
    clock = Clock()
    asyncio.run(played(MemoryStore(clock=clock), clock, steps))


@given(STEPS)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_redis_decides_as_the_limits_mean(shared_redis: RedisServer, steps: list[tuple[int, str, int, bool]]) -> None:
    async def scenario() -> None:
        clock = Clock()
        async with redis_store(shared_redis, clock, lease=3600) as store:
            # Slots last as long as their lease: a day's wait would end them.
            await played(store, clock, [(min(wait, 20 * SECOND), *rest) for wait, *rest in steps])  # type: ignore[misc]

    asyncio.run(scenario())


async def admitted_rows(stores: list[Store], clock: Clock, seconds: int, callers: int) -> int:
    """Rows that pass in so many simulated seconds, when callers ask at once, all the time, of all stores."""
    ready = limits({"by": "global", "rate": "1000/s", "burst": 100})
    rows = 0
    for _ in range(seconds * 20):
        clock.now += SECOND // 20
        asked = [
            stores[each % len(stores)].admit(call(ready, caller=str(each), rows=1 + each % 7))
            for each in range(callers)
        ]
        verdicts: list[Verdict] = await asyncio.gather(*asked)
        rows += sum(verdict.descriptors[0].cost for verdict in verdicts if verdict.admitted)
    return rows


async def test_many_callers_in_memory_get_the_configured_rate() -> None:
    clock = Clock()
    rows = await admitted_rows([MemoryStore(clock=clock)], clock, seconds=60, callers=40)
    assert rows == pytest.approx(60 * 1000 + 100, rel=0.01)


async def test_two_proxies_on_one_redis_get_the_configured_rate_together(shared_redis: RedisServer) -> None:
    clock = Clock()
    async with (
        redis_store(shared_redis, clock, namespace="pair", timeout=5) as one,
        redis_store(shared_redis, clock, namespace="pair", timeout=5) as two,
    ):
        rows = await admitted_rows([one, two], clock, seconds=15, callers=40)
        assert one.healthy
        assert two.healthy
    assert rows == pytest.approx(15 * 1000 + 100, rel=0.01)


@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_a_refused_call_is_charged_to_no_limit(kind: str, shared_redis: RedisServer) -> None:
    clock = Clock()
    async with redis_store(shared_redis, clock) as shared:
        store: Store = MemoryStore(clock=clock) if kind == "memory" else shared
        wide = {"by": "caller", "rate": "100/s", "burst": 100, "name": "wide"}
        narrow = {"by": "caller", "budget": 10, "per": "lifetime", "name": "narrow"}
        slots = {"by": "caller", "in_flight": 5, "name": "slots"}
        refused = await store.admit(call(limits(wide, narrow, slots), rows=11))
        assert not refused.admitted
        assert refused.lease is None
        after = await store.admit(call(limits(wide, narrow, slots), rows=10))
        assert list(after.used) == [0, 0, 0]
        assert after.admitted


@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_a_limit_in_shadow_refuses_nobody_and_is_reported(kind: str, shared_redis: RedisServer) -> None:
    clock = Clock()
    async with redis_store(shared_redis, clock) as shared:
        store: Store = MemoryStore(clock=clock) if kind == "memory" else shared
        ready = limits({"by": "caller", "budget": 10, "per": "day", "mode": "shadow"})
        assert [each.limit.name for each in (await store.admit(call(ready, rows=8))).near()] == ["caller_rows_daily"]
        verdict = await store.admit(call(ready, rows=8))
        assert verdict.admitted
        assert [each.limit.name for each in verdict.over()] == ["caller_rows_daily"]


@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_slots_come_back(kind: str, shared_redis: RedisServer) -> None:
    clock = Clock()
    async with redis_store(shared_redis, clock) as shared:
        store: Store = MemoryStore(clock=clock) if kind == "memory" else shared
        ready = limits({"by": "caller", "in_flight": 2})
        first, second = await store.admit(call(ready)), await store.admit(call(ready))
        third = await store.admit(call(ready))
        assert (first.admitted, second.admitted, third.admitted) == (True, True, False)
        assert first.lease is not None
        store.release(first.lease)
        store.release(first.lease)  # twice does no harm
        await settled(store)
        assert (await store.admit(call(ready))).admitted
        assert not (await store.admit(call(ready))).admitted


@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_a_clock_that_goes_back_locks_nobody_out(kind: str, shared_redis: RedisServer) -> None:
    clock = Clock()
    async with redis_store(shared_redis, clock) as shared:
        store: Store = MemoryStore(clock=clock) if kind == "memory" else shared
        ready = limits({"by": "caller", "rate": "10/s", "burst": 10})
        assert (await store.admit(call(ready, rows=10))).admitted
        clock.now -= 3600 * SECOND
        assert not (await store.admit(call(ready))).admitted
        clock.now += SECOND
        assert (await store.admit(call(ready, rows=10))).admitted


async def test_in_memory_a_rate_does_not_notice_that_the_clock_was_set() -> None:
    clock, steady = Clock(), Clock()
    store = MemoryStore(clock=clock, steady=steady)
    ready = limits({"by": "caller", "rate": "10/s", "burst": 10})
    for jump in (0, -3600, 7200, -86_400):
        clock.now += jump * SECOND
        assert (await store.admit(call(ready, rows=10))).admitted
        assert not (await store.admit(call(ready))).admitted
        steady.now += SECOND


async def test_the_memory_store_is_bounded_and_says_what_it_forgot() -> None:
    store = MemoryStore(max_keys=1000, clock=Clock())
    ready = limits(
        {"by": "caller", "rate": "1/m", "burst": 5}, {"by": "caller", "budget": 100, "per": "lifetime", "name": "ever"}
    )
    for caller in range(3000):
        await store.admit(call(ready, caller=str(caller)))
    stats = store.stats()
    assert stats.keys["backlog"] <= 1000
    assert stats.keys["lifetime"] <= 1000
    assert stats.evictions["backlog"] >= 2000
    assert stats.evictions["lifetime"] >= 2000


async def test_a_spent_budget_is_not_won_back_by_a_flood_of_identities() -> None:
    store = MemoryStore(max_keys=1000, clock=Clock())
    ready = limits({"by": "caller", "budget": 100, "per": "lifetime"})
    assert (await store.admit(call(ready, caller="thief", rows=100))).admitted
    for caller in range(5000):
        await store.admit(call(ready, caller=str(caller), rows=1))
    assert not (await store.admit(call(ready, caller="thief", rows=1))).admitted


async def test_the_store_that_the_settings_ask_for(shared_redis: RedisServer) -> None:
    assert isinstance(await open_store(MemoryStoreSettings()), MemoryStore)
    health: list[bool] = []
    times: list[float] = []
    store = await open_store(RedisStoreSettings(kind="redis", url=shared_redis.url), times.append, health.append)
    assert isinstance(store, RedisStore)
    await store.admit(call(limits({"by": "caller", "rate": "1/s"})))
    await store.close()
    assert len(times) == 1
    assert health == []
