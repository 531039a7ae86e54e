"""Attacks as alerts, pushed to Alertmanagers (its API v2): sent again while they fire, resolved when they end.

An alert is one model, technique, mode and severity, however many callers take part: few alerts, each explained. Callers
stand in annotations, which do not make an alert another one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from detectors.findings import Technique
from proxy.config.detection import STEPS
from proxy.config.events import Alertmanager as Settings
from proxy.events.outlet import Counted
from proxy.events.schema import AISVS, stamp
from proxy.events.webhook import open_session
from proxy.logs import event, printable
from proxy.policy import Verdict

log = logging.getLogger("tensorwall.events")

ALIVE = 4
"""Intervals after which an alert that is not sent again ends by itself: a proxy that is gone resolves nothing."""
MAX_ALERTS = 1000
MAX_NAMED = 5
"""Callers that an alert names."""

_ALERTS = {
    Technique.EVASION: "evasion",
    Technique.EXTRACTION: "extraction",
    Technique.MEMBERSHIP: "membershipinference",
    Technique.INVERSION: "modelinversion",
}

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Alert:
    since: float
    verdicts: list[Verdict] = field(default_factory=list)


class Alerts:
    """Pushes what stands to all instances of an Alertmanager.

    Args:
        settings: addresses, interval, labels.
        standing: the verdicts that stand.
        counted: told of what was taken and what failed.
        clock: seconds since 1970.
    """

    name = "alertmanager"

    def __init__(
        self,
        settings: Settings,
        standing: Callable[[], Awaitable[Iterable[Verdict]]],
        counted: Counted,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._standing = standing
        self._counted = counted
        self._clock = clock
        self._firing: dict[Labels, dict[str, Any]] = {}
        self._wake = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Alerts that fire."""
        return len(self._firing)

    def put(self, content: dict[str, Any]) -> None:
        """See `Outlet`: an attack is told at once, not with the next interval."""
        if str(content["event"]).startswith("verdict.") or content["event"] == "action":
            self._wake.set()

    async def run(self) -> None:
        """See `Outlet`."""
        async with open_session(self._settings.timeout, self._settings.ca) as session:
            while True:
                await self.push(session)
                try:
                    async with asyncio.timeout(self._settings.interval):
                        await self._wake.wait()
                except TimeoutError:
                    continue
                self._wake.clear()
                await asyncio.sleep(1.0)  # what belongs together comes together

    async def close(self, seconds: float) -> None:
        """See `Outlet`. What fires goes on until somebody looks, or until it ends by itself."""
        del seconds

    async def push(self, session: aiohttp.ClientSession) -> None:
        """Sends what fires, and what has ended since the last time."""
        now = self._clock()
        firing = self._alerts(await self._standing(), now)
        ended = [alert | {"endsAt": stamp(now)} for labels, alert in self._firing.items() if labels not in firing]
        alerts = [*firing.values(), *ended]
        if not alerts:
            return
        taken = await asyncio.gather(*(self._post(session, url, alerts) for url in self._settings.urls))
        # What ended is told again until somebody has heard it.
        self._firing = firing if any(taken) else self._firing | firing

    def _alerts(self, standing: Iterable[Verdict], now: float) -> dict[Labels, dict[str, Any]]:
        found: dict[Labels, _Alert] = {}
        for verdict in standing:
            if verdict.step in (None, "observe") or (verdict.mode == "shadow" and not self._settings.shadow):
                continue
            labels = self._labels(verdict)
            if labels not in found and len(found) >= MAX_ALERTS:
                self._counted(self.name, "dropped", 1)
                continue
            alert = found.setdefault(labels, _Alert(verdict.since))
            alert.since = min(alert.since, verdict.since)
            alert.verdicts.append(verdict)
        return {labels: self._content(labels, alert, now) for labels, alert in found.items()}

    def _labels(self, verdict: Verdict) -> Labels:
        labels = {
            "alertname": "TensorwallAttack",
            "model": printable(verdict.model),
            "technique": verdict.technique.value,
            "mode": verdict.mode,
            "severity": "critical" if verdict.mode == "enforce" and verdict.step == "block" else "warning",
            "atlas": verdict.technique.atlas,
        }
        return tuple(sorted((labels | dict(self._settings.labels)).items()))

    def _content(self, labels: Labels, alert: _Alert, now: float) -> dict[str, Any]:
        verdicts = sorted(alert.verdicts, key=_weight, reverse=True)
        worst = verdicts[0].to_json(now)
        callers = [printable(each.subject.id) for each in verdicts if each.subject.kind == "caller"]
        subject = f"{worst['subject']['kind']} {worst['subject']['id']}"
        return {
            "labels": dict(labels),
            "annotations": {
                "summary": f"{worst['technique']} of model {worst['model']} by {subject}: step {worst['step']}",
                "description": (
                    f"Verdicts that stand: {len(verdicts)}; the strongest has {worst['score']} decades of evidence. "
                    + (_said(worst["evidence"][0]) if worst["evidence"] else "")
                ).strip(),
                "callers": ", ".join(callers[:MAX_NAMED]) + (", ..." if len(callers) > MAX_NAMED else ""),
                "verdict": worst["id"],
                "owasp_ml": worst["owasp"],
                "owasp_aisvs": AISVS[verdicts[0].technique],
                "runbook_url": _runbook(verdicts[0]),
            },
            "startsAt": stamp(alert.since),
            "endsAt": stamp(now + ALIVE * self._settings.interval),
        }

    async def _post(self, session: aiohttp.ClientSession, url: str, alerts: list[dict[str, Any]]) -> bool:
        try:
            async with session.post(f"{url.rstrip('/')}/api/v2/alerts", json=alerts, allow_redirects=False) as answer:
                problem = f"status {answer.status}" if answer.status >= 300 else ""
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            problem = f"{type(error).__name__}: {error}"
        self._counted(self.name, "failed" if problem else "delivered", len(alerts))
        if problem:
            event(log, logging.WARNING, "alerts not delivered", url=url, problem=problem)
        return not problem


def _said(evidence: dict[str, Any]) -> str:
    threshold = "" if evidence["threshold"] is None else f" (threshold {evidence['threshold']})"
    return f"{evidence['statistic']} {evidence['value']}{threshold} {evidence['note']}"


def _runbook(verdict: Verdict) -> str:
    """What to do about it, as in the rules for Prometheus."""
    shadow = "shadow" if verdict.mode == "shadow" else ""
    return f"docs/runbooks.md#tensorwall{_ALERTS[verdict.technique]}{shadow}"


def _weight(verdict: Verdict) -> tuple[int, float]:
    return STEPS.index(verdict.step) if verdict.step else -1, verdict.updated
