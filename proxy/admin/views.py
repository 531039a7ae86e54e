"""What the admin API shows, as plain values ready for JSON. docs/operators.md describes them."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.activity import CallerRecord, CallerTable, Traffic, caller_key
from proxy.activity.attacks import Attack, Attacks
from proxy.config.detection import STEPS
from proxy.config.schema import Config
from proxy.detection import Detection
from proxy.events import Hub
from proxy.logs import printable
from proxy.metrics.labels import label_value
from proxy.policy import Action, Verdict

MAX_PAGE = 200
AT_ONCE = 250
"""Entries that are worked on before the event loop gets its turn."""

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


@dataclass(frozen=True, slots=True)
class Views:
    """Where everything that is shown comes from.

    Attributes:
        config: in force.
        detection: verdicts and decisions.
        callers, traffic, attacks: what has been going on.
        hub: events.
        clock: seconds since 1970.
    """

    config: Callable[[], Config]
    detection: Detection
    callers: CallerTable
    traffic: Traffic
    attacks: Attacks
    hub: Hub
    clock: Callable[[], float]

    async def caller_list(self, asked: Asked) -> Json:
        """Callers, with the hardest that stands against each."""
        verdicts, decisions = self._by_caller()
        known = {record.name: record for record in self.callers.records()}
        for name in (*verdicts, *decisions):
            known.setdefault(name, _stranger(name))
        found = []
        for at, record in enumerate(known.values()):
            if at % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            row = _row(record, verdicts.get(record.name, []), decisions.get(record.name, []), self.clock())
            if _wanted(row, record, asked.filters):
                found.append(row)
        found.sort(key=lambda row: row["last"], reverse=True)
        found.sort(key=_ORDERS.get(asked.sort, _ORDERS["score"]), reverse=asked.descending)
        return {"callers": found[asked.offset : asked.offset + asked.limit], "total": len(found), "now": self.clock()}

    async def caller(self, key: str) -> Json | None:
        """One caller with everything that is known of it; None if it is unknown."""
        verdicts, decisions = self._by_caller()
        record = self.callers.by_key(key) or next(
            (_stranger(name) for name in {*verdicts, *decisions} if caller_key(name) == key), None
        )
        if record is None:
            return None
        now = self.clock()
        own, decided = verdicts.get(record.name, []), decisions.get(record.name, [])
        shown = printable(record.name)
        events = [content for _, _, content in self.hub.since(0) if _about(content, shown)]
        return _row(record, own, decided, now) | {
            "models": dict(record.models),
            "manual": _decision(decided[-1]) if decided else None,
            "decisions": [_decision(each) for each in decided],
            "verdicts": [each.to_json(now) for each in own],
            "evidence": await self.detection.history(record.name),
            "events": events[: -50 - 1 : -1],
            "now": now,
        }

    def attack_list(self, asked: Asked) -> Json:
        """Attacks, the latest first, those that are over included."""
        found = []
        for attack in self.attacks.all():
            verdict = attack.verdict
            given = {
                "model": printable(verdict.model),
                "technique": verdict.technique.value,
                "step": "" if attack.ended else str(verdict.step),
            }
            if all(given[name] == value for name, value in asked.filters.items() if name in given and value):
                found.append(attack)
        now = self.clock()
        page = found[asked.offset : asked.offset + asked.limit]
        return {"attacks": [_attack(each, now) for each in page], "total": len(found), "now": now}

    def attack(self, name: str) -> Json | None:
        """One attack; None if it is unknown."""
        attack, now = self.attacks.get(name), self.clock()
        if attack is None:
            return None
        rows = sorted(attack.verdict.callers.items(), key=lambda item: -item[1])
        callers = [{"key": caller_key(caller), "name": printable(caller), "rows": count} for caller, count in rows]
        return _attack(attack, now) | {"callers": callers, "now": now}

    def model_list(self) -> Json:
        """The configured models: their protections with modes, and what verdicts stand in which mode."""
        now = self.clock()
        counts: dict[str, dict[str, int]] = defaultdict(lambda: {"enforce": 0, "shadow": 0})
        for verdict in self.detection.policy.verdicts(now):
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

    def name_of(self, key: str) -> str | None:
        """A caller's id by its key, if it is known."""
        record = self.callers.by_key(key)
        if record is not None:
            return record.name
        verdicts, decisions = self._by_caller()
        return next((name for name in {*verdicts, *decisions} if caller_key(name) == key), None)

    def _by_caller(self) -> tuple[dict[str, list[Verdict]], dict[str, list[Action]]]:
        now = self.clock()
        verdicts: dict[str, list[Verdict]] = {}
        for each in self.detection.policy.verdicts(now):
            if each.subject.kind == "caller":
                verdicts.setdefault(each.subject.id, []).append(each)
        decisions: dict[str, list[Action]] = {}
        for action in self.detection.policy.manual.standing(now):
            decisions.setdefault(action.caller, []).append(action)
        return verdicts, decisions

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


def _stranger(name: str) -> CallerRecord:
    """A caller of whom nothing is left but what stands against it."""
    return CallerRecord(caller_key(name), name, "", 0.0, 0.0)


def _row(record: CallerRecord, verdicts: list[Verdict], decisions: list[Action], now: float) -> Json:
    worst = max(verdicts, key=lambda each: (each.level, each.mode == "enforce"), default=None)
    return {
        "key": record.key,
        "name": printable(record.name),
        "group": printable(record.group),
        "step": worst.step if worst else None,
        "mode": worst.mode if worst else None,
        "score": round(max((each.score(now) for each in verdicts), default=0.0), 2),
        "techniques": sorted({each.technique.value for each in verdicts}),
        "manual": decisions[-1].kind if decisions else None,
        "calls": record.calls,
        "rows": record.rows,
        "refused": record.refused,
        "first": record.first or None,
        "last": record.last,
    }


_ORDERS: Mapping[str, Callable[[Json], Any]] = {
    "name": lambda row: row["name"],
    "step": lambda row: (STEPS.index(row["step"]) if row["step"] else -1, row["mode"] == "enforce", row["score"]),
    "score": lambda row: (row["manual"] == "block", row["score"]),
    "calls": lambda row: row["calls"],
    "rows": lambda row: row["rows"],
    "refused": lambda row: row["refused"],
    "last": lambda row: row["last"],
}
SORTS = tuple(_ORDERS)


def _wanted(row: Json, record: CallerRecord, filters: Mapping[str, str]) -> bool:
    text = filters.get("q", "").lower()
    model, step, technique = (filters.get(name, "") for name in ("model", "step", "technique"))
    return (
        (not text or text in row["name"].lower() or text in row["group"].lower() or text == record.key)
        and (not model or label_value(model) in record.models)
        and (not step or (row["step"] is not None if step == "any" else row["step"] == step))
        and (not technique or technique in row["techniques"])
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
