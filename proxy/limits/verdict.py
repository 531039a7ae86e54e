"""What a store says to one call, and what follows from it for the caller and for the metrics."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from proxy.limits import gcra
from proxy.limits.descriptors import Descriptor

NEAR = 0.8
"""Share of a limit from which a call is reported as near it."""

SLOT_RETRY_SECONDS = 1.0
"""What a caller is told to wait for a slot; when one will be free cannot be known."""

DAY_NS = 86_400 * gcra.NANOSECONDS
"""A UTC day; days count from 1970-01-01, without leap seconds, as Unix time does."""

Source = Literal["store", "local", "open", "closed"]
"""Who decided: the configured store, or while that is away the local limiter, or the choice to admit or refuse all."""


@dataclass(slots=True, eq=False)
class Lease:
    """The slots that a call in flight holds. Hand it back to the store, once, however the call ends.

    Attributes:
        keys: of the limits whose slots are held.
        id: of the holder where the slots are shared between processes, else empty.
    """

    keys: tuple[str, ...]
    id: str = ""


class Refusal(NamedTuple):
    """Why one enforced limit refuses a call.

    Attributes:
        descriptor: the limit as it applies to this call.
        remaining: units that would still pass.
        retry_after: seconds until the same call would pass; None if it never will.
    """

    descriptor: Descriptor
    remaining: int
    retry_after: float | None

    @property
    def too_large(self) -> bool:
        """Whether even an unused limit would refuse the call."""
        return self.descriptor.cost > self.descriptor.limit.burst

    @property
    def _severity(self) -> tuple[bool, bool, float]:
        return self.too_large, self.retry_after is None, self.retry_after or 0.0


@dataclass(slots=True, eq=False)
class Verdict:
    """One decision over all limits of a call.

    Attributes:
        admitted: whether the call may pass; then every limit that had room for it is charged, else none is.
        descriptors: the limits as they apply to this call.
        used: how much of each was in use before the call, in the limit's measure.
        now: when the decision was made, ns since 1970 on the deciding clock.
        lease: the slots that the call holds now.
        source: who decided.
    """

    admitted: bool
    descriptors: Sequence[Descriptor] = ()
    used: Sequence[int] = ()
    now: int = 0
    lease: Lease | None = None
    source: Source = "store"

    def over(self) -> Iterator[Descriptor]:
        """The limits that have no room for the call, those in shadow included."""
        for descriptor, used in zip(self.descriptors, self.used, strict=True):
            if used + descriptor.need > descriptor.limit.capacity:
                yield descriptor

    def near(self) -> Iterator[Descriptor]:
        """The limits of which at least `NEAR` is in use now, those in shadow included."""
        for descriptor, used in zip(self.descriptors, self.used, strict=True):
            after = used + descriptor.need
            capacity = descriptor.limit.capacity
            charged = self.admitted and after <= capacity
            if (after if charged else used) >= NEAR * capacity:
                yield descriptor

    def strictest(self) -> Refusal | None:
        """Of the enforced limits that refuse the call the one with the longest wait; None if none does."""
        used = {descriptor.key: used for descriptor, used in zip(self.descriptors, self.used, strict=True)}
        refusals = [_refusal(found, used[found.key], self.now) for found in self.over() if found.enforced]
        return max(refusals, key=lambda refusal: refusal._severity, default=None)


def _refusal(descriptor: Descriptor, used: int, now: int) -> Refusal:
    limit, cost = descriptor.limit, descriptor.cost
    room = max(0, limit.capacity - used)
    too_large = cost > limit.burst
    match limit.measure:
        case "backlog":
            decision = gcra.decide(0, used, cost, limit.interval, limit.burst)
            return Refusal(descriptor, decision.remaining, decision.retry_after)
        case "day":
            return Refusal(descriptor, room, None if too_large else (DAY_NS - now % DAY_NS) / gcra.NANOSECONDS)
        case "lifetime":
            return Refusal(descriptor, room, None)
        case "slots":
            return Refusal(descriptor, room, SLOT_RETRY_SECONDS)
