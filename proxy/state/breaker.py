"""A circuit breaker: a failure closes the way to calls, until a probe in the background finds it good again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from proxy.logs import event
from proxy.state.tasks import ended

log = logging.getLogger("tensorwall.state")

FIRST_PROBE_SECONDS = 0.1
SLOWEST_PROBE_SECONDS = 5.0


class Breaker:
    """Nygard's circuit breaker (Release It!, 2007), with a probe instead of a half-open state: no call pays for trying.

    Args:
        name: of what it guards, in the log.
        probe: succeeds if what it guards can do its work; any exception means that it cannot.
        on_change: told True when the way is good, False when not.
        sleep: waits so many seconds.

    Attributes:
        good: whether the way may be tried.
    """

    def __init__(
        self,
        name: str,
        probe: Callable[[], Awaitable[object]],
        on_change: Callable[[bool], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.good = True
        self._name = name
        self._probe = probe
        self._on_change = on_change
        self._sleep = sleep
        self._recovery: asyncio.Task[None] | None = None

    def trip(self, error: BaseException) -> None:
        """Closes the way, if it is not closed already, and begins to probe."""
        if self.good:
            self.good = False
            event(log, logging.WARNING, f"{self._name} is away", problem=_described(error))
            self._recovery = asyncio.get_running_loop().create_task(self._recover())
            self._on_change(False)

    async def _recover(self) -> None:
        pause = FIRST_PROBE_SECONDS
        while True:
            await self._sleep(pause)
            try:
                await self._probe()
            except Exception as error:  # whatever it is, the way is not good
                event(log, logging.DEBUG, f"{self._name} is still away", problem=_described(error))
                pause = min(2 * pause, SLOWEST_PROBE_SECONDS)
            else:
                break
        self.good = True
        event(log, logging.INFO, f"{self._name} is back")
        self._on_change(True)

    async def close(self) -> None:
        """Ends the probing."""
        await ended(self._recovery)


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
