"""A real Redis that is killed, slow, frozen, full or talks nonsense, under load: what callers see, and what is counted.

`tests/state/test_redis_trouble.py` has the store by itself, `tests/detection/test_shared.py` verdicts and observations.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.model_server import ModelServer
from tests.faults.chaos import Chaos, garbage, late, passing
from tests.faults.seen import Load, State, figure, settles, until
from tests.processes import Proxy, serving_proxy
from tests.redis_server import RedisServer, redis_server

TIMEOUT = 1.0
"""Generous, so that a busy machine alone does not make Redis slow."""
LIMITS = [
    {"name": "all", "by": "global", "unit": "calls", "budget": 1_000_000, "per": "lifetime"},
    {"name": "held", "by": "global", "in_flight": 1000},
]


@dataclass(frozen=True)
class Stored:
    """A proxy, its Redis, which writes each command to disk, and the TCP proxy between them."""

    proxy: Proxy
    redis: RedisServer
    chaos: Chaos

    def spent(self) -> int:
        """Calls that Redis has counted."""
        with self.redis.client() as client:
            return sum(int(client.get(key) or 0) for key in client.keys("{tensorwall}:lifetime/all/*"))

    def slots(self) -> int:
        """Calls in flight that Redis still counts."""
        with self.redis.client() as client:
            return sum(client.zcard(key) for key in client.keys("{tensorwall}:slots/*"))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    folder = tmp_path_factory.mktemp("store")
    with (
        ModelServer() as server,
        redis_server(folder, "--appendonly", "yes", "--appendfsync", "always") as redis,
        Chaos(f"127.0.0.1:{redis.port}") as chaos,
    ):
        store = {"kind": "redis", "url": f"redis://{chaos.address}/0", "timeout": TIMEOUT}
        with serving_proxy(folder, server.address, limits=LIMITS, store=store) as proxy:
            yield Stored(proxy, redis, chaos)


Trouble = Callable[[Stored], AbstractContextManager[Any]]


@contextmanager
def killed(stored: Stored) -> Iterator[None]:
    stored.redis.kill()
    yield
    stored.redis.start()


@contextmanager
def full(stored: Stored) -> Iterator[None]:
    with stored.redis.client() as client:
        client.config_set("maxmemory", "1")
        yield
        client.config_set("maxmemory", "0")


@contextmanager
def slow(stored: Stored) -> Iterator[None]:
    stored.chaos.fault = late(2 * TIMEOUT)
    yield
    stored.chaos.fault = passing


@contextmanager
def nonsense(stored: Stored) -> Iterator[None]:
    stored.chaos.fault = garbage(1)
    yield
    stored.chaos.fault = passing


@contextmanager
def unreachable(stored: Stored) -> Iterator[None]:
    stored.chaos.kill()
    yield
    stored.chaos.revive()


def frozen(stored: Stored) -> AbstractContextManager[None]:
    return stored.redis.frozen()


@pytest.mark.parametrize("trouble", [killed, frozen, full, slow, nonsense, unreachable], ids=lambda each: each.__name__)
def test_callers_notice_nothing_and_nothing_is_counted_twice(stored: Stored, trouble: Trouble) -> None:
    proxy = stored.proxy
    until(lambda: figure(proxy, "tensorwall_store_up") == 1, "with its store")
    before = State.of(proxy)
    decided, unknown, spent = figure(proxy, "tensorwall_store_seconds_count"), _unknown(proxy), stored.spent()
    with Load([proxy.address], callers=8, deadline=10) as load:
        load.until(30)
        with trouble(stored):
            until(lambda: figure(proxy, "tensorwall_store_up") == 0, "noticed")
            load.until(100)
        until(lambda: figure(proxy, "tensorwall_store_up") == 1, "back")
        again = figure(proxy, "tensorwall_store_seconds_count") + 50
        until(lambda: figure(proxy, "tensorwall_store_seconds_count") >= again, "deciding again")
        load.end()
    assert set(load.codes) == {"OK"}
    settles(proxy, before)
    until(lambda: stored.slots() == 0, "all slots given back")
    decided = figure(proxy, "tensorwall_store_seconds_count") - decided
    unknown = _unknown(proxy) - unknown
    counted = stored.spent() - spent
    assert decided <= counted <= decided + unknown, "each decision once; those that got no answer at most once"


def _unknown(proxy: Proxy) -> float:
    """Decisions whose answer did not come, so that Redis may have made them or not."""
    return sum(
        figure(proxy, "tensorwall_store_fallbacks_total", cause=cause) for cause in ("timeout", "connection", "error")
    )


def test_a_store_within_its_timeout_is_waited_for(stored: Stored) -> None:
    proxy = stored.proxy
    until(lambda: figure(proxy, "tensorwall_store_up") == 1, "with its store")
    stored.chaos.fault = late(0.02)
    before = figure(proxy, "tensorwall_store_seconds_count")
    with Load([proxy.address], callers=8, deadline=10) as load:
        load.until(40)
        load.end()
    stored.chaos.fault = passing
    assert set(load.codes) == {"OK"}
    assert figure(proxy, "tensorwall_store_seconds_count") > before


def test_restarted_empty_it_counts_anew_and_slots_are_taken_again(stored: Stored) -> None:
    """Whoever wants budgets to outlive Redis lets it write to disk; calls in flight are known again by themselves."""
    proxy = stored.proxy
    until(lambda: figure(proxy, "tensorwall_store_up") == 1, "with its store")
    before = State.of(proxy)
    with Load([proxy.address], callers=4, deadline=10) as load:
        load.until(20)
        with stored.redis.client() as client:
            client.flushall()
            client.script_flush()
        load.until(50)
        load.end()
    assert set(load.codes) == {"OK"}
    settles(proxy, before)
    until(lambda: stored.slots() == 0, "all slots given back")
    assert 0 < stored.spent() <= sum(load.codes.values())
