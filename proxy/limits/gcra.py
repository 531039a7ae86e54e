"""The generic cell rate algorithm: a limit whose whole state is one moment, the theoretical arrival time.

ITU-T Recommendation I.371, virtual scheduling, with a weighted cost. `emission_interval` is the time that one unit
takes at the configured rate; `burst` is how many units an idle limit lets through at once. A call of `cost` units is
admitted when, after it, the theoretical arrival time (TAT) lies no more than `burst` intervals ahead:

    need    = cost * emission_interval
    new_tat = max(tat, now) + need
    allowed = new_tat - now <= burst * emission_interval

In any span of length W at most `burst + W / emission_interval` units pass, and a saturated limit passes exactly one
unit an interval. `max(tat, now) - now` is the *backlog*: the share of the burst that is in use, as time.

Time is in whole nanoseconds, because sums of them are exact for ever: a float64 of seconds since 1970 moves in steps of
240 ns, which is a quarter of an interval at a million rows a second. Only `need` is rounded, down to a nanosecond, so
that a burst of N always admits N. The rate is then too high by less than one nanosecond a call: at most 1 % for calls
of one unit at 10,000,000 units a second, and less for all that is slower or larger.
"""

from typing import NamedTuple

NANOSECONDS = 1_000_000_000
"""In a second."""


class Decision(NamedTuple):
    """What one limit says to one call.

    Attributes:
        allowed: whether the call may pass.
        new_tat: the theoretical arrival time to store, ns. If the call may not pass it is the old one, cut to a full
            burst from now.
        remaining: units that could still pass at this moment.
        retry_after: seconds until a call of this cost would pass; 0 if it does now, None if it never will, because the
            cost is larger than the burst.
        reset_after: seconds until the limit is as if never used.
    """

    allowed: bool
    new_tat: int
    remaining: int
    retry_after: float | None
    reset_after: float

    @property
    def never(self) -> bool:
        """Whether no wait helps: the call has to become smaller."""
        return self.retry_after is None


def needed(cost: int, emission_interval: float) -> int:
    """The time in ns that `cost` units take at one every `emission_interval` ns."""
    return int(cost * emission_interval)


def backlog(now: int, tat: int, tolerance: int) -> int:
    """How much of `tolerance` ns is in use at `now`, both moments in ns.

    A backlog beyond the tolerance cannot come about by admitting calls. It shows that the clock went back or that the
    rule became stricter, and is cut to the tolerance (and has to be stored so), so that nobody waits longer than for a
    full burst.
    """
    ahead = tat - now
    if ahead <= 0:
        return 0
    return min(ahead, tolerance)


def decide(now: int, tat: int, cost: int, emission_interval: float, burst: int) -> Decision:
    """Decides about one call.

    Args:
        now: this moment, ns.
        tat: the stored theoretical arrival time, ns on the same clock; anything up to `now` means idle.
        cost: units that the call takes, 0 or more.
        emission_interval: ns that one unit takes, above 0.
        burst: units that an idle limit admits at once, 1 or more.

    >>> decide(now=0, tat=0, cost=3, emission_interval=1e9, burst=5)
    Decision(allowed=True, new_tat=3000000000, remaining=2, retry_after=0.0, reset_after=3.0)
    >>> decide(now=0, tat=3_000_000_000, cost=4, emission_interval=1e9, burst=5).retry_after
    2.0
    >>> decide(now=0, tat=0, cost=6, emission_interval=1e9, burst=5).never
    True
    """
    tolerance = needed(burst, emission_interval)
    used = backlog(now, tat, tolerance)
    after = used + needed(cost, emission_interval)
    if after <= tolerance:
        return Decision(True, now + after, _units(tolerance - after, emission_interval), 0.0, after / NANOSECONDS)
    wait = None if cost > burst else (after - tolerance) / NANOSECONDS
    return Decision(
        False, min(tat, now + tolerance), _units(tolerance - used, emission_interval), wait, used / NANOSECONDS
    )


def _units(room: int, emission_interval: float) -> int:
    """The largest cost that fits into `room` ns."""
    units = int((room + 1) / emission_interval)
    return units if needed(units, emission_interval) <= room else units - 1
