"""The store of one process: everything in memory, nothing waited for."""

import time
from collections.abc import Callable, Mapping, Sequence

from proxy.limits.descriptors import Descriptor, Measure
from proxy.limits.verdict import Lease, Verdict
from proxy.state.base import StoreStats
from proxy.state.tables import Backlogs, Budgets, DailyBudgets, Slots, Table


class MemoryStore:
    """Counts of one process. A restart forgets them, daily and lifetime budgets too; Redis keeps those.

    Args:
        max_keys: counts kept of each measure; see `proxy.state.tables` for what happens beyond.
        clock: ns since 1970.
        steady: ns of a clock that never jumps, for rates; `clock` if absent.
    """

    healthy = True

    def __init__(
        self,
        max_keys: int = 100_000,
        clock: Callable[[], int] = time.time_ns,
        steady: Callable[[], int] | None = None,
    ) -> None:
        self._clock = clock
        self._steady = steady or clock
        self._slots = Slots()
        self._tables: Mapping[Measure, Table] = {
            "backlog": Backlogs(max_keys),
            "day": DailyBudgets(max_keys),
            "lifetime": Budgets(max_keys),
            "slots": self._slots,
        }
        self._used = {measure: table.used for measure, table in self._tables.items()}
        self._put = {measure: table.put for measure, table in self._tables.items()}

    async def admit(self, descriptors: Sequence[Descriptor]) -> Verdict:
        """See `Store.admit`. There is nothing in it that waits."""
        now, steady = self._clock(), self._steady()
        used = []
        admitted = True
        for key, limit, _, need, enforced in descriptors:
            at = steady if limit.measure == "backlog" else now
            in_use = self._used[limit.measure](key, limit.capacity, at)
            used.append(in_use)
            if enforced and in_use + need > limit.capacity:
                admitted = False
        lease = self._charge(descriptors, used, now, steady) if admitted else None
        return Verdict(admitted, descriptors, used, now, lease)

    def _charge(self, descriptors: Sequence[Descriptor], used: Sequence[int], now: int, steady: int) -> Lease | None:
        slots: tuple[str, ...] = ()
        for (key, limit, _, need, _), in_use in zip(descriptors, used, strict=True):
            after = in_use + need
            if after <= limit.capacity:
                at = steady if limit.measure == "backlog" else now
                self._put[limit.measure](key, after, limit.capacity, at)
                if limit.measure == "slots":
                    slots += (key,)
        return Lease(slots) if slots else None

    def release(self, lease: Lease) -> None:
        """See `Store.release`."""
        keys, lease.keys = lease.keys, ()
        for key in keys:
            self._slots.free(key)

    def stats(self) -> StoreStats:
        """See `Store.stats`."""
        return StoreStats(
            keys={measure: len(table) for measure, table in self._tables.items()},
            evictions={measure: table.evictions for measure, table in self._tables.items()},
        )

    async def close(self) -> None:
        """See `Store.close`."""
