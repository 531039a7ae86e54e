"""Attacks as they unfold: the steps that each verdict has taken, those that are over included."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from proxy.events.schema import Event, verdict_event
from proxy.policy import Verdict

KEPT = 2000
"""Attacks that are remembered; the one that is over longest goes first."""
MAX_STEPS = 64
"""Changes of step that are remembered of one; the first ones go."""


@dataclass(slots=True)
class Attack:
    """One verdict's history.

    Attributes:
        verdict: what it is about; still changing as long as it stands.
        steps: when it came to which step.
        ended: when it ran out or was ended; None while it stands.
        shown: what was shown of it last.
    """

    verdict: Verdict
    steps: list[tuple[str, float]] = field(default_factory=list)
    ended: float | None = None
    shown: dict[str, Any] = field(default_factory=dict)

    def to_json(self, now: float) -> dict[str, Any]:
        """The verdict as it is, or was when it ended, and its steps."""
        if self.ended is None:
            self.shown = self.verdict.to_json(now)
        steps = [{"step": step, "time": time} for step, time in self.steps]
        return self.shown | {"step": None if self.ended else self.shown["step"], "steps": steps, "ended": self.ended}


class Attacks:
    """The latest attacks. For one thread.

    Args:
        told: of each change, as an event.

    Attributes:
        last: when an attack last began or rose; None before the first.
    """

    def __init__(self, told: Callable[[Event], None]) -> None:
        self.last: float | None = None
        self._told = told
        self._attacks: OrderedDict[str, Attack] = OrderedDict()
        self._open: dict[str, Attack] = {}

    def reached(self, verdict: Verdict, now: float) -> None:
        """A verdict is new, or reached a harder step."""
        self.last = now
        attack = self._open.get(verdict.id)
        new = attack is None
        if attack is None:
            attack = self._open[verdict.id] = self._attacks[verdict.id] = Attack(verdict)
            self._bound()
        before = attack.steps[-1][0] if attack.steps else None
        self._step(attack, now)
        attack.shown = verdict.to_json(now)
        self._told(verdict_event("verdict.new" if new else "verdict.reached", before, attack.shown, now))

    def look(self, standing: Iterable[Verdict], now: float) -> None:
        """Notices, of all verdicts that stand, which came down and which stand no more."""
        found = {verdict.id for verdict in standing}
        for name, attack in tuple(self._open.items()):
            before = attack.steps[-1][0]
            if name not in found:
                self._end("verdict.expired", attack, now)
            elif attack.verdict.step != before:
                self._step(attack, now)
                attack.shown = attack.verdict.to_json(now)
                self._told(verdict_event("verdict.lowered", before, attack.shown, now))

    def released(self, verdicts: Iterable[Verdict], now: float) -> None:
        """An operator ended these."""
        for verdict in verdicts:
            attack = self._open.get(verdict.id)
            if attack is not None:
                self._end("verdict.released", attack, now)

    def all(self) -> list[Attack]:
        """The latest first."""
        return list(reversed(self._attacks.values()))

    def get(self, name: str) -> Attack | None:
        """By the verdict's id."""
        return self._attacks.get(name)

    def _step(self, attack: Attack, now: float) -> None:
        attack.steps.append((str(attack.verdict.step), now))
        del attack.steps[:-MAX_STEPS]

    def _end(self, kind: str, attack: Attack, now: float) -> None:
        before = attack.steps[-1][0]
        del self._open[attack.verdict.id]
        attack.shown = attack.verdict.to_json(now) | {"step": None}
        attack.ended = now
        self._told(verdict_event(kind, before, attack.shown, now))

    def _bound(self) -> None:
        if len(self._attacks) <= KEPT:
            return
        over = next((name for name, each in self._attacks.items() if each.ended is not None), None)
        name = over if over is not None else next(iter(self._attacks))
        self._open.pop(name, None)
        del self._attacks[name]
