"""How many rows of each caller are captured in an hour, so that nobody fills the files."""

HOUR = 3600
MAX_CALLERS = 100_000


class Caps:
    """Rows of each caller in the present hour.

    Memory: 0.2 KB a caller, `max_callers` of them; whoever comes later in the hour shares one allowance with all others
    that do, so that new names are no way around it.

    Args:
        rows_per_hour: of one caller.
        max_callers: who are counted apart.
    """

    def __init__(self, rows_per_hour: int, max_callers: int = MAX_CALLERS) -> None:
        self._most = rows_per_hour
        self._max_callers = max_callers
        self._hour = -1
        self._taken: dict[str, int] = {}

    def take(self, caller: str, rows: int, now: float) -> bool:
        """Whether so many rows more may be captured; if so they are counted.

        Args:
            caller: id.
            rows: of one call, which is captured whole or not at all.
            now: seconds since 1970.
        """
        hour = int(now // HOUR)
        if hour != self._hour:
            self._hour, self._taken = hour, {}
        if caller not in self._taken and len(self._taken) >= self._max_callers:
            caller = ""
        after = self._taken.get(caller, 0) + max(1, rows)
        if after > self._most:
            return False
        self._taken[caller] = after
        return True
