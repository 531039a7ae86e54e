"""What is held against a subject, why, and for how long."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from detectors.findings import Finding, Subject, Technique, evidence
from proxy.config.detection import STEPS, Response, StepName
from proxy.logs import printable

Mode = Literal["enforce", "shadow"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One detector's latest finding, and what it counts for.

    Attributes:
        finding: what was found.
        decades: its surprise; at least what the first acting step takes, if it is enough by itself.
    """

    finding: Finding
    decades: float

    def to_json(self) -> dict[str, Any]:
        """For whoever has to judge it."""
        reading = self.finding.reading
        return {
            "detector": reading.detector,
            "statistic": reading.statistic,
            "value": _number(reading.value),
            "threshold": _number(self.finding.threshold),
            "surprise": _number(self.finding.surprise),
            "alone": self.finding.alone,
            "rows": reading.rows,
            "seen": reading.seen,
            "window": round(reading.window, 3),
            "time": reading.time,
            "note": reading.note,
            "atlas": reading.technique.atlas,
            "owasp": reading.technique.owasp,
        }


@dataclass(slots=True)
class Verdict:
    """What is held against one subject for one technique.

    Attributes:
        id: names it in the log, in metrics' exemplars and to the operator.
        model, subject, technique: of what, against whom, for what.
        response: the settings that it follows.
        immune: whether it is only reported.
        mode: whether it acts; a cluster's or group's callers may be in shadow nevertheless.
        since: when it began, seconds since 1970.
        level: place in the ladder; -1 once it has run out.
        until: when the step below comes.
        evidence: by detector.
        updated: when there was evidence last.
        found_at: rows of the subject when it was first found to reach any step.
        acted_at: rows of it when it first reached a step that does anything; 0 until then.
        callers: of a cluster: those with several rows of it, and how many.
    """

    id: str
    model: str
    subject: Subject
    technique: Technique
    response: Response
    mode: Mode
    immune: bool
    since: float
    updated: float
    level: int = -1
    until: float = 0.0
    highest: int = -1
    found_at: int = 0
    acted_at: int = 0
    evidence: dict[str, Evidence] = field(default_factory=dict)
    callers: dict[str, int] = field(default_factory=dict)

    @property
    def step(self) -> StepName | None:
        """Where it stands; None once it has run out."""
        return self.response.ladder[self.level].step if self.level >= 0 else None

    def score(self, now: float) -> float:
        """Decades of evidence of all detectors, decayed; see `detectors.findings.evidence`."""
        return evidence((each.finding.reading, self._decayed(each, now)) for each in self.evidence.values())

    def follow(self, response: Response) -> None:
        """Takes other settings; steps that the ladder no longer has become its last."""
        self.response = response
        last = len(response.ladder) - 1
        self.level, self.highest = min(self.level, last), min(self.highest, last)

    def settle(self, now: float) -> None:
        """Goes down the ladder, a step at a time, as far as time has passed."""
        while self.level >= 0 and now >= self.until:
            self.level -= 1
            if self.level >= 0:
                self.until += self.response.ladder[self.level].ttl

    def rise(self, now: float) -> bool:
        """Takes the step that the score is enough for, and keeps it from running out; True if it is a new one."""
        score = self.score(now)
        reached = max((at for at, each in enumerate(self.response.ladder) if score >= each.score), default=-1)
        if reached >= self.level and reached >= 0:
            self.until = max(self.until, now + self.response.ladder[reached].ttl)
        if reached <= self.level:
            return False
        self.level = reached
        self.highest = max(self.highest, reached)
        return True

    def _decayed(self, evidence: Evidence, now: float) -> float:
        age = max(0.0, now - evidence.finding.reading.time)
        return float(evidence.decades * 0.5 ** (age / self.response.half_life))

    def to_json(self, now: float) -> dict[str, Any]:
        """For the admin port and the log."""
        return {
            "id": self.id,
            "model": printable(self.model),
            "subject": {"kind": self.subject.kind, "id": printable(self.subject.id)},
            "technique": self.technique.value,
            "atlas": self.technique.atlas,
            "owasp": self.technique.owasp,
            "step": self.step,
            "highest": self.response.ladder[self.highest].step if self.highest >= 0 else None,
            "answer": self.response.answer,
            "mode": self.mode,
            "immune": self.immune,
            "score": round(self.score(now), 2),
            "since": self.since,
            "until": self.until,
            "found_at": self.found_at,
            "acted_at": self.acted_at,
            "callers": {printable(caller): rows for caller, rows in self.callers.items()},
            "evidence": [each.to_json() for each in self.evidence.values()],
        }


def harder(one: StepName | None, other: StepName | None) -> StepName | None:
    """The later step of two on the ladder."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=STEPS.index)


def milder(step: StepName) -> StepName:
    """The step before it; observe stays."""
    return STEPS[max(0, STEPS.index(step) - 1)]


def _number(value: float) -> float | None:
    return float(f"{value:.4g}") if np.isfinite(value) else None
