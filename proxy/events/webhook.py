"""Each event as a signed POST, in their order, tried again until somebody takes it or there have been enough tries."""

import asyncio
import hashlib
import hmac
import json
import logging
import random
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

from proxy.config.events import Webhook as Settings
from proxy.events.outlet import Counted
from proxy.events.schema import kind_of
from proxy.logs import event
from proxy.version import VERSION

log = logging.getLogger("tensorwall.events")

MAX_WAITING = 1000
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
"""Seconds before the second try at most, and before any: each wait is drawn between none and twice the one before."""
SIGNATURE = "X-Tensorwall-Signature"
_FINAL = range(400, 500)
_AGAIN_ALL_THE_SAME = (408, 425, 429)


def signature(secret: str, time: int, body: bytes) -> str:
    """`t=SECONDS,v1=HEX`: HMAC-SHA256, keyed with the secret, of the decimal time, a dot and the body.

    Who takes the event computes it anew, compares in constant time, and refuses times that are minutes old.
    """
    digest = hmac.new(secret.encode(), f"{time}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={time},v1={digest}"


class Webhook:
    """Sends events to one address.

    Args:
        settings: address, secret, tries.
        counted: told of what was taken, failed and lost.
        clock: seconds since 1970.
        rng: draws the waits; need not be secret.
        sleep: waits for so many seconds.
    """

    name = "webhook"

    def __init__(
        self,
        settings: Settings,
        counted: Counted,
        clock: Callable[[], float],
        rng: random.Random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._counted = counted
        self._clock = clock
        self._rng = rng
        self._sleep = sleep
        self._waiting: deque[dict[str, Any]] = deque()
        self._wake = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Events that nobody has taken yet."""
        return len(self._waiting)

    def put(self, content: dict[str, Any]) -> None:
        """See `Outlet`. When too many wait, the oldest is lost."""
        if kind_of(str(content["event"])) not in self._settings.kinds:
            return
        self._waiting.append(content)
        if len(self._waiting) > MAX_WAITING:
            del self._waiting[1]  # the first may be on its way
            self._counted(self.name, "dropped", 1)
        self._wake.set()

    async def run(self) -> None:
        """See `Outlet`."""
        async with open_session(self._settings.timeout, self._settings.ca) as session:
            while True:
                await self._wake.wait()
                while self._waiting:
                    taken = await self._deliver(session, self._waiting[0])
                    self._waiting.popleft()
                    self._counted(self.name, "delivered" if taken else "dropped", 1)
                self._wake.clear()

    async def close(self, seconds: float) -> None:
        """See `Outlet`: each event that waits is tried once more."""
        try:
            async with asyncio.timeout(seconds), open_session(self._settings.timeout, self._settings.ca) as session:
                while self._waiting and await self._post(session, self._waiting[0]) is True:
                    self._waiting.popleft()
                    self._counted(self.name, "delivered", 1)
        except TimeoutError:
            pass
        if self._waiting:
            self._counted(self.name, "dropped", len(self._waiting))

    async def _deliver(self, session: aiohttp.ClientSession, content: dict[str, Any]) -> bool:
        wait = FIRST_WAIT
        for attempt in range(1, self._settings.attempts + 1):
            taken = await self._post(session, content)
            if taken is not None:
                return taken
            if attempt < self._settings.attempts:
                await self._sleep(self._rng.uniform(0, wait))
                wait = min(LONGEST_WAIT, wait * 2)
        return False

    async def _post(self, session: aiohttp.ClientSession, content: dict[str, Any]) -> bool | None:
        """True if it was taken, False if it never will be, None if another try may help."""
        body = json.dumps(content, separators=(",", ":")).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"tensorwall/{VERSION}",
            "X-Tensorwall-Event": str(content["event"]),
            "X-Tensorwall-Id": str(content["id"]),
            SIGNATURE: signature(self._settings.secret, int(self._clock()), body),
        }
        try:
            async with session.post(self._settings.url, data=body, headers=headers, allow_redirects=False) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            status, problem = 0, f"{type(error).__name__}: {error}"
        else:
            problem = f"status {status}"
        if 200 <= status < 300:
            return True
        self._counted(self.name, "failed", 1)
        event(log, logging.WARNING, "webhook not delivered", problem=problem, waiting=len(self._waiting))
        return False if status in _FINAL and status not in _AGAIN_ALL_THE_SAME else None


def open_session(seconds: float, ca: Path | None) -> aiohttp.ClientSession:
    """A client with a time limit for each try, and the roots of a PEM bundle if one is given."""
    context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=seconds), connector=aiohttp.TCPConnector(ssl=context, limit=4)
    )
