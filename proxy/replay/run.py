"""Recorded calls through the limiter, the detectors and the policy of a candidate configuration.

The recording's time is the clock. A call is admitted when it came; its slots are free and its observation is made when
it was answered; detectors see batches as they would in a running proxy that is never busy. A call that the candidate
refuses is not observed, since the model would not have been asked. What callers would have done differently had they
been refused, no recording knows.
"""

import heapq
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from prometheus_client import CollectorRegistry

from detectors.engine import Engine
from detectors.features import Extractor
from detectors.findings import Finding
from detectors.observation import Observation
from detectors.profile import Profile
from proxy.capture.observed import observation
from proxy.capture.record import RecordedCall
from proxy.config.detection import Detection
from proxy.config.schema import Config
from proxy.detection.feed import BATCH_ROWS, PACE
from proxy.detection.glance import groups
from proxy.errors import Rejection
from proxy.limiter import Limiter
from proxy.metrics import ProtectionMetrics
from proxy.policy import CLEAR, Policy, Standing
from proxy.protection import GuardTable
from proxy.replay.tally import Tally
from proxy.state.memory import MemoryStore
from proxy.upstream import UpstreamPool

SALT = b"tensorwall replay: stated defaults have no salt of their own"


@dataclass(slots=True)
class SimulatedClock:
    """Seconds since 1970 that never go back."""

    now: float = 0.0

    def advance(self, to: float) -> None:
        """Moves on to a time; an earlier one changes nothing."""
        self.now = max(self.now, to)

    def nanoseconds(self) -> int:
        """The same in ns."""
        return int(self.now * 1e9)


@dataclass(frozen=True, slots=True)
class _Watched:
    settings: Detection
    extractor: Extractor
    engine: Engine


@dataclass(order=True, slots=True)
class _Answered:
    time: float
    turn: int
    release: Callable[[], None] = field(compare=False)
    seen: Observation | None = field(compare=False)


class Replay:
    """One replay. Use it in one event loop, as the proxy uses the same parts.

    Args:
        config: the candidate.
        tally: told of everything.
    """

    def __init__(self, config: Config, tally: Tally) -> None:
        self._tally = tally
        self._clock = SimulatedClock()
        store = MemoryStore(config.store.max_keys, self._clock.nanoseconds)
        self._limiter = Limiter(config.limits, lambda: store, tally)
        self._upstream = UpstreamPool(  # never called: guards only name it for their purifiers
            config.upstream,
            config.bounds.message_bytes,
            None,
            clock=lambda: self._clock.now,
            rng=random.Random(0),  # noqa: S311  # no secret
            retried=lambda _: None,
        )
        self._guards = GuardTable(config, self._upstream, ProtectionMetrics(CollectorRegistry()))
        self._policy = Policy(tally.reached)
        settings = {name: model.detection for name, model in config.models.items() if model.detection is not None}
        on = {name: each for name, each in settings.items() if each.mode != "off"}
        self._policy.configure(on)
        self._watched: Mapping[str, _Watched] = {name: self._watch(name, each) for name, each in on.items()}
        self._answered: list[_Answered] = []
        self._turn = count()
        self._batch: list[Observation] = []
        self._batch_rows = 0

    async def see(self, call: RecordedCall) -> None:
        """Takes the next call, in the order of their times."""
        self._until(call.time)
        self._tally.begin(call)
        watched = self._watched.get(call.model)
        standing = CLEAR if watched is None else self._standing(call)
        if standing.blocked:
            self._tally.refused(call)
            return
        guards = self._guards.of(call.model, call.caller, standing.rules)
        try:
            release = await self._limiter.admit(call.caller, call.model, call.rows, len(call.body), guards.limits)
        except Rejection:
            self._tally.refused(call)
            return
        seen = None if watched is None else observation(call, watched.settings, watched.extractor)
        if watched is not None and seen is None:
            self._tally.unread += 1
        if seen is not None and self._blocked_by_rows(call, seen):
            release()
            self._tally.refused(call)
            return
        heapq.heappush(self._answered, _Answered(call.time + call.seconds, next(self._turn), release, seen))

    async def end(self) -> None:
        """All calls have come: the last are answered and seen."""
        self._until(float("inf"))
        await self._upstream.close()

    def _watch(self, name: str, settings: Detection) -> _Watched:
        profile = settings.learned or Profile.defaults(name, SALT)
        own = [each.made() for each in settings.own]
        engine = Engine(profile, own, settings.off, failed=partial(self._failed, name))
        return _Watched(settings, Extractor(profile.salt, profile.scaling), engine)

    def _failed(self, model: str, detector: str, error: Exception) -> None:
        self._tally.failures[f"{model}: {detector}"] = repr(error)

    def _standing(self, call: RecordedCall) -> Standing:
        model, caller, now = call.model, call.caller, self._clock.now
        acts = self._policy.acts(model, caller.id)
        for verdict, step in self._policy.against(model, caller.id, groups(caller), now):
            self._tally.under(call, verdict, step, acts)
        return self._policy.standing(model, caller.id, groups(caller), now)

    def _blocked_by_rows(self, call: RecordedCall, seen: Observation) -> bool:
        """What the clusters do to whose rows lie in them."""
        owners = self._policy.members(call.model, call.caller.id).of(seen.features.embeddings)
        standings = self._policy.row_standings(call.model, call.caller.id, owners, self._clock.now)
        ids = {standing.subject.rpartition("\0")[2] for standing in standings if standing.step is not None}
        for verdict in self._policy.verdicts(self._clock.now, call.model) if ids else ():
            if verdict.id in ids and verdict.step is not None:
                self._tally.under(call, verdict, verdict.step, True)
        return any(standing.blocked for standing in standings)

    def _until(self, time: float) -> None:
        """What happens up to a time."""
        while self._answered and self._answered[0].time <= time:
            done = heapq.heappop(self._answered)
            self._flush_before(done.time)
            self._clock.advance(done.time)
            done.release()
            if done.seen is not None:
                self._batch.append(done.seen)
                self._batch_rows += done.seen.rows
                if self._batch_rows >= BATCH_ROWS:
                    self._flush(done.time)
        self._flush_before(time)
        if time != float("inf"):
            self._clock.advance(time)

    def _flush_before(self, time: float) -> None:
        if self._batch and time >= (due := self._batch[0].time + PACE):
            self._flush(due)

    def _flush(self, time: float) -> None:
        self._clock.advance(time)
        batch, self._batch, self._batch_rows = self._batch, [], 0
        for model, watched in self._watched.items():
            own = [each for each in batch if each.model == model]
            if own:
                findings: list[Finding] = watched.engine.see(own)
                self._policy.judge(model, findings, self._clock.now)
