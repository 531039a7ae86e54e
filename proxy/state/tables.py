"""What the in-memory store counts in: one small bounded table a kind of limit.

    used(key, capacity, now) -> int       how much is in use, in the limit's measure
    put(key, used, capacity, now)         how much is in use from now on

The three bounds differ, because forgetting costs something different in each.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from proxy.limits.gcra import backlog
from proxy.limits.verdict import DAY_NS


class Table(Protocol):
    """How much of the limits of one measure is in use, by key."""

    @property
    def evictions(self) -> int:
        """Keys that were forgotten before their time."""

    def used(self, key: str, capacity: int, now: int, /) -> int:
        """How much of `capacity` is in use at `now`, ns since 1970."""

    def put(self, key: str, used: int, capacity: int, now: int, /) -> None:
        """Sets how much is in use."""

    def __len__(self) -> int:
        """Keys that are kept."""


class Backlogs:
    """Theoretical arrival times of rates (see `proxy.limits.gcra`).

    A time in the past means the same as no entry at all, so forgetting it costs nothing. When the table is full, the
    oldest entries are looked at in turn: idle ones go, others get a second chance, and if `SCAN` of them are all
    active, the one nearest to idle goes and counts as an eviction. Its owner gets a fresh burst. An attacker who fills
    the table with identities gains nothing by that, since every new identity has a fresh burst anyway.
    """

    SCAN = 16

    def __init__(self, max_keys: int) -> None:
        self.evictions = 0
        self._max_keys = max_keys
        self._tats: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tats)

    def used(self, key: str, capacity: int, now: int, /) -> int:
        tat = self._tats.get(key, 0)
        if tat - now > capacity:
            self._tats[key] = now + capacity
        return backlog(now, tat, capacity)

    def put(self, key: str, used: int, _capacity: int, now: int, /) -> None:
        tats = self._tats
        if len(tats) >= self._max_keys and key not in tats:
            self._make_room(now)
        tats[key] = now + used

    def _make_room(self, now: int) -> None:
        active = []
        for _ in range(min(self.SCAN, len(self._tats))):
            key, tat = self._tats.popitem(last=False)
            if tat <= now:
                break
            active.append((tat, key))
        else:
            self.evictions += 1
            active.remove(min(active))
        for tat, key in active:
            self._tats[key] = tat


@dataclass(slots=True)
class _Spent:
    units: int
    capacity: int
    level: int


class Budgets:
    """Units spent of budgets that do not refill.

    Here forgetting would give units back, and a caller with many identities could use the idle ones to push out the
    spent one. So the least spent entry goes first, and whoever is not in the table is taken to have spent the largest
    share that ever went: `floor`. No count is ever too low, whatever an attacker does, and it is too high by at most
    `floor`, which stays below a level, 1/32 of a budget, until a table's worth of callers have spent more than that.
    (The idea is that of Space-Saving, Metwally et al. 2005: take over the least count instead of starting at nothing.)
    """

    LEVELS = 32

    def __init__(self, max_keys: int) -> None:
        self.evictions = 0
        self.floor = 0.0
        self._max_keys = max_keys
        self._spent: dict[str, _Spent] = {}
        self._by_level: list[OrderedDict[str, None]] = [OrderedDict() for _ in range(self.LEVELS + 1)]

    def __len__(self) -> int:
        return len(self._spent)

    def used(self, key: str, capacity: int, _now: int, /) -> int:
        spent = self._spent.get(key)
        if spent is not None:
            return spent.units
        return math.ceil(self.floor * capacity)

    def put(self, key: str, used: int, capacity: int, _now: int, /) -> None:
        level = self.LEVELS * used // capacity if used < capacity else self.LEVELS
        spent = self._spent.get(key)
        if spent is None:
            if len(self._spent) >= self._max_keys:
                self._make_room()
            self._spent[key] = _Spent(used, capacity, level)
            self._by_level[level][key] = None
            return
        spent.units, spent.capacity = used, capacity
        if spent.level != level:
            del self._by_level[spent.level][key]
            self._by_level[level][key] = None
            spent.level = level

    def _make_room(self) -> None:
        least = next(keys for keys in self._by_level if keys)
        spent = self._spent.pop(least.popitem(last=False)[0])
        self.floor = max(self.floor, spent.units / spent.capacity)
        self.evictions += 1


class DailyBudgets:
    """Units spent on the current UTC day. The day never goes back, even if the clock does."""

    def __init__(self, max_keys: int) -> None:
        self._max_keys = max_keys
        self._day = 0
        self._today = Budgets(max_keys)
        self._earlier_evictions = 0

    def __len__(self) -> int:
        return len(self._today)

    @property
    def evictions(self) -> int:
        return self._earlier_evictions + self._today.evictions

    def used(self, key: str, capacity: int, now: int, /) -> int:
        day = now // DAY_NS
        if day > self._day:
            self._earlier_evictions = self.evictions
            self._day, self._today = day, Budgets(self._max_keys)
        return self._today.used(key, capacity, now)

    def put(self, key: str, used: int, capacity: int, now: int, /) -> None:
        self._today.put(key, used, capacity, now)


class Slots:
    """Calls in flight. Bounded by themselves: there are never more keys than calls that hold them."""

    evictions = 0

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._taken)

    def used(self, key: str, _capacity: int, _now: int, /) -> int:
        return self._taken.get(key, 0)

    def put(self, key: str, used: int, _capacity: int, _now: int, /) -> None:
        self._taken[key] = used

    def free(self, key: str) -> None:
        """One call less."""
        left = self._taken.get(key, 0) - 1
        if left > 0:
            self._taken[key] = left
        else:
            self._taken.pop(key, None)
