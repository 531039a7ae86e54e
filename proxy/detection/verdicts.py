"""Verdicts beside the shared log, so that they outlive the process that reached them and are known to a later one.

The log keeps the latest rows, and a verdict stands for an hour: what the log alone would say is not enough.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from proxy.detection.watched import Watched
from proxy.logs import event
from proxy.policy import Policy, Verdict
from proxy.policy.kept import UnusableError, dump, load, technique_of
from proxy.state.log import UNUSED_SECONDS, LogAwayError, LogStore

log = logging.getLogger("tensorwall.detection")

EXTENDED_SECONDS = 10.0
"""A verdict that only lasts longer is written anew after so long."""
SWEEP_SECONDS = 60.0


@dataclass(slots=True)
class _Written:
    verdict: Verdict
    level: int
    until: float

    def differs(self, verdict: Verdict) -> bool:
        """Whether it has to be written anew."""
        other = self.verdict is not verdict or self.level != verdict.level
        return other or verdict.until - self.until >= EXTENDED_SECONDS


class SharedVerdicts:
    """Writes the verdicts that this process's rows led to, and takes over what others wrote.

    Args:
        store: where they are kept.
        policy: whose they are.
        clock: seconds since 1970.
        monotonic: seconds.
    """

    def __init__(
        self,
        store: LogStore,
        policy: Policy,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._monotonic = monotonic
        self._taken: dict[str, str] = {}
        self._noted: dict[tuple[str, str], Verdict] = {}
        self._written: dict[tuple[str, str], _Written] = {}
        self._swept = monotonic()

    def note(self, verdicts: Iterable[Verdict]) -> None:
        """There is new evidence for these, of this process's rows."""
        for verdict in verdicts:
            self._noted[_key(verdict)] = verdict

    def anew(self) -> None:
        """The store may have forgotten, and others may have written."""
        self._taken.clear()
        self._written.clear()
        self.note(self._policy.verdicts(self._clock()))

    async def sync(self, watched: Mapping[str, Watched]) -> None:
        """Takes over and writes whatever is due. Does nothing while the store is away."""
        self._taken = {name: mark for name, mark in self._taken.items() if name in watched}
        try:
            for name, each in watched.items():
                if self._store.good and self._taken.get(name) != each.mark:
                    await self._take(each)
                    self._taken[name] = each.mark
            if self._store.good and (self._noted or self._monotonic() - self._swept >= SWEEP_SECONDS):
                await self._write(watched)
        except LogAwayError:
            pass

    async def _take(self, watched: Watched) -> None:
        now, gone = self._clock(), []
        for name, raw in (await self._store.kept(watched.name)).items():
            settings = self._policy.settings(watched.name)
            try:
                technique, mark = technique_of(raw)
                if settings is None:
                    return
                verdict = load(raw, watched.name, settings.policy.of(technique))
            except UnusableError as error:
                event(log, logging.DEBUG, "kept verdict left out", model=watched.name, problem=str(error))
                continue
            verdict.settle(now)
            if verdict.level < 0:
                gone.append(name)
            elif verdict.subject.kind != "cluster" or mark == watched.mark:  # its rows are known by their features
                self._policy.take(verdict, now)
        if gone:
            await self._store.keep(watched.name, {}, gone, UNUSED_SECONDS)

    async def _write(self, watched: Mapping[str, Watched]) -> None:
        facts, gone = self._due(watched)
        for name in facts.keys() | gone.keys():
            lasts = max((verdict.until - self._clock() for verdict in facts.get(name, {}).values()), default=0.0)
            written = {field: dump(verdict, watched[name].mark) for field, verdict in facts.get(name, {}).items()}
            await self._store.keep(name, written, gone.get(name, []), UNUSED_SECONDS + max(0.0, lasts))
            for field, verdict in facts.get(name, {}).items():
                self._written[name, field] = _Written(verdict, verdict.level, verdict.until)
            for field in gone.get(name, []):
                del self._written[name, field]

    def _due(self, watched: Mapping[str, Watched]) -> tuple[dict[str, dict[str, Verdict]], dict[str, list[str]]]:
        facts: dict[str, dict[str, Verdict]] = {}
        gone: dict[str, list[str]] = {}
        for key, verdict in tuple(self._noted.items()):
            written = self._written.get(key)
            if not self._policy.holds(verdict) or verdict.model not in watched:
                del self._noted[key]
            elif written is None or written.differs(verdict):
                del self._noted[key]
                facts.setdefault(key[0], {})[key[1]] = verdict
        if self._monotonic() - self._swept >= SWEEP_SECONDS:
            self._swept = self._monotonic()
            for (name, field), written in self._written.items():
                if not self._policy.holds(written.verdict) and name in watched:
                    gone.setdefault(name, []).append(field)
        return facts, gone


def _key(verdict: Verdict) -> tuple[str, str]:
    return verdict.model, f"{verdict.technique.value}/{verdict.subject.kind}/{verdict.subject.id}"
