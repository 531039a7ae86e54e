"""Attacks as they unfold: the steps that each verdict has taken, those that are over included."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from proxy.events.schema import Event, verdict_event
from proxy.policy import Verdict

KEPT = 2000
"""Attacks that are over and remembered; the one that is over longest goes first."""
MAX_STEPS = 64
"""Changes of step that are remembered of one; the first ones go."""
AT_ONCE = 100
PAUSE = 0.003
"""So many are looked at before calls have so many seconds for themselves."""


@dataclass(slots=True)
class Attack:
    """One verdict's history.

    Attributes:
        verdict: what it is about; still changing as long as it stands.
        steps: when it came to which step.
        ended: when it ran out or was ended; None while it stands.
        shown: what was shown of it when it ended.
        event: id of the latest event about it; empty if this proxy has not told any.
        own: whether this proxy reports it; another one that found it does otherwise.
    """

    verdict: Verdict
    steps: list[tuple[str, float]] = field(default_factory=list)
    ended: float | None = None
    shown: dict[str, Any] = field(default_factory=dict)
    event: str = ""
    own: bool = False

    def to_json(self, now: float) -> dict[str, Any]:
        """The verdict as it is, or was when it ended, and its steps."""
        shown = self.verdict.to_json(now) if self.ended is None else self.shown
        return shown | {"steps": [{"step": step, "time": time} for step, time in self.steps], "ended": self.ended}


class Attacks:
    """The attacks that are under way, as many as there are verdicts, and the latest that are over. For one thread.

    Args:
        told: of each change, as an event.

    Attributes:
        last: when an attack last began or rose; None before the first.
    """

    def __init__(self, told: Callable[[Event], None]) -> None:
        self.last: float | None = None
        self._told = told
        self._attacks: dict[str, Attack] = {}
        self._open: dict[str, Attack] = {}
        self._over: deque[str] = deque()

    def reached(self, verdict: Verdict, now: float, own: bool = True) -> None:
        """A verdict is new, or reached a harder step.

        Args:
            verdict: that did.
            now: seconds since 1970.
            own: whether this proxy reports it.
        """
        self.last = now
        attack = self._open.get(verdict.id)
        new = attack is None
        if attack is None:
            attack = self._open[verdict.id] = self._attacks[verdict.id] = Attack(verdict)
        before = attack.steps[-1][0] if attack.steps else None
        self._step(attack, now)
        attack.own |= own
        self._tell("verdict.new" if new else "verdict.reached", attack, before, verdict.to_json(now), now)

    async def look(self, stands: Callable[[Verdict, float], bool], clock: Callable[[], float]) -> None:
        """Notices which verdicts came down and which stand no more, a few at a time.

        Args:
            stands: whether a verdict still does.
            clock: seconds since 1970.
        """
        for at, attack in enumerate(list(self._open.values()), 1):
            now, before = clock(), attack.steps[-1][0]
            if attack.ended is None and not stands(attack.verdict, now):
                self._end("verdict.expired", attack, now)
            elif attack.ended is None and attack.verdict.step != before:
                self._step(attack, now)
                self._tell("verdict.lowered", attack, before, attack.verdict.to_json(now), now)
            if at % AT_ONCE == 0:
                await asyncio.sleep(PAUSE)

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

    def _tell(self, kind: str, attack: Attack, before: str | None, shown: dict[str, Any], now: float) -> None:
        if attack.own:
            told = verdict_event(kind, before, shown, now)
            attack.event = told.id
            self._told(told)

    def _step(self, attack: Attack, now: float) -> None:
        attack.steps.append((str(attack.verdict.step), now))
        del attack.steps[:-MAX_STEPS]

    def _end(self, kind: str, attack: Attack, now: float) -> None:
        before = attack.steps[-1][0]
        del self._open[attack.verdict.id]
        attack.shown = attack.verdict.to_json(now) | {"step": None}
        attack.ended = now
        self._tell(kind, attack, before, attack.shown, now)
        self._over.append(attack.verdict.id)
        if len(self._over) > KEPT:
            del self._attacks[self._over.popleft()]
