"""What a candidate configuration does to whom, counted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from proxy.capture.record import RecordedCall
from proxy.config.detection import StepName
from proxy.limits import Verdict as LimitVerdict
from proxy.policy import Verdict

MAX_CALLERS = 200_000
"""Told apart; 0.3 KB each. Further ones are counted in calls and rows only."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What does something to calls.

    Attributes:
        kind: a limit, or a verdict.
        model: whose rule it is; empty for a limit of all models.
        name: of the limit, or the verdict's technique.
        step: of the ladder; `limit` for a limit.
        answer: how a verdict acts, `silent` or `refuse`.
        mode: whether it acts or would.
    """

    kind: Literal["limit", "verdict"]
    model: str
    name: str
    step: StepName | Literal["limit"]
    answer: str
    mode: Literal["enforce", "shadow"]

    @property
    def acts(self) -> bool:
        """Whether a caller would notice, or get less."""
        return self.mode == "enforce" and self.step != "observe"


@dataclass(slots=True)
class Share:
    """Of one caller in an effect. Attributes: calls, rows, and the time of the first."""

    first: float
    calls: int = 0
    rows: int = 0


@dataclass(slots=True)
class Effect:
    """Of one rule.

    Attributes:
        first: when it first did anything, or a verdict was reached.
        evidence: why, at that time.
        calls, rows: that it did something to.
        verdicts: that reached the step.
        callers: to whom.
    """

    first: float
    evidence: Any
    calls: int = 0
    rows: int = 0
    verdicts: int = 0
    callers: dict[str, Share] = field(default_factory=dict)


@dataclass(slots=True)
class Party:
    """A caller. Attributes: calls, rows; marked by a verdict in the recording; acted on by the candidate."""

    calls: int = 0
    rows: int = 0
    marked: bool = False
    acted_on: bool = False


class Tally:
    """Counts everything; the limiter and the policy tell it.

    Attributes:
        effects: by rule.
        parties: callers, by id.
        untold: calls of callers that are not told apart, since there are too many.
        calls, rows: replayed.
        refused_calls, refused_rows: that would not have reached the model.
        unread: calls whose request or answer detection could not read.
        failures: detectors that raised, and why.
        first, last: times of the recording.
        shares: of calls that were captured, by model: the lowest.
    """

    def __init__(self) -> None:
        self.effects: dict[Rule, Effect] = {}
        self.parties: dict[str, Party] = {}
        self.untold = self.calls = self.rows = self.refused_calls = self.refused_rows = self.unread = 0
        self.failures: dict[str, str] = {}
        self.first = self.last = 0.0
        self.shares: dict[str, float] = {}
        self._call: RecordedCall | None = None
        self._hits: set[Rule] = set()

    def begin(self, call: RecordedCall) -> None:
        """This call is looked at now."""
        self.first = self.first if self.calls else call.time
        self.last = max(self.last, call.time)
        self.calls += 1
        self.rows += call.rows
        self.shares[call.model] = min(call.share, self.shares.get(call.model, 1.0))
        self._call = call
        self._hits.clear()
        party = self._party(call.caller.id)
        if party is None:
            self.untold += 1
            return
        party.calls += 1
        party.rows += call.rows
        party.marked = party.marked or bool(call.marks)

    def refused(self, call: RecordedCall) -> None:
        """The call would not have reached the model."""
        self.refused_calls += 1
        self.refused_rows += call.rows

    def decided(self, model: str, verdict: LimitVerdict, rows: int) -> None:
        """What the limits said to the present call; see `proxy.limiter.Told`."""
        del model, rows
        assert self._call is not None, "a call is being looked at"
        for over in verdict.over():
            limit = over.limit
            of_model = self._call.model if "/model:" in limit.id else ""
            rule = Rule("limit", of_model, limit.name, "limit", "refuse", "enforce" if over.enforced else "shadow")
            why = {"by": limit.by, "unit": limit.unit, "cost": over.cost, "most": limit.burst}
            self._hit(self._effect(rule, self._call.time, why), rule, self._call)

    def under(self, call: RecordedCall, verdict: Verdict, step: StepName, acts: bool) -> None:
        """A verdict stands against the present call's caller, one of its groups, or its rows."""
        rule = _rule(verdict, step, acts)
        self._hit(self._effect(rule, call.time, _evidence(verdict, call.time)), rule, call)

    def reached(self, verdict: Verdict, now: float) -> None:
        """A verdict is new or reached a new step."""
        assert verdict.step is not None, "it reached one"
        rule = _rule(verdict, verdict.step, verdict.mode == "enforce")
        effect = self._effect(rule, now, _evidence(verdict, now))
        effect.verdicts += 1
        if verdict.subject.kind == "caller":
            self._add(effect, rule, verdict.subject.id, now)

    def _effect(self, rule: Rule, now: float, evidence: Mapping[str, Any]) -> Effect:
        found = self.effects.get(rule)
        if found is None:
            found = self.effects[rule] = Effect(now, evidence)
        return found

    def _hit(self, effect: Effect, rule: Rule, call: RecordedCall) -> None:
        """Counts a call once, though verdicts on its caller, its groups and its rows may all say the same."""
        if rule in self._hits:
            return
        self._hits.add(rule)
        effect.calls += 1
        effect.rows += call.rows
        share = self._add(effect, rule, call.caller.id, call.time)
        if share is not None:
            share.calls += 1
            share.rows += call.rows

    def _add(self, effect: Effect, rule: Rule, caller: str, now: float) -> Share | None:
        party = self._party(caller)
        if party is None:
            return None
        party.acted_on = party.acted_on or rule.acts
        share = effect.callers.get(caller)
        if share is None:
            share = effect.callers[caller] = Share(now)
        return share

    def _party(self, caller: str) -> Party | None:
        party = self.parties.get(caller)
        if party is None and len(self.parties) < MAX_CALLERS:
            party = self.parties[caller] = Party()
        return party


def _rule(verdict: Verdict, step: StepName, acts: bool) -> Rule:
    mode: Literal["enforce", "shadow"] = "enforce" if acts else "shadow"
    return Rule("verdict", verdict.model, verdict.technique.value, step, verdict.response.answer, mode)


def _evidence(verdict: Verdict, now: float) -> Mapping[str, Any]:
    found = verdict.to_json(now)
    return {name: found[name] for name in ("subject", "score", "atlas", "owasp", "evidence")}
