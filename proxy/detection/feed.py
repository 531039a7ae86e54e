"""From the queue through the log to the detectors, and from their findings to the policy; beside the request path."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from detectors.findings import Finding
from proxy.detection.actions import Action, OnAction, SharedActions
from proxy.detection.engines import Observed, Seen, Status
from proxy.detection.log import Batch, Entry, Log, OwnLog, Source
from proxy.detection.process import DetectorProcess, EndedError, FailedError
from proxy.detection.queue import ObservationQueue
from proxy.detection.shared import SharedLog
from proxy.detection.sightings import Sighting
from proxy.detection.verdicts import SharedVerdicts
from proxy.detection.watched import Remote, Watched
from proxy.logs import event
from proxy.metrics.detection import DetectionMetrics
from proxy.policy import Policy
from proxy.state.log import LogStore

log = logging.getLogger("tensorwall.detection")

BATCH_ROWS = 512
ACTIONS_SECONDS = 0.5
PACE = 0.02
"""Seconds between batches: calls gather meanwhile."""
LOOK_SECONDS = 1.0
"""After which it is looked at whether the detectors still run, even if there is nothing to do."""
PACES, FEW_ROWS, OF_ONE = 3, 64, 4
"""A small batch costs nearly what a large one does: up to so many paces are waited for so many rows. But whoever sends
so many calls in a pace or two may be searching, and a search has to be found after tens of rows."""


class Feed:
    """Feeds the detectors.

    Args:
        watched: the watched models.
        policy: told of findings.
        metrics: told of everything.
        clock: seconds since 1970.
        on_action: told of other proxies' actions.

    Attributes:
        source: whose entry it is that the policy judges at this moment.
    """

    def __init__(
        self,
        watched: Callable[[], Mapping[str, Watched]],
        policy: Policy,
        metrics: DetectionMetrics,
        clock: Callable[[], float],
        on_action: OnAction,
    ) -> None:
        self.source: Source = "own"
        self._watched = watched
        self._policy = policy
        self._metrics = metrics
        self._clock = clock
        self._on_action = on_action
        self._queue = ObservationQueue(lambda lost: metrics.lost(lost.model, "queue", lost.rows))
        self._process = DetectorProcess(metrics.ended)
        self._configured: Mapping[str, Watched] | None = None
        self._waiting = asyncio.Event()
        self._log: Log = OwnLog(clock)
        self._verdicts: SharedVerdicts | None = None
        self._actions: SharedActions | None = None
        self._actions_due = 0.0

    @property
    def queued_rows(self) -> int:
        """Rows that wait."""
        return self._queue.rows

    @property
    def good(self) -> bool:
        """Whether calls may pass: False while a store is away that they may not go on without."""
        return self._log.good

    def share(self, store: LogStore | None) -> None:
        """Takes the log of a store from now on; without one, this process's own."""
        if store is None:
            self._log, self._verdicts, self._actions = OwnLog(self._clock), None, None
        else:
            before = self._log if isinstance(self._log, SharedLog) else None
            self._log = SharedLog(store, self._metrics, self.returned, before, self._clock)
            self._verdicts = SharedVerdicts(store, self._policy, self._clock)
            self._actions = SharedActions(store, self._on_action, self._clock)
        self.returned()

    def returned(self) -> None:
        """The store was away, or had lost what it had, and is back."""
        for each in (self._verdicts, self._actions):
            if each is not None:
                each.anew()
        self._waiting.set()

    async def take_over(self) -> None:
        """Takes over what stands. If the store is away, that is done once it is back."""
        if self._verdicts is not None:
            await self._verdicts.sync(self._watched())
        if self._actions is not None:
            await self._actions.sync()

    def put(self, sighting: Sighting) -> None:
        """Takes one in. Never waits."""
        self._queue.put(sighting)
        self._waiting.set()

    def publish(self, name: str, action: Action, until: float | None) -> None:
        """See `Detection.publish`."""
        if self._actions is not None:
            self._actions.publish(name, action, until)
            self._waiting.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                pause = self._log.pause
                async with asyncio.timeout(LOOK_SECONDS if pause is None else min(pause, LOOK_SECONDS)):
                    await self._waiting.wait()
            self._waiting.clear()
            try:
                if await self._turn():
                    self._waiting.set()  # there may be more
            except EndedError:
                pass  # `_ready` says so, once
            except FailedError as error:
                event(log, logging.ERROR, "detectors failed", problem=str(error))
            except Exception:
                event(log, logging.ERROR, "detectors failed", exc_info=True)
            for _ in range(PACES):
                await asyncio.sleep(PACE)
                if self._queue.rows >= FEW_ROWS or self._queue.most >= OF_ONE:
                    break

    def close(self) -> None:
        """Ends the detectors' process."""
        self._process.close()

    async def history(self, caller: str) -> dict[str, dict[str, Any]]:
        """See `Engines.history`; nothing while the detectors do not run."""
        try:
            found: dict[str, dict[str, Any]] = await self._process.ask("history", caller)
            return found
        except EndedError:
            return {}

    async def _turn(self) -> bool:
        """One step of the log; False if nothing came of it."""
        if self._verdicts is not None:
            await self._verdicts.sync(self._watched())
        await self._look_for_actions()
        watched = self._watched()
        if not await self._ready(watched):
            return False
        taken = self._queue.take(BATCH_ROWS) if self._log.room else []
        known = [sighting for sighting in taken if sighting.model in watched]
        entries = await self._log.exchange(watched, await self._observe(known) if known else {})
        if entries:
            for entry, seen in zip(entries, await self._see(watched, entries), strict=True):
                self._note(entry, seen)
                self._judge(entry, seen.findings)
            if self._verdicts is not None:
                await self._verdicts.sync(watched)
        return bool(taken or entries)

    async def _ready(self, watched: Mapping[str, Watched]) -> bool:
        """Whether the detectors run, of these models; none run where none are watched."""
        if not watched:
            self._process.end()
            return True
        running = self._process.running
        if running and watched is self._configured:
            return True
        if not running and not await self._begin(watched):
            return False
        self._take(watched, await self._process.ask("configure", {name: each.recipe for name, each in watched.items()}))
        self._configured = watched
        return True

    async def _begin(self, watched: Mapping[str, Watched]) -> bool:
        """Detectors that know nothing of what others saw before."""
        self._configured = None
        for each in watched.values():
            each.engine = Remote()
        return await self._process.start()

    async def _observe(self, taken: Sequence[Sighting]) -> dict[str, Batch]:
        try:
            made: dict[str, Observed] = await self._process.ask("observe", taken)
        except (EndedError, FailedError):
            self._lost((sighting.model, sighting.rows) for sighting in taken)
            raise
        for name, each in made.items():
            for reason, rows in each.lost.items():
                self._metrics.lost(name, reason, rows)
        return {name: Batch(each.rows, each.encoded) for name, each in made.items() if each.encoded}

    async def _see(self, watched: Mapping[str, Watched], entries: Sequence[Entry]) -> Sequence[Seen]:
        try:
            seen, statuses = await self._process.ask("see", [(entry.model, entry.content) for entry in entries])
        except (EndedError, FailedError) as error:
            if isinstance(error, FailedError) or not self._log.keeps:
                self._lost((entry.model, entry.rows) for entry in entries)
            raise
        self._take(watched, statuses)
        return list(seen)

    def _lost(self, rows: Iterable[tuple[str, int]]) -> None:
        for model, count in rows:
            self._metrics.lost(model, "process", count)

    def _take(self, watched: Mapping[str, Watched], statuses: Mapping[str, Status]) -> None:
        for name, status in statuses.items():
            watched[name].engine.status = status
            for detector, problem in status.failures:
                self._metrics.failed(name, detector)
                event(log, logging.ERROR, "detector left out", model=name, detector=detector, problem=problem)

    def _note(self, entry: Entry, seen: Seen) -> None:
        if seen.damaged:
            self._metrics.lost(entry.model, "entry", entry.rows)
            event(log, logging.WARNING, "entry of the shared log left out", model=entry.model, problem=seen.damaged)
        else:
            self._metrics.saw(entry.model, entry.rows, seen.seconds, entry.source)
        if seen.problem:
            event(log, logging.ERROR, "detectors failed", model=entry.model, problem=seen.problem)

    async def _look_for_actions(self) -> None:
        """At most every ACTIONS_SECONDS, if there is nothing to send."""
        if self._actions is not None and (self._actions.waiting or time.monotonic() >= self._actions_due):
            self._actions_due = time.monotonic() + ACTIONS_SECONDS
            await self._actions.sync()

    def _judge(self, entry: Entry, findings: Sequence[Finding]) -> None:
        self.source = entry.source
        try:
            if entry.source == "own":
                for finding in findings:
                    self._metrics.found(entry.model, finding)
            concerned = self._policy.judge(entry.model, findings, entry.time)
            if entry.source == "own" and self._verdicts is not None:
                self._verdicts.note(concerned)
        finally:
            self.source = "own"
