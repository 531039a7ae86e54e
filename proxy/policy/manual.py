"""What operators decide about callers, beside what the detectors find: block, release, immunise, end immunity.

Of several decisions about one caller, for one model or for all, the last word counts until it has run out; then the one
before it counts again.
"""

import secrets
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from detectors.findings import BLAMED_ROWS, Finding
from detectors.profile import LEAST_SURPRISE
from proxy.logs import printable
from proxy.policy.verdict import Verdict

ActionKind = Literal["block", "release", "immunise", "end_immunity"]
KINDS: tuple[ActionKind, ...] = get_args(ActionKind)
MAX_REASON_CHARS = 500
MAX_DECISIONS = 10_000
MAX_RELEASES = 1000
"""Callers whose old evidence is known not to count; the oldest release is forgotten first."""


class TooManyDecisionsError(Exception):
    """There is no room for another decision; `str()` is what the operator reads."""


@dataclass(frozen=True, slots=True)
class Action:
    """One decision of an operator.

    Attributes:
        id: names it in the log and in answers.
        kind: what is done.
        caller: id of whom it is done to.
        model: for which model; None for all, those to come included.
        operator: who decided.
        reason: why, in the operator's words.
        time: when, seconds since 1970.
        until: when it runs out; None for never. Of a block or an immunity only.
    """

    kind: ActionKind
    caller: str
    model: str | None
    operator: str
    reason: str
    time: float
    until: float | None = None
    id: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def name(self) -> str:
        """Under which it stands among replicas: a later one about the same caller and model takes its place."""
        return f"{self.caller}\0{self.model or ''}"

    def standing(self, now: float) -> bool:
        """Whether it has not run out."""
        return self.until is None or now < self.until

    def to_json(self) -> dict[str, Any]:
        """All of it, for other replicas; `from_json` takes it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Action":
        """From what `to_json` gave.

        Raises:
            ValueError: it is no action.
        """
        try:
            made = cls(**value)
        except TypeError as error:
            raise ValueError(f"no action: {error}") from None
        if made.kind not in KINDS:
            raise ValueError(f"no action: there is no {made.kind!r}; known: {', '.join(KINDS)}")
        return made

    def as_verdict(self) -> dict[str, Any]:
        """In the form in which verdicts are shown."""
        step = "block" if self.kind == "block" else None
        return {
            "id": self.id,
            "model": None if self.model is None else printable(self.model),
            "subject": {"kind": "caller", "id": printable(self.caller)},
            "technique": "manual",
            "atlas": None,
            "owasp": None,
            "step": step,
            "highest": step,
            "answer": "refuse",
            "mode": "enforce",
            "immune": self.kind == "immunise",
            "score": 0.0,
            "since": self.time,
            "until": self.until,
            "found_at": 0,
            "acted_at": 0,
            "callers": {},
            "manual": {"action": self.kind, "operator": self.operator, "reason": printable(self.reason)},
            "evidence": [],
        }


@dataclass(slots=True)
class _Release:
    """What was known of a caller when it was released.

    Attributes:
        time: when.
        evidence: by model, technique and detector.
        near: rows of the caller in clusters under a verdict, by model.
    """

    time: float
    evidence: dict[tuple[str, str, str], Finding] = field(default_factory=dict)
    near: dict[str, int] = field(default_factory=dict)


class Manual:
    """The decisions in force. For one thread. Memory: MAX_DECISIONS and MAX_RELEASES."""

    def __init__(self) -> None:
        self._decided: dict[tuple[str, str | None], Action] = {}
        self._released: OrderedDict[tuple[str, str | None], _Release] = OrderedDict()

    def decide(self, action: Action, held: Sequence[Verdict], now: float) -> None:
        """Takes a decision.

        Args:
            action: the decision.
            held: verdicts on the caller, and on clusters that it is part of; of a release only.
            now: seconds since 1970.

        Raises:
            TooManyDecisionsError: the table is full of others that stand.
        """
        key = action.caller, action.model
        if action.kind == "release":
            self._release(action, held)
        before = self.of(action.caller, action.model or "", now)
        overrides = {"release": "block", "end_immunity": "immunise"}.get(action.kind)
        if overrides is not None and not self._any(action, overrides, before, now):
            return
        if key not in self._decided and len(self._decided) >= MAX_DECISIONS:
            self._prune(now)
            if len(self._decided) >= MAX_DECISIONS:
                raise TooManyDecisionsError(f"{MAX_DECISIONS} decisions stand already; end some that are not needed")
        known = self._decided.get(key)
        if known is None or known.time <= action.time:
            self._decided[key] = action

    def of(self, caller: str, model: str, now: float) -> Action | None:
        """The block or immunity in force; an empty model asks for what holds for all models."""
        if not self._decided:
            return None
        found = [self._decided.get((caller, None)), self._decided.get((caller, model)) if model else None]
        standing = [each for each in found if each is not None and each.standing(now)]
        last = max(standing, key=lambda each: each.time, default=None)
        return last if last is not None and last.kind in ("block", "immunise") else None

    def blocks(self, caller: str, model: str, now: float) -> bool:
        """Whether calls are refused; an empty model asks for what holds for all models."""
        found = self.of(caller, model, now)
        return found is not None and found.kind == "block"

    def immune(self, caller: str, model: str, now: float) -> bool:
        """Whether nothing that detectors find is acted on."""
        found = self.of(caller, model, now)
        return found is not None and found.kind == "immunise"

    def standing(self, now: float) -> list[Action]:
        """Blocks and immunities in force, the latest last."""
        self._prune(now)
        return [
            each
            for (caller, model), each in self._decided.items()
            if each.kind in ("block", "immunise") and self.of(caller, model or "", now) is each
        ]

    def excused(self, model: str, caller: str, since: float) -> bool:
        """Whether a caller is not held to a verdict on a group or a cluster, which began before its release."""
        released = self._latest(model, caller)
        return released is not None and since <= released.time

    def stale(self, model: str, caller: str, finding: Finding) -> bool:
        """Whether a finding is what a caller was released from: not as many rows again, and no decade more."""
        released = self._latest(model, caller)
        if released is None:
            return False
        reading = finding.reading
        if reading.time <= released.time:
            return True
        if reading.cluster is not None:
            old = released.near.get(model, 0)
            return reading.cluster.callers.get(caller, 0) - old < max(BLAMED_ROWS, old)
        known = released.evidence.get((model, reading.technique.value, reading.detector))
        if known is None:
            return reading.time - reading.window <= released.time and finding.surprise < LEAST_SURPRISE + 1
        return reading.seen - known.reading.seen < known.reading.rows and finding.surprise < known.surprise + 1

    def _release(self, action: Action, held: Sequence[Verdict]) -> None:
        before = self._released.get((action.caller, action.model)) or _Release(0.0)
        if before.time > action.time:
            return  # another replica's, heard of late
        known = _Release(action.time, dict(before.evidence), dict(before.near))
        known.near |= {verdict.model: 0 for verdict in held if verdict.subject.kind == "cluster"}
        for verdict in held:
            model = verdict.model
            if verdict.subject.kind == "cluster":
                known.near[model] = known.near.get(model, 0) + verdict.callers.get(action.caller, 0)
                continue
            for detector, each in verdict.evidence.items():
                known.evidence[model, verdict.technique.value, detector] = each.finding
        self._released[action.caller, action.model] = known
        self._released.move_to_end((action.caller, action.model))
        if len(self._released) > MAX_RELEASES:
            self._released.popitem(last=False)

    def _latest(self, model: str, caller: str) -> _Release | None:
        if not self._released:
            return None
        found = [self._released.get((caller, None)), self._released.get((caller, model))]
        return max((each for each in found if each is not None), key=lambda each: each.time, default=None)

    def _any(self, action: Action, kind: str, before: Action | None, now: float) -> bool:
        """Whether there is anything of this kind that the action ends."""
        if before is not None and before.kind == kind:
            return True
        return action.model is None and any(
            caller == action.caller and each.kind == kind and each.standing(now)
            for (caller, _), each in self._decided.items()
        )

    def _prune(self, now: float) -> None:
        """Forgets what has run out, and ends that have nothing left to end."""
        decisions = Counter(caller for caller, _ in self._decided)
        for key, each in tuple(self._decided.items()):
            ended = each.kind in ("release", "end_immunity") and decisions[each.caller] == 1
            if ended or not each.standing(now):
                decisions[each.caller] -= 1
                del self._decided[key]
