"""The one door to state that outlives a call. Which implementation is behind it, nothing else knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from proxy.limits.descriptors import Descriptor, Measure
from proxy.limits.verdict import Lease, Verdict


@dataclass(frozen=True, slots=True)
class StoreStats:
    """What a metrics exporter reads of a store; counts are since its start.

    Attributes:
        keys: counts kept in this process, by measure.
        evictions: counts that this process forgot before their time, by measure.
        fallbacks: decisions that were not the shared store's, by cause.
        script_loads: times that the shared store did not know a script and was sent it.
        leases_held: calls in flight whose slots are shared.
        leases_dropped: slots that could not be given back and were left to run out.
    """

    keys: Mapping[Measure, int]
    evictions: Mapping[Measure, int]
    fallbacks: Mapping[str, int] = field(default_factory=dict)
    script_loads: int = 0
    leases_held: int = 0
    leases_dropped: int = 0


class Store(Protocol):
    """Keeps how much of each limit is in use. For one event loop."""

    @property
    def healthy(self) -> bool:
        """Whether decisions are made where they are configured to be made, and not by a stand-in."""

    async def admit(self, descriptors: Sequence[Descriptor]) -> Verdict:
        """Decides about all limits of one call in one atomic step.

        Either every enforced limit has room, and then each limit that has room is charged, or none is charged. A limit
        in shadow is judged as if it alone were enforced beside those that are: what it has no room for passes without
        being charged to it, as it would not have been had it been refused.

        Args:
            descriptors: keys distinct.

        A store that is away never raises: it answers as its configuration says.
        """

    def release(self, lease: Lease) -> None:
        """Gives the slots of a call back. Never waits and never raises, so that it may stand in any `finally`."""

    def stats(self) -> StoreStats:
        """Counts for the metrics."""

    async def close(self) -> None:
        """Ends background work and connections. The store is not used afterwards."""
