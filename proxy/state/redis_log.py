"""The logs of all proxies with the same namespace on one Redis, each a Redis Stream.

All keys of a log begin with `{namespace:NAME}:`, so that each has a hash slot of its own in a Redis Cluster.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from proxy.state.breaker import Breaker
from proxy.state.client import Script, connect
from proxy.state.log import KEPT_ROWS, PAGE_ENTRIES, PAGE_ROWS, UNUSED_SECONDS, Entry, LogAwayError, Page, Record
from proxy.state.settings import OnFailure, RedisStoreSettings

T = TypeVar("T")

CONNECTIONS = 8
LEAST_TIMEOUT = 2.0
"""Seconds; no call waits for it, and an answer may have megabytes."""


class RedisLog:
    """The logs of all proxies with the same namespace on one Redis.

    Args:
        settings: where it is.
        on_health: told True when it is back, False when it goes.
        on_latency: told the seconds of each step.
    """

    def __init__(
        self,
        settings: RedisStoreSettings,
        on_health: Callable[[bool], None],
        on_latency: Callable[[float], None],
    ) -> None:
        self.on_failure: OnFailure = settings.on_failure
        self._namespace = settings.namespace
        self._timeout = max(settings.timeout, LEAST_TIMEOUT)
        self._client = connect(settings, CONNECTIONS, self._timeout)
        self._script = Script("log.lua")
        self._on_latency = on_latency
        self._breaker = Breaker("the shared log", self._probe, on_health)

    @property
    def good(self) -> bool:
        """See `LogStore.good`."""
        return self._breaker.good

    async def exchange(self, name: str, origin: str, epoch: str, last: int, records: Sequence[Record]) -> Page:
        """See `LogStore.exchange`."""
        arguments: list[object] = [epoch, last, origin, KEPT_ROWS, PAGE_ENTRIES, PAGE_ROWS, UNUSED_SECONDS]
        for record in records:
            arguments += record
        keys = [self._key(name, "log"), self._key(name, "head")]
        started = time.perf_counter()
        found, total, entries = await self._tried(self._script(self._client, keys, arguments))
        self._on_latency(time.perf_counter() - started)
        return Page(found.decode(), int(total), [_entry(*each) for each in entries])

    async def keep(self, name: str, facts: Mapping[str, bytes], gone: Collection[str], seconds: float | None) -> None:
        """See `LogStore.keep`."""
        key = self._key(name, "facts")
        steps = self._client.pipeline(transaction=False)
        if gone:
            steps.hdel(key, *gone)
        if facts:
            steps.hset(key, mapping=facts)
        if facts and seconds is not None:
            steps.expire(key, max(1, round(seconds)))
        await self._tried(steps.execute())

    async def kept(self, name: str) -> dict[str, bytes]:
        """See `LogStore.kept`."""
        found = await self._tried(self._client.execute_command("HGETALL", self._key(name, "facts")))
        pairs = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
        return {key.decode("utf-8", "replace"): value for key, value in pairs}

    async def close(self) -> None:
        """See `LogStore.close`."""
        await self._breaker.close()
        await self._client.aclose()

    async def _tried(self, step: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._timeout):
                return await step
        except Exception as error:  # whatever is wrong with it, it is away
            self._breaker.trip(error)
            raise LogAwayError(f"{type(error).__name__}: {error}") from error

    async def _probe(self) -> None:
        """Writes, so that a server which answers and cannot be written to is found out."""
        async with asyncio.timeout(self._timeout):
            await self._client.execute_command("SET", self._key("", "probe"), "1", "EX", 60)

    def _key(self, name: str, what: str) -> bytes:
        plain = name.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")
        return f"{{{self._namespace}:{plain}}}:{what}".encode("utf-8", "surrogatepass")


def _entry(
    end: bytes, seq: bytes, origin: bytes, kind: bytes, rows: bytes, mark: bytes, when: bytes, payload: Any
) -> Entry:
    return Entry(
        int(end), int(seq), origin.decode(), kind.decode(), int(rows), mark.decode(), float(when), bytes(payload)
    )
