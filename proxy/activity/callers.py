"""Who has been calling."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

from proxy.identity import Caller

MAX_CALLERS = 20_000
"""About 0.5 KB each; who was silent longest goes first."""
MAX_MODELS = 16
"""Models counted by name for one caller; the rows of others count in its sum alone."""


@dataclass(slots=True)
class CallerRecord:
    """One caller's calls so far.

    Attributes:
        key: opaque, for URLs; the same in all replicas.
        name: its id.
        group: what it has in common with others.
        first, last: time of the first and the latest call, seconds since 1970.
        calls: so far, refused ones included.
        rows: that were answered.
        refused: calls that the proxy itself refused.
        models: rows by model's label.
    """

    key: str
    name: str
    group: str
    first: float
    last: float
    calls: int = 0
    rows: int = 0
    refused: int = 0
    models: dict[str, int] = field(default_factory=dict)


class CallerTable:
    """The callers seen last. For one thread.

    Args:
        label: from a model's name as sent to one of a bounded set.
        clock: seconds since 1970.

    Attributes:
        evicted: callers that were forgotten.
    """

    def __init__(self, label: Callable[[str], str], clock: Callable[[], float]) -> None:
        self.evicted = 0
        self._label = label
        self._clock = clock
        self._callers: OrderedDict[str, CallerRecord] = OrderedDict()
        self._by_key: dict[str, CallerRecord] = {}
        self._names: OrderedDict[str, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._callers)

    def note(self, caller: Caller, model: str, rows: int, refused: bool) -> None:
        """Counts one call."""
        record = self._callers.get(caller.id)
        if record is None:
            record = self._new(caller)
        self._callers.move_to_end(caller.id)
        record.last = self._clock()
        record.calls += 1
        record.rows += rows
        record.refused += refused
        if rows:
            name = self._label(model)
            if name in record.models or len(record.models) < MAX_MODELS:
                record.models[name] = record.models.get(name, 0) + rows

    def records(self) -> list[CallerRecord]:
        """All of them, the latest last."""
        return list(self._callers.values())

    def by_name(self, name: str) -> CallerRecord | None:
        """The caller with this id."""
        return self._callers.get(name)

    def remember(self, name: str) -> None:
        """Keeps a caller's key known, though it may not have called or be forgotten: something stands against it."""
        key = caller_key(name)
        self._names[key] = name
        self._names.move_to_end(key)
        if len(self._names) > MAX_CALLERS:
            self._names.popitem(last=False)

    def by_key(self, key: str) -> CallerRecord | None:
        """The caller with this key; one without calls if it is only remembered."""
        found = self._by_key.get(key)
        if found is None and key in self._names:
            return CallerRecord(key, self._names[key], "", 0.0, 0.0)
        return found

    def _new(self, caller: Caller) -> CallerRecord:
        now = self._clock()
        record = CallerRecord(caller_key(caller.id), caller.id, caller.group, now, now)
        self._callers[caller.id] = self._by_key[record.key] = record
        if len(self._callers) > MAX_CALLERS:
            _, oldest = self._callers.popitem(last=False)
            self._by_key.pop(oldest.key, None)
            self.evicted += 1
        return record


def caller_key(name: str) -> str:
    """An opaque name for a caller's id, 24 hexadecimal digits."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=12, person=b"tw-caller").hexdigest()
