"""From the rules and the facts of one call to what a store decides about: a list of descriptors.

All forms of limit come down to one inequality over whole numbers, `used + need <= capacity`, and differ in what `used`
measures and how it becomes less:

| measure    | `used` is                          | `need` is                    | becomes less                |
|------------|------------------------------------|------------------------------|-----------------------------|
| `backlog`  | GCRA's `max(tat, now) - now`, in ns | cost x emission interval, ns | with time                   |
| `day`      | units spent on this UTC day         | cost, in units               | at 00:00 UTC                |
| `lifetime` | units ever spent                    | cost, in units               | never                       |
| `slots`    | calls in flight                     | 1                            | when a call ends            |
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Literal, NamedTuple, assert_never
from urllib.parse import quote

from proxy.limits import gcra
from proxy.limits.rules import BudgetLimit, By, InFlightLimit, LimitRule, RateLimit, Unit, parse_rate

Measure = Literal["backlog", "day", "lifetime", "slots"]

MAX_KEY_CHARS = 300
"""Of what a limit is counted by; longer ones are replaced by a hash, so that the memory of a key is bounded."""


class Charge(NamedTuple):
    """The facts of one call that limits count.

    Attributes:
        caller: identity that the call is charged to.
        model: name of the served model.
        prefix: address prefix of the caller, such as 192.0.2.0/24.
        tier: the caller's tier, empty if none.
        rows: examples in the request.
        bytes: size of the request message.
        calls: always 1.
    """

    caller: str
    model: str
    prefix: str
    tier: str
    rows: int
    bytes: int
    calls: int = 1


_COUNTED_BY: Mapping[By, Callable[[Charge], str]] = {
    "caller": lambda charge: charge.caller,
    # The length keeps apart what would read alike after joining.
    "caller_model": lambda charge: f"{len(charge.model)}:{charge.model}:{charge.caller}",
    "prefix": lambda charge: charge.prefix,
    "tier": lambda charge: charge.tier,
    "model": lambda charge: charge.model,
    "global": lambda _: "",
}


@dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """A rule made ready for the request path.

    Attributes:
        name: the rule's label.
        by: whose calls are counted together.
        measure: what `used` means.
        unit: what a call costs.
        capacity: the most that `used` may reach, in the measure's own unit.
        interval: `need` of one unit of cost.
        burst: the largest cost that an unused limit admits.
        enforce: False in shadow.
        percent: of callers that are enforced, 0 to 100.
        id: what the keys of this limit begin with.
        counted_by: the rest of the key, from the facts of a call.
        cost_field: where in a `Charge` the cost stands.
    """

    name: str
    by: By
    measure: Measure
    unit: Unit
    capacity: int
    interval: float
    burst: int
    enforce: bool
    percent: float
    id: str
    counted_by: Callable[[Charge], str]
    cost_field: int

    def need(self, cost: int) -> int:
        """What a call of this cost adds to `used`."""
        return int(cost * self.interval)

    def divided(self, by: int) -> "Limit":
        """This limit as one of so many replicas enforces it by itself.

        A rate becomes slower and keeps its burst, so that a batch which fits into the whole fits into a part; budgets
        and slots are divided, rounded up.
        """
        if by == 1:
            return self
        if self.measure == "backlog":
            interval = self.interval * by
            return replace(self, interval=interval, capacity=gcra.needed(self.burst, interval))
        part = math.ceil(self.capacity / by)
        return replace(self, capacity=part, burst=part)


class Descriptor(NamedTuple):
    """One limit as it applies to one call.

    Attributes:
        key: what is counted together; distinct within a call.
        limit: the limit.
        cost: units that the call costs.
        need: the same in the limit's measure.
        enforced: False if the limit is in shadow for this caller.
    """

    key: str
    limit: Limit
    cost: int
    need: int
    enforced: bool

    def divided(self, by: int) -> "Descriptor":
        """The same for one of so many replicas; see `Limit.divided`."""
        limit = self.limit.divided(by)
        return self._replace(limit=limit, need=limit.need(self.cost))


def compiled(rules: Iterable[LimitRule], scope: str = "") -> tuple[Limit, ...]:
    """Makes rules ready; those that are off are left out.

    Args:
        rules: one list, names distinct.
        scope: names the list. Lists with different scopes count apart even where a rule has the same name; lists with
            the same scope, such as those for two tiers of one model, go on from each other's counts.
    """
    prefix = quote(scope, safe=":")
    return tuple(_compiled(rule, prefix) for rule in rules if rule.mode != "off")


def _compiled(rule: LimitRule, scope: str) -> Limit:
    measure, unit, capacity, interval, burst = _numbers(rule)
    return Limit(
        name=rule.label,
        by=rule.by,
        measure=measure,
        unit=unit,
        capacity=capacity,
        interval=interval,
        burst=burst,
        enforce=rule.mode == "enforce",
        percent=rule.percent,
        id=f"{measure}/{rule.label}/{scope}/",
        counted_by=_COUNTED_BY[rule.by],
        cost_field=Charge._fields.index(unit),
    )


def _numbers(rule: LimitRule) -> tuple[Measure, Unit, int, float, int]:
    match rule:
        case RateLimit():
            interval = parse_rate(rule.rate).emission_interval
            burst = rule.units_at_once
            return "backlog", rule.unit, gcra.needed(burst, interval), interval, burst
        case BudgetLimit():
            return rule.per, rule.unit, rule.budget, 1, rule.budget
        case InFlightLimit():
            return "slots", "calls", rule.in_flight, 1, rule.in_flight
        case _:
            assert_never(rule)


def describe(limits: Iterable[Limit], charge: Charge) -> list[Descriptor]:
    """What one call asks of the limits, without those that it costs nothing: row limits, for a call of no rows."""
    found = []
    for limit in limits:
        cost: int = charge[limit.cost_field]  # type: ignore[assignment]  # the index of a field that holds an int
        if cost > 0:
            key = limit.id + limit.counted_by(charge)
            enforced = limit.enforce and (limit.percent >= 100 or share(charge.caller) < limit.percent)
            found.append(Descriptor(_bounded(key), limit, cost, int(cost * limit.interval), enforced))
    return found


def share(caller: str) -> float:
    """Where a caller stands in 0 <= share < 100, in every process: a rule enforced for 10 % bites those below 10.

    It depends on the caller alone, so that all rules at one percentage bite the same callers.
    """
    digest = blake2b(caller.encode("utf-8", "surrogatepass"), digest_size=4, person=b"percent").digest()
    return int.from_bytes(digest, "big") * 100 / 2**32


def _bounded(key: str) -> str:
    if len(key) <= MAX_KEY_CHARS:
        return key
    return "hash/" + blake2b(key.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
