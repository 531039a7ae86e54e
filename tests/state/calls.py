"""Limits and calls for tests of stores, a clock to turn by hand, and the limits' meaning in the plainest terms."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from proxy.limits import Charge, Descriptor, LimitRules, compiled, describe

SECOND = 1_000_000_000
DAY = 86_400 * SECOND
START = 20_000 * DAY

ADAPTER: TypeAdapter[LimitRules] = TypeAdapter(LimitRules)


class Clock:
    """Nanoseconds since 1970, turned by hand."""

    def __init__(self, now: int = START) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def limits(*rules: dict[str, Any], scope: str = "") -> Any:
    """Rules as an operator writes them, made ready."""
    return compiled(ADAPTER.validate_python(rules), scope)


def charge(caller: str = "a", rows: int = 1, model: str = "m", size: int = 100) -> Charge:
    return Charge(caller, model, "192.0.2.0/24", "", rows, size)


def call(ready: Any, **facts: Any) -> list[Descriptor]:
    return describe(ready, charge(**facts))


@dataclass
class Plain:
    """What the limits mean, written without a thought for speed or bounds."""

    admitted: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    tats: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)

    def used(self, each: Descriptor, now: int) -> int:
        match each.limit.measure:
            case "backlog":
                return max(0, self.tats.get(each.key, 0) - now)
            case "slots":
                return self.held.get(each.key, 0)
            case measure:
                spent = self.admitted.get(each.key, [])
                return sum(cost for when, cost in spent if measure == "lifetime" or when // DAY == now // DAY)

    def admit(self, descriptors: Sequence[Descriptor], now: int) -> bool:
        fits = {each.key: self.used(each, now) + each.need <= each.limit.capacity for each in descriptors}
        if not all(fits[each.key] for each in descriptors if each.enforced):
            return False
        for each in descriptors:
            if fits[each.key]:
                self.tats[each.key] = now + self.used(each, now) + each.need
                self.admitted.setdefault(each.key, []).append((now, each.cost))
                self.held[each.key] = self.held.get(each.key, 0) + 1
        return True

    def release(self, descriptors: Sequence[Descriptor], keys: Sequence[str]) -> None:
        for each in descriptors:
            if each.key in keys:
                self.held[each.key] -= 1
