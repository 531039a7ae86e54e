"""The store that proxies share: Redis 6.2 or newer, or Valkey, one script call a decision.

All keys begin with `{namespace}:`, so that they share one hash slot and a script over several of them is legal in a
Redis Cluster. README.md of `proxy.limits` has the layout and what that costs.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, TypeAlias, assert_never

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from proxy.limits.descriptors import Descriptor
from proxy.limits.gcra import NANOSECONDS
from proxy.limits.verdict import Lease, Verdict
from proxy.state.base import StoreStats
from proxy.state.batches import Batches
from proxy.state.breaker import Breaker
from proxy.state.client import Script, connect
from proxy.state.leases import LeaseKeeper
from proxy.state.memory import MemoryStore
from proxy.state.settings import RedisStoreSettings

RENEWALS_PER_LEASE = 3
MAX_LEASES_PER_COMMAND = 500
MAX_CALLS_PER_COMMAND = 32
"""Bounds the time for which one command keeps Redis from everyone else: about a millisecond."""

CONNECTIONS = 4
"""One for decisions, one for leases, one for the probe, and one to spare."""

CAUSES = ("away", "timeout", "connection", "error")
"""Why a decision was not Redis': it was known to be away, or the attempt ended thus."""

_Call: TypeAlias = tuple[Sequence[Descriptor], str]
_PROBE = "backlog/probe", "- backlog 0 1 0"


class RedisStore:
    """Counts of all proxies with the same namespace on one Redis.

    While Redis is away, decisions are made as `on_failure` says, without delay: only the calls that find it away wait
    for their answer, for up to `timeout`, and a probe in the background finds it back. The local limiter counts for the
    whole life of the process, so that a budget is spent locally once at most, however often Redis goes.

    Args:
        settings: where it is and what to do without it.
        clock: ns since 1970; the server's own clock if absent, which is what several proxies need.
        on_latency: told the seconds of each decision that Redis made.
        on_health: told True when Redis is back, False when it goes.
    """

    def __init__(
        self,
        settings: RedisStoreSettings,
        clock: Callable[[], int] | None = None,
        on_latency: Callable[[float], None] | None = None,
        on_health: Callable[[bool], None] | None = None,
    ) -> None:
        self._local = MemoryStore(settings.max_keys, clock or time.time_ns, clock or time.monotonic_ns)
        self._settings = settings
        self._clock = clock
        self._on_latency = on_latency
        self._on_health = on_health
        self._client = connect(settings, CONNECTIONS, settings.timeout)
        self._decisions = Batches(self._send, MAX_CALLS_PER_COMMAND)
        self._fallbacks = dict.fromkeys(CAUSES, 0)
        self._admit = Script("admit.lua")
        self._renew = Script("renew.lua")
        self._lease_ms = round(settings.lease * 1000)
        self._holder = secrets.token_hex(8)
        self._leases = 0
        self._breaker = Breaker("the store", self.probe, self._changed)
        self._keeper = LeaseKeeper(self._renew_leases, self._free_leases, settings.lease / RENEWALS_PER_LEASE)

    @property
    def healthy(self) -> bool:
        """Whether decisions are Redis'."""
        return self._breaker.good

    async def probe(self) -> None:
        """Runs the script once, writes included, so that a server which answers and cannot decide is found out.

        Raises:
            Exception: Redis is away, loading, read-only, out of memory, or does not let us in.
        """
        key, line = _PROBE
        await self._run(self._admit, [key], [self._lease_ms, *self._now(), line])

    async def start(self) -> None:
        """Probes once, so that `healthy` is right from the beginning. Does not raise."""
        try:
            await self.probe()
        except Exception as error:  # whatever is wrong with it, it is away
            self._breaker.trip(error)

    async def admit(self, descriptors: Sequence[Descriptor]) -> Verdict:
        """See `Store.admit`."""
        if not descriptors:
            return Verdict(True)
        if not self._breaker.good:
            return await self._without(descriptors, "away")
        lease = self._new_lease(descriptors)
        try:
            return await self._decide(descriptors, lease)
        except asyncio.CancelledError:
            self._give_back(lease)
            raise
        except Exception as error:  # whatever is wrong with the store, the answer is the configured one
            self._give_back(lease)
            self._breaker.trip(error)
            return await self._without(descriptors, _cause(error))

    def release(self, lease: Lease) -> None:
        """See `Store.release`."""
        if lease.id:
            self._keeper.release(lease)
        else:
            self._local.release(lease)

    def stats(self) -> StoreStats:
        """See `Store.stats`; keys and evictions are those of the local limiter."""
        local = self._local.stats()
        return StoreStats(
            keys=local.keys,
            evictions=local.evictions,
            fallbacks=dict(self._fallbacks),
            script_loads=self._admit.loads + self._renew.loads,
            leases_held=self._keeper.held,
            leases_dropped=self._keeper.dropped,
        )

    async def close(self) -> None:
        """See `Store.close`."""
        await self._breaker.close()
        await self._decisions.close()
        await self._keeper.close()
        await self._client.aclose()

    async def _decide(self, descriptors: Sequence[Descriptor], lease: Lease) -> Verdict:
        started = time.perf_counter()
        async with asyncio.timeout(self._settings.timeout):
            now, answer = await self._decisions.submit((descriptors, lease.id))
        admitted, *used = map(int, answer.split())
        if self._on_latency is not None:
            self._on_latency(time.perf_counter() - started)
        verdict = Verdict(bool(admitted), descriptors, used, now)
        lease.keys = _slots_taken(verdict)
        if lease.keys:
            self._keeper.hold(lease)
            verdict.lease = lease
        return verdict

    async def _send(self, calls: Sequence[_Call]) -> list[tuple[int, bytes]]:
        keys = [descriptor.key for descriptors, _ in calls for descriptor in descriptors]
        lines = [_line(descriptors, lease_id) for descriptors, lease_id in calls]
        now, *answers = await self._run(self._admit, keys, [self._lease_ms, *self._now(), *lines])
        seconds, nanoseconds = map(int, now.split())
        return [(seconds * NANOSECONDS + nanoseconds, answer) for answer in answers]

    async def _without(self, descriptors: Sequence[Descriptor], cause: str) -> Verdict:
        self._fallbacks[cause] += 1
        mode = self._settings.on_failure
        match mode:
            case "open":
                return Verdict(True, source="open")
            case "closed":
                return Verdict(not any(descriptor.enforced for descriptor in descriptors), source="closed")
            case "local":
                replicas = self._settings.replicas
                verdict = await self._local.admit([descriptor.divided(replicas) for descriptor in descriptors])
                verdict.source = "local"
                return verdict
            case _:
                assert_never(mode)

    def _new_lease(self, descriptors: Sequence[Descriptor]) -> Lease:
        """With all keys that it may come to hold, until it is known which it does."""
        self._leases += 1
        keys = tuple(descriptor.key for descriptor in descriptors if descriptor.limit.measure == "slots")
        return Lease(keys, f"{self._holder}:{self._leases}")

    def _give_back(self, lease: Lease) -> None:
        """Of an attempt that failed: the script may have run all the same."""
        if lease.keys:
            self._keeper.release(lease)

    async def _renew_leases(self, leases: Sequence[Lease]) -> None:
        for part in _parts(leases):
            keys = [key for lease in part for key in lease.keys]
            holders = [lease.id for lease in part for _ in lease.keys]
            await self._run(self._renew, keys, [self._lease_ms, *self._now(), *holders])

    async def _free_leases(self, leases: Sequence[Lease]) -> None:
        if not self._breaker.good:
            raise RedisConnectionError("the store is away")
        holders: dict[str, list[str]] = {}
        for key, holder in chain.from_iterable(((key, lease.id) for key in lease.keys) for lease in leases):
            holders.setdefault(key, []).append(holder)
        for key, ids in holders.items():
            async with asyncio.timeout(self._settings.timeout):
                await self._client.execute_command("ZREM", self._key(key), *ids)

    async def _run(self, script: Script, keys: Sequence[str], arguments: Sequence[object]) -> Any:
        async with asyncio.timeout(self._settings.timeout):
            return await script(self._client, [self._key(key) for key in keys], arguments)

    def _key(self, key: str) -> bytes:
        return f"{{{self._settings.namespace}}}:{key}".encode("utf-8", "surrogatepass")

    def _now(self) -> tuple[object, object]:
        return ("", "") if self._clock is None else divmod(self._clock(), NANOSECONDS)

    def _changed(self, good: bool) -> None:
        if good:
            self._keeper.catch_up()
        if self._on_health is not None:
            self._on_health(good)


def _cause(error: Exception) -> str:
    if isinstance(error, TimeoutError | RedisTimeoutError):
        return "timeout"
    return "connection" if isinstance(error, OSError | RedisConnectionError) else "error"


def _line(descriptors: Sequence[Descriptor], lease_id: str) -> str:
    limits = [
        f"{limit.measure} {need} {limit.capacity} {'1' if enforced else '0'}"
        for _, limit, _, need, enforced in descriptors
    ]
    return " ".join((lease_id, *limits))


def _slots_taken(verdict: Verdict) -> tuple[str, ...]:
    if not verdict.admitted:
        return ()
    return tuple(
        key
        for (key, limit, _, need, _), used in zip(verdict.descriptors, verdict.used, strict=True)
        if limit.measure == "slots" and used + need <= limit.capacity
    )


def _parts(leases: Sequence[Lease]) -> list[Sequence[Lease]]:
    return [leases[at : at + MAX_LEASES_PER_COMMAND] for at in range(0, len(leases), MAX_LEASES_PER_COMMAND)]
