"""The shared log on a real Redis: one order for all, bounded in rows, and honest about what it lost."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.state import RedisStoreSettings
from proxy.state.log import KEPT_ROWS, PAGE_ENTRIES, PAGE_ROWS, LogAwayError, Record
from proxy.state.redis_log import RedisLog
from tests.processes import free_port
from tests.redis_server import RedisServer, redis_server

names = itertools.count()


@asynccontextmanager
async def logs(server: RedisServer, number: int = 1, namespace: str = "test") -> AsyncIterator[list[RedisLog]]:
    made = RedisStoreSettings(kind="redis", url=server.url, namespace=namespace)
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(number):
            found.append(RedisLog(made, lambda good: None, lambda seconds: None))
            stack.push_async_callback(found[-1].close)
        yield found


def fresh() -> str:
    return f"model {next(names)} {{odd}} %"


class Reader:
    """Reads and writes as a proxy does."""

    def __init__(self, log: RedisLog, name: str, origin: str) -> None:
        self.log, self.name, self.origin = log, name, origin
        self.epoch, self.last, self.seq = "", 0, 0
        self.read: list[tuple[str, int, int]] = []
        self.payloads: list[tuple[str, bytes]] = []

    async def step(self, *rows: int) -> int:
        records = []
        for count in rows:
            self.seq += 1
            records.append(Record(self.seq, "rows", count, "m", f"{self.origin}{self.seq}".encode()))
        page = await self.log.exchange(self.name, self.origin, self.epoch, self.last, records)
        self.epoch = page.epoch
        for entry in page.entries:
            self.last = entry.end
            self.read.append((entry.origin, entry.seq, entry.end))
            self.payloads.append((entry.origin, entry.payload))
        return len(page.entries)

    async def rest(self) -> None:
        while await self.step():
            pass


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(1, 600), max_size=3)), max_size=30))
async def test_all_read_the_same_in_the_same_order(
    shared_redis: RedisServer, steps: list[tuple[int, list[int]]]
) -> None:
    async with logs(shared_redis, 3) as stores:
        name = fresh()
        readers = [Reader(store, name, "abc"[at]) for at, store in enumerate(stores)]
        for at, rows in steps:
            await readers[at].step(*rows)
        for reader in readers:
            await reader.rest()
            assert reader.read == readers[0].read
            for origin, payload in reader.payloads:
                assert (payload == b"") == (origin == reader.origin), "one's own comes back without what it had"
        sent = [rows for _, each in steps for rows in each]
        ends = [end for _, _, end in readers[0].read]
        assert len(ends) == len(sent)
        assert ends == sorted(ends)
        assert (ends or [0])[-1] == sum(sent)


async def test_it_keeps_so_many_rows_and_a_late_reader_knows_what_it_missed(shared_redis: RedisServer) -> None:
    async with logs(shared_redis) as (store,):
        name = fresh()
        writer, late = Reader(store, name, "w"), Reader(store, name, "late")
        await writer.step(1000)
        await late.rest()
        for _ in range(30):
            await writer.step(4000)
        page = await store.exchange(name, "late", late.epoch, late.last, ())
        first = page.entries[0]
        assert page.total == 121_000
        assert page.total - KEPT_ROWS <= first.end <= page.total - KEPT_ROWS + 4000
        assert first.end - first.rows - late.last > 0, "the gap"


async def test_an_answer_is_bounded(shared_redis: RedisServer) -> None:
    async with logs(shared_redis) as (store,):
        name = fresh()
        writer = Reader(store, name, "w")
        for _ in range(40):
            await writer.step(1)
        assert len((await store.exchange(name, "r", "", 0, ())).entries) == PAGE_ENTRIES
        for _ in range(4):
            await writer.step(PAGE_ROWS - 1)
        large = await store.exchange(name, "r", writer.epoch, 40, ())
        assert [entry.rows for entry in large.entries] == [PAGE_ROWS - 1] * 2


async def test_a_log_that_was_lost_begins_anew_for_everybody(own_redis: RedisServer) -> None:
    async with logs(own_redis) as (store,):
        one, other = Reader(store, "m", "one"), Reader(store, "m", "other")
        await one.step(5000)
        await other.rest()
        with own_redis.client() as client:
            client.flushall()
            before = one.epoch
            await one.step(10)
            await other.rest()
            assert one.epoch == other.epoch != before
            assert one.read[-1] == other.read[-1] == ("one", 2, 10)
            client.delete("{test:m}:head")  # half of it, as a server that evicts may do
            await one.step(7)
            await other.rest()
            assert one.read[-1] == other.read[-1] == ("one", 3, 7)
            client.hset("{test:m}:head", "rows", 2)  # as from a backup
            await one.step(1)
            await other.rest()
            assert one.read[-1] == other.read[-1] == ("one", 4, 1)


async def test_reading_what_is_not_there_writes_nothing(own_redis: RedisServer) -> None:
    async with logs(own_redis) as (store,):
        assert await Reader(store, "m", "r").step() == 0
        with own_redis.client() as client:
            assert client.keys() == []
            await Reader(store, "m", "r").step(3)
            assert {key: 0 < client.ttl(key) <= 86_400 for key in client.scan_iter()} == {
                "{test:m}:log": True,
                "{test:m}:head": True,
            }


async def test_away_is_told_and_ends(own_redis: RedisServer) -> None:
    told: list[bool] = []
    made = RedisStoreSettings(kind="redis", url=own_redis.url)
    store = RedisLog(made, told.append, lambda seconds: None)
    await Reader(store, "m", "r").step(3)
    own_redis.kill()
    with pytest.raises(LogAwayError):
        await Reader(store, "m", "r").step(3)
    assert (store.good, told) == (False, [False])
    own_redis.start()
    async with asyncio.timeout(10):
        while not store.good:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.01)
    assert told == [False, True]
    with own_redis.client() as client:
        client.config_set("maxmemory", "1")  # answers, and cannot be written to
        with pytest.raises(LogAwayError):
            await Reader(store, "m", "r").step(3)
        client.config_set("maxmemory", "0")
    await store.close()


async def test_facts_are_kept_until_they_run_out(own_redis: RedisServer) -> None:
    async with logs(own_redis) as (store,):
        await store.keep("m", {"a": b"1", "b": b"\xff"}, (), 90)
        await store.keep("m", {"c": b"3"}, ("a", "never"), 60)
        assert await store.kept("m") == {"b": b"\xff", "c": b"3"}
        assert await store.kept("other") == {}
        await store.keep("ever", {"c": b"3"}, (), None)
        with own_redis.client() as client:
            assert 50 < client.ttl("{test:m}:facts") <= 60
            assert client.ttl("{test:ever}:facts") == -1


async def test_it_works_on_a_cluster(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--cluster-enabled", "yes", "--cluster-port", str(free_port())) as server:
        with server.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            async with asyncio.timeout(20):
                while "cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        made = RedisStoreSettings(kind="redis", url=server.url.removesuffix("/0"), cluster=True)
        log = RedisLog(made, lambda good: None, lambda seconds: None)
        one, other = Reader(log, "m", "one"), Reader(log, "m", "other")
        await one.step(5, 6)
        await other.rest()
        assert other.read == [("one", 1, 5), ("one", 2, 11)]
        await log.keep("m", {"a": b"1", "b": b"2"}, ("c",), 60)
        await log.keep("m", {}, ("a",), 60)
        assert await log.kept("m") == {"b": b"2"}
        assert log.good
        await log.close()
