"""State that outlives a call, behind one small protocol: in memory, or in a Redis that several proxies share."""

import time
from collections.abc import Callable

from proxy.state.base import Store, StoreStats
from proxy.state.log import LogStore
from proxy.state.memory import MemoryStore
from proxy.state.settings import MemoryStoreSettings, RedisStoreSettings, StoreSettings

__all__ = [
    "LogStore",
    "MemoryStore",
    "MemoryStoreSettings",
    "RedisStoreSettings",
    "Store",
    "StoreSettings",
    "StoreStats",
    "open_log",
    "open_store",
]


async def open_store(
    settings: StoreSettings,
    on_latency: Callable[[float], None] | None = None,
    on_health: Callable[[bool], None] | None = None,
) -> Store:
    """The configured store, on the running event loop. A Redis that is away at the start does not hold it up.

    Args:
        settings: which store, and its settings.
        on_latency: told the seconds of each decision of a shared store.
        on_health: told False when a shared store goes away and True when it is back.
    """
    if isinstance(settings, MemoryStoreSettings):
        return MemoryStore(settings.max_keys, steady=time.monotonic_ns)
    from proxy.state.redis import RedisStore  # the client is an extra

    store = RedisStore(settings, on_latency=on_latency, on_health=on_health)
    await store.start()
    return store


def open_log(
    settings: StoreSettings, on_health: Callable[[bool], None], on_latency: Callable[[float], None]
) -> LogStore | None:
    """The configured store's logs, on the running event loop; None if nothing is shared.

    Args:
        settings: which store, and its settings.
        on_health: told False when the store goes away and True when it is back.
        on_latency: told the seconds of each step.
    """
    if isinstance(settings, MemoryStoreSettings):
        return None
    from proxy.state.redis_log import RedisLog  # the client is an extra

    return RedisLog(settings, on_health, on_latency)
