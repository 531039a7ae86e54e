"""All outlets of one configuration, and the change to another one's."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from proxy.config.events import Alertmanager, AuditLog
from proxy.config.events import Events as Settings
from proxy.config.events import Webhook as Hook
from proxy.events.alerts import Alerts
from proxy.events.outlet import Counted, Outlet
from proxy.events.webhook import Webhook
from proxy.events.writer import Writer
from proxy.logs import event
from proxy.policy import Verdict

log = logging.getLogger("tensorwall.events")

CLOSE_SECONDS = 2.0


class Outlets:
    """Takes events to where the configuration says.

    Args:
        standing: the verdicts that stand.
        counted: told of what came of each event.
        clock: seconds since 1970.
    """

    def __init__(
        self, standing: Callable[[], Awaitable[Iterable[Verdict]]], counted: Counted, clock: Callable[[], float]
    ) -> None:
        self._standing = standing
        self._counted = counted
        self._clock = clock
        self._open: list[tuple[object, Outlet, asyncio.Task[None]]] = []

    def put(self, content: dict[str, Any]) -> None:
        """Takes an event in."""
        for _, outlet, _ in self._open:
            outlet.put(content)

    def waiting(self) -> dict[str, int]:
        """Events that wait, by outlet."""
        return {outlet.name: outlet.waiting for _, outlet, _ in self._open}

    async def configure(self, settings: Settings) -> None:
        """Takes other settings; outlets whose settings stay, stay."""
        wanted = [each for each in (settings.file, settings.webhook, settings.alertmanager) if each is not None]
        kept = [entry for entry in self._open if entry[0] in wanted]
        gone = [entry for entry in self._open if entry[0] not in wanted]
        self._open = kept
        await _close(gone)
        known = [entry[0] for entry in kept]
        for each in wanted:
            if each not in known:
                outlet = self._make(each)
                self._open.append((each, outlet, asyncio.create_task(_forever(outlet))))

    async def close(self) -> None:
        """Takes out what waits, for CLOSE_SECONDS at most."""
        gone, self._open = self._open, []
        await _close(gone)

    def _make(self, settings: AuditLog | Hook | Alertmanager) -> Outlet:
        if isinstance(settings, AuditLog):
            return Writer(settings, self._counted, self._clock)
        if isinstance(settings, Hook):
            return Webhook(settings, self._counted, self._clock, random.Random())  # noqa: S311  # jitter, not secrets
        return Alerts(settings, self._standing, self._counted, self._clock)


async def _forever(outlet: Outlet) -> None:
    while True:
        try:
            await outlet.run()
        except Exception:
            event(log, logging.ERROR, "outlet of events failed, it begins anew", outlet=outlet.name, exc_info=True)
            await asyncio.sleep(1)


async def _close(entries: list[tuple[object, Outlet, asyncio.Task[None]]]) -> None:
    for _, _, task in entries:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await asyncio.gather(*(outlet.close(CLOSE_SECONDS) for _, outlet, _ in entries))
