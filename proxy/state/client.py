"""The way to Redis: a client that fails fast, and scripts that are called by their digest."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError

from proxy.state.settings import RedisStoreSettings

_LUA = Path(__file__).with_name("lua")


class Script:
    """A Lua script, called by its digest, and sent whole to a server that does not know it.

    Args:
        name: of its file.

    Attributes:
        loads: times that it was sent.
    """

    def __init__(self, name: str) -> None:
        self._text = (_LUA / name).read_bytes()
        self._sha = hashlib.sha1(self._text, usedforsecurity=False).hexdigest()  # Redis' name for a script
        self.loads = 0

    async def __call__(self, client: Any, keys: Sequence[bytes], arguments: Sequence[object]) -> Any:
        try:
            return await client.execute_command("EVALSHA", self._sha, len(keys), *keys, *arguments)
        except NoScriptError:
            self.loads += 1
            return await client.execute_command("EVAL", self._text, len(keys), *keys, *arguments)


def connect(settings: RedisStoreSettings, connections: int, timeout: float) -> Any:
    """A client of the configured server.

    Args:
        settings: where it is.
        connections: at most.
        timeout: seconds to connect, and to wait for each part of an answer.
    """
    kind: Any = aioredis.RedisCluster if settings.cluster else aioredis.Redis
    return kind.from_url(
        settings.url,
        max_connections=connections,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),  # the breaker sees to that, and a second try could charge twice
        protocol=2,
    )
