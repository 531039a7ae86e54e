"""From the queue through the log to the detectors, and from their findings to the policy; beside the request path."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from detectors.findings import Finding
from proxy.detection.actions import Action, OnAction, SharedActions
from proxy.detection.engines import Observed, Seen
from proxy.detection.log import Batch, Entry, Source
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
from proxy.state.tasks import ended

log = logging.getLogger("tensorwall.detection")

BATCH_ROWS, BATCH_BYTES = 512, 2**20
"""Of calls (by `Sighting.weight`) and of entries that the detectors get at once: they are pickled on the event loop."""
ACTIONS_SECONDS = 0.5
PACE = 0.02
"""Seconds between batches: calls gather meanwhile."""
HISTORY_SECONDS = 5.0
"""For which an operator's question waits behind the rows that the detectors are at."""
LOOK_SECONDS = 1.0
"""Between two looks at how the detectors are, and whether they run."""
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
        self._process = DetectorProcess(self._ended)
        self._preparing: asyncio.Task[None] | None = None
        self._configured: Mapping[str, Watched] = {}
        self._look_due = 0.0
        self._unseen: list[Entry] = []
        self._at = 0
        self._waiting = asyncio.Event()
        self._log: SharedLog | None = None
        self._verdicts: SharedVerdicts | None = None
        self._actions: SharedActions | None = None
        self._actions_due = 0.0

    @property
    def queued_rows(self) -> int:
        """Rows that the detectors have not seen yet: those that wait, and those that they are at."""
        return self._queue.rows + self._at

    @property
    def good(self) -> bool:
        """Whether calls may pass: False while a store is away that they may not go on without."""
        return self._log is None or self._log.good

    @property
    def process_id(self) -> int | None:
        """Of the detectors' process, while there is one."""
        return self._process.pid

    def share(self, store: LogStore | None) -> None:
        """Takes the log of a store from now on; without one, this process's own."""
        if store is None:
            self._log = self._verdicts = self._actions = None
        else:
            self._log = SharedLog(store, self._metrics, self.returned, self._log, self._clock)
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
        """Takes over what stands; what is in the log by now is past. If the store is away, once it is back."""
        await self._sync(self._watched())
        if self._actions is not None:
            await self._actions.sync()
        if self._log is not None:
            await self._log.exchange(self._watched(), {}, reading=False)

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
        try:
            while True:
                await self._wait()
                try:
                    if await self._turn():
                        self._waiting.set()  # there may be more
                except EndedError:
                    pass  # `DetectorProcess` said so
                except FailedError as error:
                    event(log, logging.ERROR, "detectors failed", problem=str(error))
                except Exception:
                    event(log, logging.ERROR, "detectors failed", exc_info=True)
                await self._pace()
        finally:
            await ended(self._preparing)

    def close(self) -> None:
        """Ends the detectors' process."""
        self._process.close()

    async def history(self, caller: str) -> dict[str, dict[str, Any]]:
        """See `Engines.history`; nothing while the detectors do not run, or do not answer."""
        try:
            async with asyncio.timeout(HISTORY_SECONDS):
                found: dict[str, dict[str, Any]] = await self._process.ask("history", caller)
            return found
        except (EndedError, TimeoutError):
            return {}

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS if self._log is None else min(self._log.pause, LOOK_SECONDS)):
                await self._waiting.wait()
        self._waiting.clear()

    async def _pace(self) -> None:
        for _ in range(PACES):
            await asyncio.sleep(PACE)
            if self._queue.rows >= FEW_ROWS or self._queue.most >= OF_ONE:
                break

    async def _turn(self) -> bool:
        """One step; False if nothing came of it. The shared log is followed whether the detectors run or not."""
        watched = self._watched()
        await self._sync(watched)
        await self._look_for_actions()
        ready = self._ready(watched)
        taken = self._queue.take(BATCH_ROWS) if ready and (self._log is None or self._log.room) else []
        observed = await self._observe(watched, taken) if taken else {}
        if self._log is not None:
            batches = {name: Batch(each.rows, each.encoded) for name, each in observed.items() if each.encoded}
            self._unseen += await self._log.exchange(watched, batches, reading=not self._unseen)
        some = bool(taken or self._unseen)
        if ready:
            await self._see(watched)
            await self._sync(watched)
            await self._look_at_detectors(watched)
        return some and ready

    def _ready(self, watched: Mapping[str, Watched]) -> bool:
        """Whether the detectors run, with these models, some at least. If not, that is seen to meanwhile."""
        running = self._process.running
        if running and watched is self._configured:
            return True
        if (running or (watched and self._process.due)) and (self._preparing is None or self._preparing.done()):
            self._preparing = asyncio.get_running_loop().create_task(self._prepare(watched))
        return False

    async def _prepare(self, watched: Mapping[str, Watched]) -> None:
        """Detectors of these models; none run where none are watched."""
        try:
            if not watched or not self._process.running:
                self._configured = {}
            if not watched:
                await self._process.end()
            elif await self._process.start():
                for name, each in watched.items():
                    await self._process.ask("take", name, each.recipe)
                await self._process.ask("keep", list(watched))
                self._configured, self._look_due = watched, 0.0
                event(log, logging.INFO, "detectors run", models=len(watched))
        except EndedError:
            pass
        except FailedError as error:
            event(log, logging.ERROR, "detectors failed", problem=str(error))
            await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._waiting.set()

    def _ended(self) -> None:
        """By itself. Who comes next knows nothing of what they saw: it is for other engines, which read it again."""
        self._metrics.ended()
        self._configured = {}
        for each in self._watched().values():
            each.engine = Remote()
        self._waiting.set()

    async def _observe(self, watched: Mapping[str, Watched], taken: Sequence[Sighting]) -> dict[str, Observed]:
        """Where nobody shares, the detectors see them in the same breath."""
        own, known = self._log is None, [each for each in taken if each.model in watched]
        self._at = sum(each.rows for each in known)
        try:
            observed: dict[str, Observed] = await self._process.ask("observe", known, own)
            now = self._clock()
            for name, made in observed.items():
                for reason, rows in made.lost.items():
                    self._metrics.lost(name, reason, rows)
                if made.problem:
                    event(log, logging.ERROR, "call left unobserved", model=name, problem=made.problem)
                if made.seen is not None:
                    self._conclude(Entry(name, "own", now, made.rows, watched[name].engine), made.seen)
        except (EndedError, FailedError):
            for each in known:
                self._metrics.lost(each.model, "process", each.rows)
            raise
        finally:
            self._at = 0
        return observed

    async def _see(self, watched: Mapping[str, Watched]) -> None:
        """What the shared log gave, a part at a time. If the detectors end, theirs is read again."""
        self._unseen = [
            each for each in self._unseen if each.model in watched and each.engine is watched[each.model].engine
        ]
        while self._unseen:
            part = self._unseen[: _fitting(self._unseen)]
            try:
                seen = await self._process.ask("see", [(entry.model, entry.content) for entry in part])
            except FailedError:
                for entry in part:
                    self._metrics.lost(entry.model, "process", entry.rows)
                del self._unseen[: len(part)]
                raise
            for entry, each in zip(part, seen, strict=True):
                self._conclude(entry, each)
            del self._unseen[: len(part)]

    def _conclude(self, entry: Entry, seen: Seen) -> None:
        if seen.damaged:
            self._metrics.lost(entry.model, "entry", entry.rows)
            event(log, logging.WARNING, "entry of the shared log left out", model=entry.model, problem=seen.damaged)
        else:
            self._metrics.saw(entry.model, entry.rows, seen.seconds, entry.source)
        if seen.failed:
            self._look_due = 0.0
        if seen.problem:
            event(log, logging.ERROR, "detectors failed", model=entry.model, problem=seen.problem)
        self._judge(entry, seen.findings)
        if self._log is not None:
            self._log.done(entry)

    async def _look_at_detectors(self, watched: Mapping[str, Watched]) -> None:
        """At most every LOOK_SECONDS."""
        if time.monotonic() < self._look_due:
            return
        self._look_due = time.monotonic() + LOOK_SECONDS
        for name, status in (await self._process.ask("status")).items():
            watched[name].engine.status = status
            for detector, problem in status.failures:
                self._metrics.failed(name, detector)
                event(log, logging.ERROR, "detector left out", model=name, detector=detector, problem=problem)

    async def _sync(self, watched: Mapping[str, Watched]) -> None:
        if self._verdicts is not None:
            await self._verdicts.sync(watched)

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


def _fitting(entries: Sequence[Entry]) -> int:
    """How many of the first fit into BATCH_BYTES; one at least."""
    size = 0
    for at, entry in enumerate(entries):
        size += len(entry.content)
        if at and size > BATCH_BYTES:
            return at
    return len(entries)
