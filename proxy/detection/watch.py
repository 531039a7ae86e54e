"""Detection as the request path uses it."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import grpc

from detectors.observation import Features
from proxy.codec import Decoded
from proxy.config.detection import Detection as Settings
from proxy.detection.actions import Action as SharedAction
from proxy.detection.actions import OnAction
from proxy.detection.feed import Feed
from proxy.detection.glance import EARLY_BYTES, Glance, groups, looked_at
from proxy.detection.sightings import MAX_ROWS
from proxy.detection.watched import Watched
from proxy.errors import Rejection
from proxy.identity import Caller
from proxy.limits import unavailable
from proxy.logs import event, printable
from proxy.metrics.detection import DetectionMetrics
from proxy.offload import offload
from proxy.policy import Action, Policy, Standing, Verdict
from proxy.policy.echo import Echo
from proxy.policy.verdict import harder
from proxy.state import LogStore
from proxy.upstream import Reply

log = logging.getLogger("tensorwall.detection")

AT_ONCE = 100
"""Verdicts that are looked at before the event loop gets its turn."""
PAUSE = 0.003
"""Seconds that the event loop then has for calls."""

_BLOCKED = "this caller's calls of this model are not answered at present; ask the operator of this service"


class Detection:
    """Watches calls. One for the whole process: what was learned of callers outlives a reload.

    Args:
        salt: of features where no profile has one.
        metrics: told of everything.
        executor: where large requests are looked at.
        clock: seconds since 1970.
        rng: throws the delays; need not be secret.
        told: of each verdict that is new or reached a new step, of the time, and whether this proxy found it.
        on_action: told of actions that other proxies published.
    """

    def __init__(
        self,
        salt: bytes,
        metrics: DetectionMetrics,
        executor: Executor,
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
        told: Callable[[Verdict, float, bool], None] | None = None,
        on_action: OnAction | None = None,
    ) -> None:
        self.policy = Policy(self._reached)
        self._told = told
        self._salt = salt
        self._metrics = metrics
        self._executor = executor
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311  # a delay is no secret
        self._watched: Mapping[str, Watched] = {}
        self._feed = Feed(lambda: self._watched, self.policy, metrics, clock, on_action or _nobody_acts)
        self._echo = Echo()
        metrics.read(self)

    @property
    def queued_rows(self) -> int:
        """Rows that wait for the detectors."""
        return self._feed.queued_rows

    @property
    def process_id(self) -> int | None:
        """Of the detectors' process, while there is one."""
        return self._feed.process_id

    @property
    def evicted(self) -> int:
        """Verdicts that were forgotten before their time."""
        return self.policy.evicted

    @property
    def watched(self) -> Mapping[str, Watched]:
        """The watched models."""
        return self._watched

    def configure(self, models: Mapping[str, Settings], salt: bytes | None = None) -> None:
        """Takes the settings of all watched models. Engines stay as far as what they were made from does.

        Args:
            models: their settings; those that are off are left out.
            salt: of features where no profile has one, if it changed.
        """
        self._salt = salt or self._salt
        made = {}
        for name, settings in models.items():
            if settings.mode != "off":
                made[name] = self._make(name, settings)
                if settings.learned is not None and settings.learned.model != name:
                    of = settings.learned.model
                    event(log, logging.WARNING, "the profile is of another model", model=name, profile_of=of)
                if settings.mode == "enforce" and settings.learned is None:
                    event(log, logging.WARNING, "detection stays in shadow: the model has no profile", model=name)
        self._metrics.configure(
            {name: watched.settings for name, watched in made.items()},
            {name: watched.profile.digest for name, watched in made.items()},
        )
        self._watched = made
        self.policy.configure({name: watched.settings for name, watched in made.items()})

    def of(self, model: str) -> Watched | None:
        """A model's detection, if it is watched."""
        return self._watched.get(model)

    def apply(self, action: Action) -> list[Verdict]:
        """Takes an operator's decision, of this process or of another; returns the verdicts that it ended.

        Raises:
            TooManyDecisionsError: as `Manual.decide`.
        """
        return self.policy.apply(action, self._clock())

    def refuse_blocked(self, caller: Caller, model: str) -> None:
        """Refuses whom an operator has blocked, watched model or not.

        Args:
            caller: whose call it is.
            model: that it names; empty for a call whose model is not known, which only a block of all models refuses.

        Raises:
            Rejection: PERMISSION_DENIED.
        """
        if self.policy.manual.blocks(caller.id, model, self._clock()):
            if model in self._watched:
                self._metrics.acted(model, "refused")
            raise Rejection(grpc.StatusCode.PERMISSION_DENIED, _BLOCKED, reason="verdict")

    def admit(self, watched: Watched, caller: Caller) -> Standing:
        """How a caller stands.

        Raises:
            Rejection: it is blocked; or the store is away, and calls may not pass without it.
        """
        if not self._feed.good and self.policy.acts(watched.name, caller.id):
            raise unavailable()
        standing = self.policy.standing(watched.name, caller.id, groups(caller), self._clock())
        if standing.blocked:
            raise self._refusal(watched)
        return standing

    async def look(
        self, watched: Watched, caller: Caller, standing: Standing, decoded: Decoded, body: bytes, patience: float
    ) -> Glance:
        """Looks at how a request stands, and its rows if that matters. Holds it back if it is to be slowed.

        Args:
            watched: the model.
            caller: whose request it is.
            standing: of the caller.
            decoded: the request.
            body: its message.
            patience: seconds that the caller waits; it is held back for half of them at most.

        Raises:
            Rejection: a row belongs to a cluster that is blocked.
        """
        started = time.perf_counter()
        spec = getattr(decoded.message, "model_spec", None)
        signature = "" if spec is None else spec.signature_name
        glance = Glance(caller, signature, [standing], standing.rules, body, decoded.rows, decoded.claim)
        members = self.policy.members(watched.name, caller.id)
        by_rows = standing.echoes or members
        size = max(decoded.claim, len(body))
        if by_rows or size > EARLY_BYTES:
            with contextlib.suppress(ValueError, MemoryError):  # numbers that no array can hold
                async with contextlib.aclosing(looked_at(watched, decoded, size, self._executor)) as blocks:
                    async for rows, features in blocks:
                        pairs = members.size(len(features))
                        owners = await offload(self._executor, pairs, members.of, features.embeddings)
                        self._judge(watched, glance, standing, rows, features, owners)
                        if not by_rows:
                            break  # those that are observed are known
        glance.seconds = time.perf_counter() - started
        if any(each.slowed for each in glance.standings):
            self._metrics.acted(watched.name, "slowed")
            await asyncio.sleep(min(self._rng.uniform(*watched.settings.delay), max(0.0, patience / 2)))
        return glance

    def answered(self, watched: Watched, glance: Glance, path: str, reply: Reply) -> Reply:
        """Observes a reply, and answers rows as earlier near ones where a verdict says so. Never waits."""
        if reply.code is not grpc.StatusCode.OK:
            return reply
        started = time.perf_counter()
        self._feed.put(glance.sighting(watched, self._clock(), path, reply.body))
        if glance.echoes:
            body, rows = self._echo.answer(path, reply.body, glance.standings, glance.echoes)
            if rows:
                self._metrics.acted(watched.name, "echoed")
                self._metrics.echoed(watched.name, rows)
                reply = Reply(reply.code, reply.details, body, reply.initial, reply.trailing)
        self._metrics.looked(watched.name, glance.seconds + time.perf_counter() - started)
        return reply

    def share(self, store: LogStore | None) -> None:
        """Takes a store's log of observations, which other proxies share; None: this process is alone."""
        self._metrics.log_up(True)
        self._feed.share(store)

    def shared(self, good: bool) -> None:
        """The store went away, or is back."""
        self._metrics.log_up(good)
        if good:
            self._feed.returned()

    async def start(self) -> None:
        """Takes over the verdicts that stand."""
        await self._feed.take_over()

    def publish(self, name: str, action: SharedAction, until: float | None) -> None:
        """Tells all other proxies that share the store of an action, those too that start later. Never waits.

        Args:
            name: under which it stands; one that is published later, by any proxy, takes its place.
            action: JSON, small.
            until: when it runs out, seconds since 1970; None for never.

        Raises:
            ValueError: it is too large.
        """
        self._feed.publish(name, action, until)

    async def run(self) -> None:
        """Feeds the detectors, until cancelled."""
        await self._feed.run()

    def close(self) -> None:
        """Ends the detectors' process."""
        self._feed.close()

    async def verdicts(self, model: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """All verdicts that stand and what operators decided, for the admin port."""
        for verdict in await self.survey():
            if model in (None, verdict.model):
                yield verdict.to_json(self._clock())
        for action in self.policy.manual.standing(self._clock()):
            if model in (None, action.model) or action.model is None:
                yield action.as_verdict()

    async def history(self, caller: str) -> list[dict[str, Any]]:
        """By model: how near a caller's rows were, and how far a copy of its making would have come."""
        return [{"model": printable(name), **shown} for name, shown in (await self._feed.history(caller)).items()]

    @property
    def forgotten(self) -> int:
        """Callers whose history was forgotten."""
        return sum(watched.engine.status.forgotten for watched in self._watched.values())

    async def survey(self) -> list[Verdict]:
        """All verdicts that stand, looked at a few at a time, so that calls are answered meanwhile."""
        found = []
        for at, verdict in enumerate(self.policy.held(), 1):
            if self.policy.stands(verdict, self._clock()):
                found.append(verdict)
            if at % AT_ONCE == 0:
                await asyncio.sleep(PAUSE)
        return found

    def standing_verdicts(self) -> list[Verdict]:
        """All verdicts that stand."""
        return self.policy.verdicts(self._clock())

    def _make(self, name: str, settings: Settings) -> Watched:
        old = self._watched.get(name)
        made = Watched.made(name, settings, self._salt, old)
        if old is not None and old.engine is not made.engine:
            self.policy.forget_clusters(name)  # their embeddings are of another salt
        return made

    def _judge(
        self,
        watched: Watched,
        glance: Glance,
        standing: Standing,
        rows: int,
        features: Features,
        owners: Sequence[Verdict | None],
    ) -> None:
        """How the next of a call's rows stand, by the verdicts on the clusters that they belong to."""
        if glance.features is None:
            glance.features, glance.rows, glance.standings, glance.request = features, rows, [], b""
        own = [standing] * len(features)
        by_cluster = self.policy.row_standings(watched.name, glance.caller.id, owners, self._clock())
        if any(each.blocked for each in by_cluster):
            raise self._refusal(watched)
        for row, each in enumerate(by_cluster):
            if each.step is not None:
                own[row] = each  # what its cluster says is closer to the row than what its caller does
                glance.rules = harder(glance.rules, each.rules)
        for row, each in enumerate(own):
            if each.echoes and len(glance.echoes) < MAX_ROWS:
                glance.echoes[len(glance.standings) + row] = features.embeddings[row].copy()
        glance.standings += own

    def _reached(self, verdict: Verdict, now: float) -> None:
        """A verdict is new, or reached a new step; of several proxies, the one whose row it was reports it."""
        if self._told is not None:
            self._told(verdict, now, self._feed.source == "own")
        match self._feed.source:
            case "own":
                self._metrics.reached(verdict, now)
                event(log, logging.WARNING, "verdict", **verdict.to_json(now))
            case "other":
                event(log, logging.INFO, "verdict of another proxy", **verdict.to_json(now))
            case "past":
                pass

    def _refusal(self, watched: Watched) -> Rejection:
        self._metrics.acted(watched.name, "refused")
        return Rejection(grpc.StatusCode.PERMISSION_DENIED, _BLOCKED, reason="verdict")


def _nobody_acts(action: SharedAction, source: str) -> None:
    """Operators' actions are not this process's business."""
