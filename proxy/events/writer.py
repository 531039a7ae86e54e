"""The audit log as an outlet: a thread of its own writes, so that a slow disk stops nothing else."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from proxy.config.events import AuditLog
from proxy.events.log import SYNC_SECONDS, ChainedLog, LogError
from proxy.events.outlet import Counted
from proxy.logs import event

log = logging.getLogger("tensorwall.events")

MAX_WAITING = 10_000
"""Events, about 1 to 3 KB each."""
AT_ONCE = 500
AGAIN = 1.0
"""Seconds until the next try when the disk is full."""


class Writer:
    """Writes events to an audit log. When the disk takes none, they wait; when too many wait, the new ones are lost.

    How many were lost stands in the next line that is written.

    Args:
        settings: of the log.
        counted: told of what was written, failed and lost.
        clock: seconds since 1970.
    """

    name = "file"

    def __init__(self, settings: AuditLog, counted: Counted, clock: Callable[[], float]) -> None:
        self._log = ChainedLog(settings, clock, _head)
        self._counted = counted
        self._waiting: deque[dict[str, Any]] = deque()
        self._lost = 0
        self._thread = ThreadPoolExecutor(1, "tensorwall-audit")
        self._wake = asyncio.Event()
        self._busy = asyncio.Lock()

    @property
    def waiting(self) -> int:
        """Events that are not written yet."""
        return len(self._waiting)

    def put(self, content: dict[str, Any]) -> None:
        """See `Outlet`."""
        if len(self._waiting) >= MAX_WAITING:
            self._lost += 1
            self._counted(self.name, "dropped", 1)
            return
        self._waiting.append(content)
        self._wake.set()

    async def run(self) -> None:
        """See `Outlet`."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(SYNC_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                await loop.run_in_executor(self._thread, self._sync)
                continue
            if not await self._drain():
                await asyncio.sleep(AGAIN)

    async def close(self, seconds: float) -> None:
        """See `Outlet`."""
        try:
            async with asyncio.timeout(seconds):
                await self._drain()
                await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        except TimeoutError:
            event(log, logging.ERROR, "audit log not written in time")
        if self._waiting:
            self._counted(self.name, "dropped", len(self._waiting))
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _drain(self) -> bool:
        """Writes all that waits; False if the log does not take it."""
        async with self._busy:
            while self._waiting:
                batch = [self._waiting[at] for at in range(min(AT_ONCE, len(self._waiting)))]
                lost = self._lost
                writing = asyncio.get_running_loop().run_in_executor(self._thread, self._write, batch, lost)
                try:
                    if not await asyncio.shield(writing):
                        return False
                except asyncio.CancelledError:
                    if await writing:
                        self._took(batch, lost)
                    raise
                self._took(batch, lost)
            self._wake.clear()
        return True

    def _took(self, batch: list[dict[str, Any]], lost: int) -> None:
        self._lost -= lost
        for _ in batch:
            self._waiting.popleft()

    def _write(self, batch: list[dict[str, Any]], lost: int) -> bool:
        """In the thread."""
        try:
            self._log.write(batch, lost)
        except LogError as error:
            self._counted(self.name, "failed", 1)
            event(log, logging.ERROR, "audit log not written", problem=str(error), waiting=len(self._waiting))
            return False
        self._counted(self.name, "delivered", len(batch))
        return True

    def _sync(self) -> None:
        try:
            self._log.sync()
        except LogError as error:
            self._counted(self.name, "failed", 1)
            event(log, logging.ERROR, "audit log not forced to the disk", problem=str(error))

    def _close(self) -> None:
        try:
            self._log.close()
        except LogError as error:
            event(log, logging.ERROR, "audit log not forced to the disk", problem=str(error))


def _head(seq: int, head: str) -> None:
    event(log, logging.INFO, "head of the audit log", seq=seq, sha256=head)
