"""Several processes' feeds on one real Redis: one order, the same findings of the built-in detectors, all bounded."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from detectors.observation import Observation
from detectors.profile import Profile
from proxy.codec import PREDICT
from proxy.config.detection import Detection as Settings
from proxy.detection.feed import Feed
from proxy.detection.log import Batch, Entry
from proxy.detection.sightings import Sighting
from proxy.detection.stream import MAX_UNSENT_ROWS, Stream
from proxy.detection.watched import Remote, Watched
from proxy.detection.wire import encode
from proxy.metrics.detection import DetectionMetrics
from proxy.policy import Policy, Verdict
from proxy.state import RedisStoreSettings
from proxy.state.log import Entry as Read
from proxy.state.log import LogAwayError, Page, Record
from proxy.state.redis_log import RedisLog
from proxy.state.tasks import ended
from tests.detectors.made import SALT, natural, observed, walk
from tests.processes import START_SECONDS
from tests.redis_server import RedisServer, redis_server

NOW = time.time()
"""The server keeps the time of the log, so that there is no simulated one."""
namespaces = itertools.count()


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


class Process:
    """What one proxy has of it."""

    def __init__(self, watched: Watched, store: RedisLog | None) -> None:
        self.registry = CollectorRegistry()
        self.told: list[tuple[str, str]] = []
        self.actions: list[tuple[Any, str]] = []
        self.policy = Policy(self._reached)
        self.policy.configure({watched.name: watched.settings})
        metrics = DetectionMetrics(self.registry)
        models = {watched.name: watched}
        self.feed = Feed(lambda: models, self.policy, metrics, time.time, self._act)
        self.feed.share(store)
        self.store = store

    def observe(self, observation: Observation) -> None:
        parts = observation.features, observation.answers
        named = observation.caller, observation.groups, observation.model, observation.signature
        self.feed.put(Sighting(observation.time, *named, PREDICT, observation.rows, 0, b"", b"", *parts))

    def _reached(self, verdict: Verdict, now: float) -> None:
        self.told.append((self.feed.source, verdict.id))

    def _act(self, action: Any, source: str) -> None:
        self.actions.append((action, source))

    def count(self, name: str, **labels: str) -> float:
        return sum(
            sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def verdicts(self, now: float) -> list[dict[str, Any]]:
        found = (verdict.to_json(now) for verdict in self.policy.verdicts(now))
        return sorted(found, key=lambda verdict: str(verdict["id"]))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    replace(Profile.defaults("m", SALT), calibrated=True).write(tmp_path / "m.json")
    observe = {"ladder": [{"step": "observe", "score": 1, "ttl": 600}]}
    policy = {"evasion": observe, "extraction": observe, "membership": observe, "inversion": observe}
    return Settings.model_validate({"mode": "enforce", "profile": str(tmp_path / "m.json"), "policy": policy})


@asynccontextmanager
async def process(
    settings: Settings, server: RedisServer | None = None, namespace: str = "", kind: type[RedisLog] = RedisLog
) -> AsyncIterator[Process]:
    watched = Watched.made("m", settings, SALT, None)
    made: list[Process] = []
    store = None
    if server is not None:
        where = RedisStoreSettings(kind="redis", url=server.url, namespace=namespace)
        store = kind(where, lambda good: made[0].feed.returned() if good else None, lambda seconds: None)
    made.append(Process(watched, store))
    await made[0].feed.take_over()
    running = asyncio.create_task(made[0].feed.run())
    try:
        yield made[0]
    finally:
        await ended(running)
        if store is not None:
            await store.close()
        made[0].feed.close()


async def until(condition: Callable[[], Any], seconds: float = START_SECONDS) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.005)


def attack() -> list[Observation]:
    """A decision-boundary walk by two accounts, among other rows."""
    rng = np.random.default_rng(3)
    asked = [observed(rows, NOW + at / 10, f"sybil{at % 2}", "owner:x") for at, rows in enumerate(walk(rng))]
    others = [observed(rows, NOW + at / 10, f"c{at % 9}") for at, rows in enumerate(np.split(natural(60, rng), 60))]
    return sorted([*asked, *others], key=lambda each: each.time)


def seen(process: Process) -> float:
    return process.count("tensorwall_observed_rows_total")


def has_seen(process: Process, rows: int) -> bool:
    return seen(process) == rows


async def test_they_come_to_the_same_verdicts_and_who_starts_later_too(
    settings: Settings, shared_redis: RedisServer
) -> None:
    sent = attack()
    start = partial(process, settings, shared_redis, f"same{next(namespaces)}")
    async with start() as one, start() as other:
        for at, observation in enumerate(sent):
            (one, other)[at % 2].observe(observation)
            if at % 7 == 0:
                await asyncio.sleep(0.01)
        await until(lambda: seen(one) == seen(other) == len(sent))
        await until(lambda: one.verdicts(NOW) and one.verdicts(NOW) == other.verdicts(NOW))
        async with start() as late:
            await until(lambda: seen(late) == len(sent))
            await until(lambda: late.verdicts(NOW) == one.verdicts(NOW))
            assert {source for source, _ in late.told} <= {"past"}
            assert late.count("tensorwall_shared_rows_total", source="past") == len(sent)
    assert {name for _, name in one.told} == {name for _, name in other.told}
    reported = [name for process in (one, other) for source, name in process.told if source == "own"]
    assert len(reported) == len(one.told), "each step is reported once, by one of them"


class Forgetful(RedisLog):
    """Does what it is asked, and loses the answer, as a connection does that breaks at the wrong moment."""

    losing = 0

    async def exchange(self, name: str, origin: str, epoch: str, last: int, records: Sequence[Record]) -> Page:
        page = await super().exchange(name, origin, epoch, last, records)
        if records and self.losing:
            self.losing -= 1
            self._breaker.trip(ConnectionError("lost"))
            raise LogAwayError("lost")
        return page


async def test_a_lost_answer_makes_nobody_see_rows_twice(settings: Settings, shared_redis: RedisServer) -> None:
    sent = attack()[:12]
    start = partial(process, settings, shared_redis, f"lost{next(namespaces)}")
    async with start(kind=Forgetful) as one, start() as other:
        store = one.store
        assert isinstance(store, Forgetful)
        for observation in sent:
            store.losing = 1
            one.observe(observation)
            await until(lambda: store.losing == 0 and store.good)
        await until(lambda: has_seen(one, 12) and has_seen(other, 12))
        await until(lambda: other.count("tensorwall_observation_log_lag_rows") == 0)
        last = observed(natural(1, np.random.default_rng(1)), NOW, "last")
        other.observe(last)  # is behind all that may still come
        await until(lambda: seen(one) > 12 and seen(other) > 12)
        assert seen(one) == seen(other) == 13


async def test_what_waits_for_the_store_is_bounded_and_counted(settings: Settings) -> None:
    metrics = DetectionMetrics(registry := CollectorRegistry())
    stream = Stream(Watched.made("m", settings, SALT, None), metrics)
    observations = [observed(natural(500, np.random.default_rng(0)), NOW, "c")]
    batch = Batch(500, encode(observations))
    number = MAX_UNSENT_ROWS // 500 + 8
    for _ in range(number):
        stream.observe(batch)
        assert [entry.source for entry in stream.alone(NOW)] == ["own"]
        assert stream.unseen_rows == 0
    waiting = 0
    while records := stream.unsent():
        waiting += sum(record.rows for record in records)
        assert stream.read(Page("e", waiting, []), records) == []
    lost = registry.get_sample_value("tensorwall_unshared_rows_total", {"model": "m"})
    assert lost is not None
    assert lost > 0
    assert waiting <= MAX_UNSENT_ROWS
    assert waiting + lost == number * 500


async def test_another_store_does_not_show_the_detectors_what_they_saw(
    settings: Settings, shared_redis: RedisServer
) -> None:
    start = partial(process, settings, shared_redis, f"again{next(namespaces)}")
    rows = natural(40, np.random.default_rng(0))
    async with start() as one, start() as other:
        for at in range(20):
            other.observe(observed(rows[at : at + 1], NOW, f"c{at}"))
            await until(partial(has_seen, one, at + 1))
        one.feed.share(one.store)  # as a reload does that changes anything about the store
        other.observe(observed(rows[20:], NOW, "c"))
        await until(lambda: seen(one) > 20)
        one.observe(observed(rows[:1], NOW, "c"))
        await until(lambda: seen(other) == 41)
        assert seen(one) == 41


async def test_damaged_entries_are_left_out_and_counted(settings: Settings, shared_redis: RedisServer) -> None:
    namespace = f"damaged{next(namespaces)}"
    watched = Watched.made("m", settings, SALT, None)
    async with process(settings, shared_redis, namespace) as one:
        writer = RedisLog(
            RedisStoreSettings(kind="redis", url=shared_redis.url, namespace=namespace), lambda good: None, print
        )
        one.observe(observed(natural(1, np.random.default_rng(1)), NOW, "c"))
        await until(partial(has_seen, one, 1))
        await writer.exchange("m", "w", "", 0, [Record(1, "rows", 7, watched.mark, b"tw\1nonsense")])
        await until(lambda: one.count("tensorwall_unobserved_rows_total", reason="entry") == 7)
        await writer.exchange("m", "w", "", 0, [Record(2, "of a later version", 1, watched.mark, b"?")])
        one.observe(observed(natural(1, np.random.default_rng(2)), NOW, "c"))
        await until(partial(has_seen, one, 2))
        await writer.close()


async def test_actions_reach_all_and_those_that_start_later(settings: Settings, shared_redis: RedisServer) -> None:
    block, release = {"kind": "block", "caller": "a"}, {"kind": "release", "caller": "a"}
    start = partial(process, settings, shared_redis, f"actions{next(namespaces)}")
    async with start() as one, start() as other:
        one.feed.publish("a", block, None)
        await until(lambda: other.actions == [(block, "other")])
        one.feed.publish("b", {"n": 1}, NOW + 3600)
        one.feed.publish("c", {"n": 2}, NOW - 1)
        await until(lambda: len(other.actions) == 3)
        other.feed.publish("a", release, None)
        await until(lambda: one.actions == [(release, "other")])
        async with start() as late:
            assert sorted(late.actions, key=str) == sorted([(release, "past"), ({"n": 1}, "past")], key=str)
        with shared_redis.client() as client:
            client.flushall()
        await until(lambda: seen_again(shared_redis))
        async with start() as later:
            await until(lambda: (release, "past") in later.actions)
        assert one.actions == [(release, "other")], "nobody is told again of what it knows"
        with pytest.raises(ValueError, match="may take 4096"):
            one.feed.publish("a", {"reason": "x" * 5000}, None)


def seen_again(server: RedisServer) -> bool:
    with server.client() as client:
        return bool(list(client.scan_iter("*facts")))


def test_detectors_that_begin_anew_tell_what_is_past_from_what_nobody_judged(settings: Settings) -> None:
    def read(end: int, origin: str, seq: int = 1) -> Read:
        return Read(end, seq, origin, "rows", 10, watched.mark, NOW, b"payload")

    def sources(entries: Sequence[Entry]) -> list[tuple[int, str]]:
        return [(entry.end, entry.source) for entry in entries]

    metrics = DetectionMetrics(registry := CollectorRegistry())
    watched = Watched.made("m", settings, SALT, None)
    stream = Stream(watched, metrics)
    assert stream.read(Page("e", 20, []), [], reading=False) == [], "the proxy listens; detectors do not run yet"
    stream.observe(Batch(10, b"own"))
    mine = stream.unsent()
    assert stream.read(Page("e", 50, []), mine, reading=False) == [], "its own is sent meanwhile"
    log = [read(10, "a"), read(20, "b"), read(30, "a", 2), read(40, stream.origin), read(50, "b", 2)]
    first = stream.read(Page("e", 50, log), [])
    assert sources(first) == [(10, "past"), (20, "past"), (30, "other"), (40, "own"), (50, "other")]
    for entry in first[:3]:
        stream.done(entry)
    watched.engine = Remote()  # the detectors end while they have the other two
    again = Stream(watched, metrics, stream)
    second = again.read(Page("e", 50, log), [])
    assert sources(second) == [(10, "past"), (20, "past"), (30, "past"), (40, "own"), (50, "other")]
    assert {entry.engine for entry in second} == {watched.engine}
    for entry in second:
        again.done(entry)
    third = Stream(watched, metrics, again)
    assert {entry.source for entry in third.read(Page("e", 50, log), [])} == {"past"}
    fourth = Stream(watched, metrics, third)
    assert {entry.source for entry in fourth.read(Page("f", 50, log), [])} == {"own", "other"}, "another log"
    assert registry.get_sample_value("tensorwall_unobserved_rows_total", {"model": "m", "reason": "trimmed"}) is None


def test_what_was_judged_while_the_store_was_away_is_judged_once(settings: Settings) -> None:
    watched = Watched.made("m", settings, SALT, None)
    stream = Stream(watched, metrics := DetectionMetrics(CollectorRegistry()))
    stream.observe(Batch(10, b"judged"))
    for entry in stream.alone(NOW):
        stream.done(entry)
    stream.observe(Batch(10, b"not judged"))
    assert [entry.source for entry in stream.alone(NOW)] == ["own"]
    watched.engine = Remote()
    again = Stream(watched, metrics, stream)
    assert [(entry.content, entry.source) for entry in again.alone(NOW)] == [
        (b"judged", "past"),
        (b"not judged", "own"),
    ]
    assert [record.payload for record in again.unsent()] == [b"judged", b"not judged"], "others get both"
