"""Slots that are shared with other processes: renewed while their calls last, given back when those end.

A slot that nobody renews frees itself, so a killed process takes none with it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

from proxy.limits.verdict import Lease
from proxy.logs import event
from proxy.state.tasks import ended

log = logging.getLogger("tensorwall.state")

MAX_RELEASED = 10_000
"""Leases that wait to be given back; beyond, they are left to run out."""

Send = Callable[[Sequence[Lease]], Awaitable[None]]


class LeaseKeeper:
    """Does all of it in one task, in order, so that a lease is never renewed after it was given back.

    Args:
        renew: holds these leases for another while.
        free: gives these leases back.
        every: seconds between renewals.

    `renew` and `free` raise if the store is away; what they were given is then tried again later.

    Attributes:
        dropped: leases that were left to run out.
    """

    def __init__(self, renew: Send, free: Send, every: float) -> None:
        self.dropped = 0
        self._renew = renew
        self._free = free
        self._every = every
        self._held: dict[str, Lease] = {}
        self._released: list[Lease] = []
        self._wake = asyncio.Event()
        self._due = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def held(self) -> int:
        """Leases of calls in flight."""
        return len(self._held)

    def hold(self, lease: Lease) -> None:
        """Renews a lease from now on."""
        self._held[lease.id] = lease
        self._begin()

    def release(self, lease: Lease) -> None:
        """Gives a lease back soon; a second time does no harm."""
        self._held.pop(lease.id, None)
        if len(self._released) >= MAX_RELEASED:
            self.dropped += 1
            return
        self._released.append(lease)
        self._begin()
        self._wake.set()

    def catch_up(self) -> None:
        """Gives back and renews at once; the store was away and may have forgotten."""
        self._due = 0.0
        self._wake.set()

    def _begin(self) -> None:
        if self._task is None:
            loop = asyncio.get_running_loop()
            self._due = loop.time() + self._every
            self._task = loop.create_task(self._work(loop))

    async def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._due):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._turn(loop.time())
            except Exception as error:  # the store is away; the next turn tries again
                event(log, logging.DEBUG, "leases wait for the store", problem=f"{type(error).__name__}: {error}")

    async def _turn(self, now: float) -> None:
        renew = now >= self._due
        if renew:
            self._due = now + self._every
        await self._flush()
        if renew and self._held:
            await self._renew(list(self._held.values()))

    async def _flush(self) -> None:
        released = self._released[:]
        if released:
            await self._free(released)
            del self._released[: len(released)]

    async def close(self) -> None:
        """Gives back what is waiting and ends."""
        await ended(self._task)
        with contextlib.suppress(Exception):  # what cannot be given back runs out
            await self._flush()
