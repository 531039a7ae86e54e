"""From the queue through the log to the detectors, and from their findings to the policy; beside the request path."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from detectors.findings import Finding
from proxy.detection.actions import Action, OnAction, SharedActions
from proxy.detection.log import Batch, Entry, Log, OwnLog, Source
from proxy.detection.queue import ObservationQueue
from proxy.detection.shared import SharedLog
from proxy.detection.sightings import Sighting, observations
from proxy.detection.verdicts import SharedVerdicts
from proxy.detection.watched import Watched
from proxy.detection.wire import UndecodableError, decode, encode
from proxy.logs import event
from proxy.metrics.detection import DetectionMetrics
from proxy.policy import Policy
from proxy.state.log import LogStore

log = logging.getLogger("tensorwall.detection")

BATCH_ROWS = 512
ACTIONS_SECONDS = 0.5
PACE = 0.02
"""Seconds between batches: calls gather meanwhile, and the loop has the interpreter to itself."""
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
        thread: of the detectors.
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
        self._looked: dict[str, float] = {}
        self.thread = ThreadPoolExecutor(1, "tensorwall-detectors")
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
                async with asyncio.timeout(self._log.pause):
                    await self._waiting.wait()
            self._waiting.clear()
            try:
                if await self._turn():
                    self._waiting.set()  # there may be more
            except Exception:
                event(log, logging.ERROR, "detectors failed", exc_info=True)
            for _ in range(PACES):
                await asyncio.sleep(PACE)
                if self._queue.rows >= FEW_ROWS or self._queue.most >= OF_ONE:
                    break

    def close(self) -> None:
        """Ends the detectors' thread."""
        self.thread.shutdown(wait=False, cancel_futures=True)

    async def _turn(self) -> bool:
        """One step of the log; False if nothing came of it."""
        if self._verdicts is not None:
            await self._verdicts.sync(self._watched())
        await self._look_for_actions()
        watched = self._watched()
        loop = asyncio.get_running_loop()
        taken = self._queue.take(BATCH_ROWS) if self._log.room else []
        batches = await loop.run_in_executor(self.thread, self._observed, watched, taken) if taken else {}
        entries = await self._log.exchange(watched, batches)
        if entries:
            for entry, findings in await loop.run_in_executor(self.thread, self._see, watched, entries):
                self._judge(entry, findings)
            if self._verdicts is not None:
                await self._verdicts.sync(watched)
        return bool(taken or entries)

    async def _look_for_actions(self) -> None:
        """At most every ACTIONS_SECONDS, if there is nothing to send."""
        if self._actions is not None and (self._actions.waiting or time.monotonic() >= self._actions_due):
            self._actions_due = time.monotonic() + ACTIONS_SECONDS
            await self._actions.sync()

    def _observed(self, watched: Mapping[str, Watched], taken: Sequence[Sighting]) -> dict[str, Batch]:
        """In the detectors' thread."""
        by_model: dict[str, list[Sighting]] = {}
        for sighting in taken:
            by_model.setdefault(sighting.model, []).append(sighting)
        made = {}
        for name, sightings in by_model.items():
            if name in watched:
                started, of = time.perf_counter(), watched[name]
                found = observations(sightings, of.extractor, of.settings, partial(self._metrics.lost, name))
                if found:
                    made[name] = Batch(found, encode(found) if self._log.encodes else b"")
                self._looked[name] = time.perf_counter() - started + self._looked.get(name, 0.0)
        return made

    def _see(self, watched: Mapping[str, Watched], entries: Sequence[Entry]) -> list[tuple[Entry, list[Finding]]]:
        """In the detectors' thread."""
        return [(entry, self._findings(watched[entry.model], entry)) for entry in entries]

    def _findings(self, watched: Watched, entry: Entry) -> list[Finding]:
        content = entry.content
        if isinstance(content, bytes):
            try:
                content = decode(content, entry.model)
            except UndecodableError as error:
                self._metrics.lost(entry.model, "entry", entry.rows)
                event(log, logging.WARNING, "entry of the shared log left out", model=entry.model, problem=str(error))
                return []
        started = time.perf_counter()
        try:
            findings = watched.engine.see(content)
            watched.history.take(content, _found_callers(findings))
            return findings
        except Exception:
            event(log, logging.ERROR, "detectors failed", exc_info=True, model=entry.model)
            return []
        finally:
            seconds = time.perf_counter() - started + self._looked.pop(entry.model, 0.0)
            self._metrics.saw(entry.model, entry.rows, seconds, entry.source)

    def _judge(self, entry: Entry, findings: list[Finding]) -> None:
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


def _found_callers(findings: list[Finding]) -> set[str]:
    callers: set[str] = set()
    for finding in findings:
        subject, cluster = finding.reading.subject, finding.reading.cluster
        callers |= {subject.id} if subject.kind == "caller" else set(cluster.blamed if cluster is not None else ())
    return callers
