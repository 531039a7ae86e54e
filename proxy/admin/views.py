"""What the admin API shows, as plain values ready for JSON. docs/operators.md describes them."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from heapq import nlargest, nsmallest
from operator import itemgetter
from time import perf_counter
from typing import Any

from proxy.activity import CallerRecord, CallerTable, Traffic, caller_key
from proxy.activity.attacks import Attack, Attacks
from proxy.config.detection import STEPS, StepName
from proxy.config.schema import Config
from proxy.detection import Detection
from proxy.events import Hub
from proxy.logs import printable
from proxy.metrics.labels import label_value
from proxy.policy import Action, Verdict

MAX_PAGE = 200
STRONGEST = 8
"""Attacks that the summary shows."""
WORK, PAUSE = 0.001, 0.003
"""Seconds of work on a long list, and those that calls then have for themselves; one such list is made at a time."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """A page of a list.

    Attributes:
        offset, limit: which entries.
        filters: by name, as asked for; an empty one does not count.
        sort: key.
        descending: order.
    """

    offset: int
    limit: int
    filters: Mapping[str, str]
    sort: str = ""
    descending: bool = True

    @property
    def usual(self) -> bool:
        """Whether all are wanted, those first against whom most stands."""
        return self.sort in ("", "score") and self.descending and not any(self.filters.values())


@dataclass(frozen=True, slots=True)
class Views:
    """Where everything that is shown comes from.

    Attributes:
        config: in force.
        detection: verdicts and decisions.
        callers, traffic, attacks: what has been going on.
        hub: events.
        clock: seconds since 1970.
        alone: held while a long list is made.
    """

    config: Callable[[], Config]
    detection: Detection
    callers: CallerTable
    traffic: Traffic
    attacks: Attacks
    hub: Hub
    clock: Callable[[], float]
    alone: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def caller_list(self, asked: Asked) -> Json:
        """Callers, with the hardest that stands against each."""
        async with self.alone:
            return await self._caller_list(asked)

    async def _caller_list(self, asked: Asked) -> Json:
        policy, now = self.detection.policy, self.clock()
        decisions = self._decisions()
        records = self.callers.records()
        known = {record.name for record in records}
        names = {each.subject.id for each in policy.held() if each.subject.kind == "caller"} | set(decisions)
        records += [_stranger(name) for name in names - known]
        quiet: list[CallerRecord] = []
        if asked.usual:  # of whom nothing is known come last, whoever called last first, and need no look
            quiet = [each for each in reversed(records) if each.name not in names]
            records = [each for each in records if each.name in names]
        order = _ORDERS.get(asked.sort, _ORDERS["score"])
        found, turns = [], _Turns()
        for at, record in enumerate(records, 1):
            verdicts = policy.of_caller(record.name, now) if record.name in names else []
            against = _Against(record, verdicts, decisions.get(record.name, []), now)
            if _wanted(against, asked.filters):
                found.append((order(against), record.last, at, against))
            await turns.take()
        first = nlargest if asked.descending else nsmallest
        end = asked.offset + asked.limit
        page = [each[3] for each in first(end, found, _PLACE)[asked.offset :]]
        rest = quiet[max(0, asked.offset - len(found)) : max(0, end - len(found))]
        page += [_Against(record, [], [], now) for record in rest]
        return {
            "callers": [each.to_json() for each in page],
            "total": len(found) + len(quiet),
            "now": self.clock(),
        }

    async def caller(self, key: str) -> Json | None:
        """One caller with everything that is known of it; None if it is unknown."""
        record = self.callers.by_key(key)
        if record is None:
            return None
        now = self.clock()
        decided = self._decisions().get(record.name, [])
        against = _Against(record, self.detection.policy.of_caller(record.name, now), decided, now)
        shown = printable(record.name)
        events = [content for _, _, content in self.hub.since(0) if _about(content, shown)]
        return against.to_json() | {
            "models": dict(record.models),
            "manual": _decision(decided[-1]) if decided else None,
            "decisions": [_decision(each) for each in decided],
            "verdicts": [each.to_json(now) for each in against.verdicts],
            "evidence": await self.detection.history(record.name),
            "events": events[: -50 - 1 : -1],
            "now": now,
        }

    async def attack_list(self, asked: Asked) -> Json:
        """Attacks, the latest first, those that are over included."""
        found = self.attacks.all()
        if model := asked.filters.get("model"):
            found = [each for each in found if model in (each.verdict.model, printable(each.verdict.model))]
        if technique := asked.filters.get("technique"):
            found = [each for each in found if each.verdict.technique.value == technique]
        if step := asked.filters.get("step"):
            found = [each for each in found if not each.ended and step in (each.verdict.step, "any")]
        page = []
        for attack in found[asked.offset : asked.offset + asked.limit]:
            page.append(_attack(attack, self.clock()))
            await asyncio.sleep(0)
        return {"attacks": page, "total": len(found), "now": self.clock()}

    async def summary(self) -> Json:
        """Is something happening: how many attacks stand and act, on which models, and the strongest of them.

        Stronger is who stands on the harder step, then who is acted on, then of whom there was evidence last.
        """
        async with self.alone:
            return await self._summary()

    async def _summary(self) -> Json:
        acting, models, found, turns = 0, [set[str](), set[str]()], [], _Turns()
        for at, attack in enumerate(self.attacks.all(), 1):
            step, verdict = attack.verdict.step, attack.verdict
            if attack.ended is None and step is not None:
                acts = step != "observe"
                acting += acts
                models[acts].add(verdict.model)
                found.append((STEPS.index(step), verdict.mode == "enforce", verdict.updated, at, attack))
            await turns.take()
        strongest = [_attack(each[4], self.clock()) for each in nlargest(STRONGEST, found)]
        return {
            "standing": len(found),
            "acting": acting,
            "models": sorted(map(printable, models[1] or models[0])),
            "strongest": strongest,
            "last_attack": self.attacks.last,
            "now": self.clock(),
        }

    def attack(self, name: str) -> Json | None:
        """One attack; None if it is unknown."""
        attack, now = self.attacks.get(name), self.clock()
        if attack is None:
            return None
        rows = sorted(attack.verdict.callers.items(), key=lambda item: -item[1])
        callers = [{"key": caller_key(caller), "name": printable(caller), "rows": count} for caller, count in rows]
        return _attack(attack, now) | {"callers": callers, "now": now}

    async def model_list(self) -> Json:
        """The configured models: their protections with modes, and what verdicts stand in which mode."""
        now = self.clock()
        counts: dict[str, dict[str, int]] = defaultdict(lambda: {"enforce": 0, "shadow": 0})
        for verdict in await self.detection.survey():
            counts[verdict.model][verdict.mode] += 1
        return {"models": [self._model(name, counts[name]) for name in self.config().models], "now": now}

    def events(self, limit: int, offset: int = 0) -> Json:
        """The latest events, the latest first, as the audit log has them."""
        found = [content for _, _, content in self.hub.since(0)][::-1]
        return {"events": found[offset : offset + limit], "total": len(found), "now": self.clock()}

    def recent_traffic(self, seconds: int) -> Json:
        """Calls and latency, second by second."""
        points = self.traffic.points(seconds)
        return {"points": points, "seconds": 1, "now": self.clock(), "last_attack": self.attacks.last}

    def _decisions(self) -> dict[str, list[Action]]:
        """By caller, the latest last."""
        found: dict[str, list[Action]] = {}
        for action in self.detection.policy.manual.standing(self.clock()):
            found.setdefault(action.caller, []).append(action)
        return found

    def _model(self, name: str, standing: dict[str, int]) -> Json:
        model, watched = self.config().models[name], self.detection.of(name)
        settings = model.detection
        return {
            "name": printable(name),
            "detection": None
            if settings is None
            else {
                "mode": settings.mode,
                "percent": settings.percent,
                "profile": None if watched is None else watched.profile.digest,
                "acts": settings.mode == "enforce" and settings.learned is not None,
            },
            "inputs": {printable(each): rule.mode for each, rule in (model.inputs or {}).items()},
            "outputs": {printable(each): rule.mode for each, rule in (model.outputs or {}).items()},
            "squeezing": None if model.squeezing is None else model.squeezing.mode,
            "limits": [{"by": each.by, "mode": each.mode} for each in model.limits or ()],
            "tiers": [printable(each) for each in model.tiers or ()],
            "verdicts": standing,
            "attacks": sum(standing.values()),
        }


class _Turns:
    """Work on a long list in turns with the calls."""

    def __init__(self) -> None:
        self._since = perf_counter()

    async def take(self) -> None:
        """Waits if it is the calls' turn."""
        if perf_counter() - self._since > WORK:
            await asyncio.sleep(PAUSE)
            self._since = perf_counter()


def _stranger(name: str) -> CallerRecord:
    """A caller of whom nothing is left but what stands against it."""
    return CallerRecord(caller_key(name), name, "", 0.0, 0.0)


class _Against:
    """A caller and what stands against it, or for it."""

    __slots__ = ("decisions", "record", "score", "verdicts", "worst")

    def __init__(self, record: CallerRecord, verdicts: list[Verdict], decisions: list[Action], now: float) -> None:
        self.record = record
        self.verdicts = verdicts
        self.decisions = decisions
        self.worst = max(verdicts, key=lambda each: (each.level, each.mode == "enforce"), default=None)
        self.score = max((each.score(now) for each in verdicts), default=0.0)

    @property
    def step(self) -> StepName | None:
        return None if self.worst is None else self.worst.step

    @property
    def manual(self) -> str | None:
        return self.decisions[-1].kind if self.decisions else None

    def to_json(self) -> Json:
        record = self.record
        return {
            "key": record.key,
            "name": printable(record.name),
            "group": printable(record.group),
            "step": self.step,
            "mode": None if self.worst is None else self.worst.mode,
            "score": round(self.score, 2),
            "techniques": sorted({each.technique.value for each in self.verdicts}),
            "manual": self.manual,
            "calls": record.calls,
            "rows": record.rows,
            "refused": record.refused,
            "first": record.first or None,
            "last": record.last or None,
        }


def _rank(row: _Against) -> tuple[int, bool, float]:
    step = row.step
    enforced = row.worst is not None and row.worst.mode == "enforce"
    return STEPS.index(step) if step else -1, enforced, row.score


_ORDERS: Mapping[str, Callable[[_Against], Any]] = {
    "name": lambda row: row.record.name,
    "step": _rank,
    "score": lambda row: (row.manual == "block", row.score),
    "calls": lambda row: row.record.calls,
    "rows": lambda row: row.record.rows,
    "refused": lambda row: row.record.refused,
    "last": lambda row: row.record.last,
}
SORTS = tuple(_ORDERS)
_PLACE = itemgetter(0, 1, 2)


def _wanted(row: _Against, filters: Mapping[str, str]) -> bool:
    text, record = filters.get("q", "").lower(), row.record
    model, step, technique = (filters.get(name, "") for name in ("model", "step", "technique"))
    return (
        (not text or text in record.name.lower() or text in record.group.lower() or text == record.key)
        and (not model or label_value(model) in record.models)
        and (not step or (row.step is not None and step in ("any", row.step)))
        and (not technique or any(each.technique.value == technique for each in row.verdicts))
    )


def _attack(attack: Attack, now: float) -> Json:
    found = attack.to_json(now)
    subject = attack.verdict.subject
    if subject.kind == "caller":
        found["subject"] = found["subject"] | {"key": caller_key(subject.id)}
    return found


def _decision(action: Action) -> Json:
    return {
        "id": action.id,
        "action": action.kind,
        "model": None if action.model is None else printable(action.model),
        "operator": action.operator,
        "reason": printable(action.reason),
        "time": action.time,
        "until": action.until,
    }


def _about(content: Json, shown: str) -> bool:
    if content["event"] == "action":
        return bool(content["caller"] == shown)
    subject = content.get("verdict", {}).get("subject", {})
    return bool(subject.get("kind") == "caller" and subject.get("id") == shown)
